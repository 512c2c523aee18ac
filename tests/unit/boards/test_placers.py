"""How nextpnr is told to place a board."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from jalboards import tools
from jalboards.catalogue import find_board
from jalboards.elaborate import PROJECT


def project(folder: Path) -> None:
    """What nextpnr's command depends on, of an elaborated system."""
    (folder / PROJECT).write_text(json.dumps({"nextpnr": []}), encoding="utf-8")


@pytest.mark.parametrize(
    ("board", "placer", "options"),
    [
        ("ecpix5", "heap", "--placer heap --placer-heap-beta 0.5"),
        ("ecpix5", "static", "--placer static --lpf"),
        ("tang-nano-20k", "heap", "--placer heap --vopt"),
    ],
)
def test_a_board_has_its_placer(tmp_path: Path, board: str, placer: str, options: str) -> None:
    commands: list[str] = []
    facts = replace(find_board(board), placer=placer)
    project(tmp_path)
    tools.place_and_route(
        tmp_path, facts, 1, 75_000_000, lambda command, _folder: commands.append(" ".join(command))
    )
    assert options in commands[0]


def test_a_full_fpga_is_placed_twice(tmp_path: Path) -> None:
    """By the first placement block RAMs are fixed for the second."""
    project(tmp_path)
    cells: dict[str, Any] = {
        "memory": {"type": "DP16KD", "connections": {"DOA0": [2]}},
        "register": {"type": "TRELLIS_FF", "connections": {"DI": [2]}},
    }
    (tmp_path / tools.NETLIST).write_text(json.dumps({"modules": {"top": {"cells": cells}}}))
    commands: list[str] = []

    def run(command: list[str], folder: Path) -> None:
        commands.append(" ".join(command))
        sites = {"memory": "X4/Y22/EBR0", "register": "X60/Y50/SLICEA.FF0"}
        if "--no-route" in command:
            for name, site in sites.items():
                cells[name]["attributes"] = {"NEXTPNR_BEL": site}
            written = json.dumps({"modules": {"top": {"cells": cells}}})
            (folder / command[command.index("--write") + 1]).write_text(written)

    tools.place_and_route(
        tmp_path, replace(find_board("ecpix5"), placer="spread"), 1, 75_000_000, run
    )
    assert len(commands) == 2
    assert all("--placer static --lpf top.lpf" in command for command in commands)
    assert "--textcfg" in commands[1]
    netlist = json.loads((tmp_path / tools.NETLIST).read_text())["modules"]["top"]["cells"]
    assert netlist["memory"]["attributes"]["BEL"].startswith("X60/Y")
    assert "attributes" not in netlist["register"]
