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
from jalsoc.sim.links import LINKS

VERILOG = "sim.v"
"""The top module is called ``sim``."""

PUBLIC = "public.vlt"
"""Tells Verilator which memories the harness fills."""

GEOMETRY = "geometry.h"
"""Constants for the harness."""

SOURCES = "sources.txt"
"""Verilog files besides VERILOG, by name."""


def build_system(config: SimulatorConfig, phy: Any = None) -> tuple[Any, Any]:
    """The system and its platform; ``phy`` is the class of the DRAM model, if not ours."""
    from litex.soc.cores.uart import RS232PHYModel

    from jalsoc.dram import dram_chip, dram_kind
    from jalsoc.dram_phy import DramPhyModel
    from jalsoc.sim.platform import SimulationCrg, simulation_platform
    from jalsoc.soc import JalSoC

    platform = simulation_platform()
    kind = dram_kind(config.dram)
    chip = dram_chip(kind, config.dram_mib * MIB, config.clock_hz)
    soc = JalSoC(
        platform,
        SimulationCrg(platform.request("sys_clk")),
        config.clock_hz,
        chip,
        (phy or DramPhyModel)(chip, data_width=kind.data_bits, clk_freq=config.clock_hz),
        RS232PHYModel(platform.request("serial")),
        config.engine,
        cpu=config.cpu,
        description="simulation",
        simulated=True,
    )
    # The model needs no time between its commands.
    soc.add_config("BIOS_NO_DELAYS")
    LINKS[config.link].connect(soc, platform)
    if config.scope:
        from jalsoc.scope import add_scope

        add_scope(soc)
    if config.sensors:
        from jalsoc.sim.sensors import add_simulated_sensors

        add_simulated_sensors(soc)
    if config.fault:
        from jalsoc.sim.faults import instrument

        instrument(soc)
    return soc, platform


def elaborate(config: SimulatorConfig, folder: Path) -> None:
    """Writes Verilog, memory contents, register maps and headers to ``folder``."""
    from jalsoc.export import without_date, write_maps

    soc, platform = build_system(config)
    # The harness fills these: their names must not depend on anything else.
    soc.rom.mem.name_override = "rom"
    soc.sdrphy.memory.name_override = "dram"
    soc.sdrphy.ring.name_override = "dram_ring"
    soc.sdrphy.rows.name_override = "dram_rows"
    soc.finalize()
    # Written like this, Verilator makes about 5 % faster code of it.
    result = platform.get_verilog(soc, name="sim", regular_comb=False)
    (folder / VERILOG).write_text(without_date(result.main_source), encoding="utf-8")
    for name, content in result.data_files.items():
        (folder / name).write_text(content, encoding="utf-8")
    if config.scope:
        from jalsoc.scope import write_analyzer

        write_analyzer(soc, result.ns, folder)
    sources = []
    for path, *_ in platform.sources:
        shutil.copy(path, folder)
        sources.append(Path(path).name)
    (folder / SOURCES).write_text("".join(f"{name}\n" for name in sources), encoding="utf-8")
    row_bytes = data_bits(config) // 8 << soc.sdrphy.module.geom_settings.colbits
    write_geometry(config, folder, row_bytes)
    dram = {
        "kind": config.dram,
        "bytes": config.dram_mib * MIB,
        "data_bits": data_bits(config),
        "banks": soc.sdrphy.module.nbanks,
        "row_bytes": row_bytes,
    }
    write_maps(soc, folder, {"dram": dram})
    (folder / "config.json").write_text(config.to_json(), encoding="utf-8")


def data_bits(config: SimulatorConfig) -> int:
    """Data lines of the DRAM."""
    from jalsoc.dram import dram_kind

    return dram_kind(config.dram).data_bits


def write_geometry(config: SimulatorConfig, folder: Path, row_bytes: int) -> None:
    """Makes memories accessible to the harness, and tells it their sizes and the link's."""
    lines = ["`verilator_config"]
    lines += [f'public_flat_rw -module "sim" -var "{name}"' for name in ("rom", "dram")]
    (folder / PUBLIC).write_text("\n".join(lines) + "\n", encoding="utf-8")
    constants = {
        "DRAM_BYTES": config.dram_mib * MIB,
        "DRAM_DATA_BITS": data_bits(config),
        "DRAM_ROW_BYTES": row_bytes,
        "ROM_BYTES": memory_map.ROM.size,
        **LINKS[config.link].constants,
    }
    text = "// Generated with the Verilog.\n#pragma once\n"
    text += "".join(
        f"#define {name} {value}{'u' if value < 1 << 32 else 'ull'}\n"
        for name, value in constants.items()
    )
    (folder / GEOMETRY).write_text(text, encoding="utf-8")


def main() -> None:
    """Command line: configuration as JSON, output folder."""
    config, folder = SimulatorConfig.from_json(sys.argv[1]), Path(sys.argv[2])
    elaborate(config, folder)
    print(json.dumps(asdict(config)))


if __name__ == "__main__":
    main()
