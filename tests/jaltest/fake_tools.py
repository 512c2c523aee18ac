"""Stand-ins for yosys, nextpnr and the packers: they write what a test wants at once.

``python fake_tools.py TOOL ARGUMENTS...`` notes the call in ``calls`` beside ``plan.json``, which
the environment names: ``{"report": ..., "log": ..., "fail": TOOL, "sleep": SECONDS, "seeds":
{SEED: ...}}``; ``seeds`` has what is different where nextpnr gets a seed.
"""

import json
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

PLAN = "JALTEST_TOOLS"
"""Environment variable: path of ``plan.json``."""

FITS = {
    "fmax": {"$glbnet$sys_clk": {"achieved": 81.234, "constraint": 75.0}},
    "utilization": {
        "TRELLIS_COMB": {"used": 30000, "available": 83640},
        "DCUA": {"used": 0, "available": 2},
    },
    "critical_paths": [],
}
"""A report of nextpnr about a board that is good."""

GOWIN = {
    "fmax": {
        "crg_clkin": {"achieved": 374.95, "constraint": 27.0},
        "crg_clkout": {"achieved": 116.14, "constraint": 27.0},
    },
    "utilization": {
        "LUT4": {"used": 13949, "available": 20736},
        "MULT18X18": {"used": 18, "available": 48},
        "BSRAM": {"used": 46, "available": 46},
        "IOBUF": {"used": 32, "available": 0},
    },
}
"""One about a Gowin FPGA: clocks are named after the PLL, and of some cells none are counted."""

SLOW = FITS | {
    "fmax": {
        "$glbnet$sys_clk": {"achieved": 60.0, "constraint": 75.0},
        "$glbnet$init_clk": {"achieved": 24.0, "constraint": 25.0},
        "$glbnet$por_clk": {"achieved": 300.0, "constraint": 100.0},
    }
}


def router_log(arcs: int, pace: Sequence[float]) -> str:
    """What router1 says: ``pace`` has, for each thousand iterations, fewer arcs per iteration."""
    lines = [
        "Info: Routing..",
        f"Info: Routing {arcs} arcs.",
        "Info:            |   (re-)routed arcs  |   delta    | remaining|       time spent     |",
        "Info:    IterCnt |  w/ripup   wo/ripup |  w/r  wo/r |      arcs| batch(sec) total(sec)|",
    ]
    remaining = float(arcs)
    for number, value in enumerate(pace, 1):
        remaining -= 1000 * value
        lines.append(
            f"Info: {1000 * number:10d} |     9319      45680 |  226   774 |{remaining:10.0f}|"
            "       1.58      70.28|"
        )
    return "\n".join(lines)


OVERFULL = """\
Info: Device utilisation:
Info: \t          TRELLIS_IO:      48/    365    13%
Info: \t              DP16KD:     220/    208   105%
Info: \t        TRELLIS_COMB:   99999/  83640   119%

ERROR: Unable to find a placement location for cell 'x'
"""

NETLIST: dict[str, Any] = {"modules": {"top": {"cells": {}, "ports": {}}}}
"""A netlist of yosys."""

DELAYS: dict[str, Any] = {
    "modules": {
        "top": {
            "ports": {"q": {"direction": "output", "bits": [20_739]}},
            "cells": {
                f"stage{number}": {
                    "type": "DFF",
                    "port_directions": {"D": "input", "Q": "output"},
                    "connections": {"D": [number], "Q": [number + 1]},
                }
                for number in range(2, 20_739)
            },
        }
    }
}
"""A netlist of Gowin's cells: flip-flops in a row, one more than the Tang Nano 20K has LUTs."""

XILINX = {
    "design": {
        "num_cells_by_type": {"LUT6": 20000, "LUT2": 5000, "RAM32M": 10, "FDRE": 30000,
                              "FDSE": 1, "RAMB36E1": 40, "RAMB18E1": 3, "DSP48E1": 150}
    }
}  # fmt: skip
"""Statistics of yosys."""


def install(folder: Path, environment: dict[str, str], **plan: Any) -> dict[str, str]:
    """Writes the tools' programs to ``folder``; returns their paths by name."""
    folder.mkdir(exist_ok=True)
    (folder / "plan.json").write_text(json.dumps(plan), encoding="utf-8")
    environment[PLAN] = str(folder / "plan.json")
    programs = {}
    tools = ("yosys", "nextpnr-ecp5", "ecppack", "nextpnr-himbaechel-gowin", "gowin_pack")
    for name in tools:
        path = folder / name
        path.write_text(
            f'#!/bin/sh\nexec {sys.executable} {Path(__file__)} {name} "$@"\n', encoding="utf-8"
        )
        path.chmod(0o755)
        programs[name] = str(path)
    return programs


def calls(folder: Path) -> list[str]:
    """The tools that were run, in order."""
    path = folder / "calls"
    return path.read_text(encoding="utf-8").split() if path.exists() else []


def after(arguments: list[str], option: str) -> Path:
    """The file that an option names."""
    return Path(arguments[arguments.index(option) + 1])


def main(tool: str, arguments: list[str]) -> int:
    """Plays a tool."""
    path = Path(os.environ[PLAN])
    plan = json.loads(path.read_text(encoding="utf-8"))
    with (path.parent / "calls").open("a", encoding="utf-8") as file:
        file.write(f"{tool}\n")
    if "--seed" in arguments:
        plan |= plan.get("seeds", {}).get(str(after(arguments, "--seed")), {})
    print(plan.get("log", "fine"), flush=True)
    if tool.startswith("nextpnr"):
        time.sleep(plan.get("sleep", 0))
    if plan.get("fail") == tool:
        return 1
    match tool:
        case "yosys":
            netlist = plan.get("netlist", NETLIST)
            Path("top.json").write_text(json.dumps(netlist), encoding="utf-8")
            Path("stat.json").write_text(json.dumps(plan.get("statistics", XILINX)))
        case "nextpnr-ecp5" | "nextpnr-himbaechel-gowin":
            report = json.dumps(plan.get("report", FITS))
            after(arguments, "--report").write_text(report, encoding="utf-8")
            layout = "--textcfg" if tool == "nextpnr-ecp5" else "--write"
            after(arguments, layout).write_text("layout", encoding="utf-8")
        case "ecppack":
            after(arguments, "--bit").write_bytes(b"bits of ECP5")
        case "gowin_pack":
            after(arguments, "-o").write_bytes(b"bits of Gowin")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))
