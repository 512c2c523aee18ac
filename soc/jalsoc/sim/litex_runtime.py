"""The same system in LiteX's own simulator, to compare with: ``litex.build.sim``.

``python -m jalsoc.sim.litex_runtime CONFIG_JSON FOLDER FIRMWARE`` builds it as LiteX's own
``litex_sim`` does by default: its Verilator and compiler options, its DRAM model, its event loop.
"""

import struct
import sys
from pathlib import Path

from jalsoc.sim.config import SimulatorConfig

BINARY = "obj_dir/Vsim"
"""Below the folder, which must be the working folder of the process."""

RUNTIME_CONFIG = "sim_config.js"

PORT_PLACEHOLDER = 65535
"""Stands in the runtime's configuration until a port is known."""

JOBS = 2


def build_litex_simulator(config: SimulatorConfig, folder: Path, firmware: Path) -> None:
    """Builds LiteX's simulator of a system into ``folder``, its ROM filled with a firmware."""
    from litedram.phy.model import SDRAMPHYModel
    from litex.build.sim import verilator
    from litex.build.sim.config import SimConfig

    from jalsoc.sim.elaborate import build_system

    soc, platform = build_system(config, SDRAMPHYModel)
    runtime = SimConfig()
    runtime.add_clocker("sys_clk", freq_hz=config.clock_hz)
    runtime.add_module("serial2tcp", ("serial", 0), args={"port": PORT_PLACEHOLDER})
    soc.finalize()
    options = {"sim_config": runtime, "opt_level": "O3", "jobs": JOBS}
    platform.build(soc, build_dir=str(folder), run=False, **options)
    # The ROM reads this file when the simulation starts.
    data = firmware.read_bytes()
    data += bytes(-len(data) % 4)
    words = struct.unpack(f"<{len(data) // 4}I", data)
    (folder / "sim_rom.init").write_text("".join(f"{word:08x}\n" for word in words))
    verilator._compile_sim("sim", verbose=False)


def main() -> None:
    """Command line: configuration as JSON, output folder, firmware."""
    import os

    config, folder = SimulatorConfig.from_json(sys.argv[1]), Path(sys.argv[2])
    os.chdir(folder)
    build_litex_simulator(config, folder, Path(sys.argv[3]))


if __name__ == "__main__":
    main()
