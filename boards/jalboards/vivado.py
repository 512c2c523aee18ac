"""Boards for Xilinx's tools: a project that Vivado builds, and what yosys says of its area.

Nothing here has been placed, routed or run: that takes Vivado.
"""

import json
from pathlib import Path
from typing import Any

from jalboards.elaborate import TOP
from jalboards.timing import LOWER
from jalboards.tools import Run, sources, synthesis_script
from jalhost.errors import BuildError
from jalsoc.ooc_tools import find_tool

SYNTHESIS = f"synth_xilinx -family xc7 -top {TOP} -flatten"

STATISTICS = "stat.json"

AVAILABLE = {
    "xc7a100t": {"LUT": 63400, "FF": 126800, "RAMB36": 135, "DSP48E1": 240},
    "xc7a200t": {"LUT": 134600, "FF": 269200, "RAMB36": 365, "DSP48E1": 740},
    "xc7k325t": {"LUT": 203800, "FF": 407600, "RAMB36": 445, "DSP48E1": 840},
}
"""Xilinx DS180, 7 Series FPGAs Data Sheet: Overview."""

KINDS = {"LUT": "lut", "FF": "lut", "RAMB36": "ram", "DSP48E1": "dsp"}
"""Kinds of these resources, for advice where there are too few."""

PREFIX = "vivado/"
"""Where the project lies in a bundle."""


def synthesise(folder: Path, run: Run) -> None:
    """Counts the cells of the Verilog in ``folder``, in the same folder."""
    script = synthesis_script(folder, SYNTHESIS, f"tee -o {STATISTICS} stat -json")
    (folder / "synthesis.ys").write_text(script, encoding="utf-8")
    run([find_tool("yosys"), "-q", "-l", "yosys.log", "-s", "synthesis.ys"], folder)


def area(statistics: str, part: str) -> dict[str, dict[str, int]]:
    """LUTs, flip-flops, block RAMs of 36 kbit and multipliers, of yosys's statistics.

    A carry chain takes the LUTs that it stands beside; a LUT as RAM or shift register is a LUT.

    Raises:
        BuildError: the part is too small; the message names what it lacks most.
    """
    cells: dict[str, int] = json.loads(statistics)["design"]["num_cells_by_type"]
    ram = {"RAM32M": 4, "RAM64M": 4, "RAM32X1D": 2, "RAM64X1D": 2, "RAM128X1D": 4}
    used = {
        "LUT": sum(count for name, count in cells.items() if _is_lut(name))
        + sum(cells.get(name, 0) * luts for name, luts in ram.items()),
        "FF": sum(cells.get(name, 0) for name in ("FDRE", "FDSE", "FDCE", "FDPE")),
        "RAMB36": cells.get("RAMB36E1", 0) + (cells.get("RAMB18E1", 0) + 1) // 2,
        "DSP48E1": cells.get("DSP48E1", 0),
    }
    available = AVAILABLE[part[:8]]
    worst = max(used, key=lambda name: used[name] / available[name])
    if used[worst] > available[worst]:
        raise BuildError(
            f"the design does not fit {part}: it needs {used[worst]:,} {worst}, and there are"
            f" {available[worst]:,}",
            f"take {LOWER[KINDS[worst]]}",
        )
    return {name: {"used": used[name], "available": available[name]} for name in used}


def _is_lut(cell: str) -> bool:
    return cell in {"LUT1", "LUT2", "LUT3", "LUT4", "LUT5", "LUT6", "SRL16E", "SRLC32E"}


def project(folder: Path) -> dict[str, bytes]:
    """The project's files, by name in the bundle: ``vivado -mode batch -source top.tcl``."""
    names: list[Any] = [*sources(folder), f"{TOP}.xdc", f"{TOP}.tcl"]
    names += sorted(path.name for path in folder.glob("*.init"))
    return {f"{PREFIX}{name}": (folder / name).read_bytes() for name in names}
