"""Generates a simulated system's Verilog and what belongs to it; runs in a process of its own.

``python -m jalsoc.sim.elaborate CONFIG_JSON FOLDER``: LiteX logs to the console and configures
logging as a whole, so nobody should have to import it who only wants a simulator.
"""

import json
import shutil
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from jalgateware.contract import memory_map
from jalsoc.sim.config import MIB, SimulatorConfig

VERILOG = "sim.v"
"""The top module is called ``sim``."""

PUBLIC = "public.vlt"
"""Tells Verilator which memories the harness fills."""

GEOMETRY = "geometry.h"
"""Constants for the harness."""

SOURCES = "sources.txt"
"""Verilog files besides VERILOG, by name."""


def build_system(config: SimulatorConfig) -> tuple[Any, Any, Any]:
    """The system, its platform and its DRAM model."""
    from litex.soc.cores.uart import RS232PHYModel

    from jalsoc.dram import dram_kind, dram_model
    from jalsoc.sim.platform import SimulationCrg, simulation_platform
    from jalsoc.soc import JalSoC

    platform = simulation_platform()
    dram = dram_model(dram_kind(config.dram), config.dram_mib * MIB, config.clock_hz)
    soc = JalSoC(
        platform,
        SimulationCrg(platform.request("sys_clk"), platform.request("sys_rst")),
        config.clock_hz,
        dram.chip,
        dram.phy,
        RS232PHYModel(platform.request("serial")),
        config.engine,
        description="simulation",
        simulated=True,
    )
    # The model needs no time between its commands.
    soc.add_config("BIOS_NO_DELAYS")
    name_memories(soc, dram)
    return soc, platform, dram


def name_memories(soc: Any, dram: Any) -> None:
    """Gives the memories that the harness fills names that do not depend on anything else."""
    from migen import Memory

    soc.rom.mem.name_override = "rom"
    banks = [module for _, module in dram.phy._submodules if type(module).__name__ == "BankModel"]
    assert len(banks) == dram.banks
    for index, bank in enumerate(banks):
        (memory,) = (item for item in bank._fragment.specials if isinstance(item, Memory))
        memory.name_override = f"dram_bank{index}"


def elaborate(config: SimulatorConfig, folder: Path) -> None:
    """Writes Verilog, memory contents, register maps and headers to ``folder``."""
    from jalsoc.export import without_date, write_maps

    soc, platform, dram = build_system(config)
    soc.finalize()
    result = platform.get_verilog(soc, name="sim")
    (folder / VERILOG).write_text(without_date(result.main_source), encoding="utf-8")
    for name, content in result.data_files.items():
        (folder / name).write_text(content, encoding="utf-8")
    sources = []
    for path, *_ in platform.sources:
        shutil.copy(path, folder)
        sources.append(Path(path).name)
    (folder / SOURCES).write_text("".join(f"{name}\n" for name in sources), encoding="utf-8")
    write_geometry(dram, folder)
    write_maps(soc, folder, {"dram": {"kind": config.dram, "bytes": dram.size}})
    (folder / "config.json").write_text(config.to_json(), encoding="utf-8")


def write_geometry(dram: Any, folder: Path) -> None:
    """Where bytes of DRAM lie in the model's memories, for Verilator and for the harness."""
    names = ["rom", *(f"dram_bank{index}" for index in range(dram.banks))]
    lines = ["`verilator_config"]
    lines += [f'public_flat_rw -module "sim" -var "{name}"' for name in names]
    (folder / PUBLIC).write_text("\n".join(lines) + "\n", encoding="utf-8")
    constants = {
        "DRAM_BYTES": dram.size,
        "DRAM_WORD_BYTES": dram.kind.port_bytes,
        "DRAM_ROW_WORDS": dram.row_words,
        "DRAM_BANKS": dram.banks,
        "ROM_BYTES": memory_map.ROM.size,
    }
    text = "// Generated with the Verilog.\n#pragma once\n"
    text += "".join(f"#define {name} {value}u\n" for name, value in constants.items())
    banks = " ".join(f"BANK({index})" for index in range(dram.banks))
    text += f"#define FOR_EACH_DRAM_BANK(BANK) {banks}\n"
    (folder / GEOMETRY).write_text(text, encoding="utf-8")


def main() -> None:
    """Command line: configuration as JSON, output folder."""
    config, folder = SimulatorConfig.from_json(sys.argv[1]), Path(sys.argv[2])
    elaborate(config, folder)
    print(json.dumps(asdict(config)))


if __name__ == "__main__":
    main()
