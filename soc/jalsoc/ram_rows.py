"""Spreads block RAMs over all rows that an LFE5U-85F has for them.

nextpnr's static placer fills one row of block RAMs before it uses another. The wires of a full row
run side by side along it, and there the router finds no way. So a netlist is placed twice: by what
the first placement says of the logic around each block RAM, all rows get as many of them, and the
second placement finds them fixed.
"""

import json
import re
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from jalsoc.netlist_wires import Netlist, change_file
from jalsoc.ram_registers import BLOCK_RAM

ROWS = (22, 46, 70, 82)
GROUPS = (4, 13, 22, 31, 40, 49, 58, 69, 78, 87, 96, 105, 114)
"""First columns of four block RAMs each, two columns apart (nextpnr's names of them, LFE5U-85F)."""

SITES = {first + 2 * i: f"EBR{i}" for first in GROUPS for i in range(4)}
"""Columns of a row's block RAMs, and their names there."""

FAR_REACHING = 60
"""Nets of as many pins and more say nothing about a place."""

Module = dict[str, Any]
Place = tuple[float, float]


def place_to_spread(
    command: list[str],
    netlist: Path,
    placed: Path,
    top: str,
    run: Callable[[list[str], Path], None],
) -> int:
    """Has ``netlist`` placed into ``placed``, and fixes its block RAMs by that; returns how many.

    ``command``: nextpnr's, for a placement of this netlist; ``run`` does it in the files' folder.

    Raises:
        ValueError: nothing was placed.
    """
    run([*command, "--no-route", "--write", placed.name], netlist.parent)
    return spread_file(placed, netlist, top)


def spread_file(placed: Path, netlist: Path, top: str) -> int:
    """Fixes the block RAMs of ``netlist`` by a placement of it; returns how many there are.

    Raises:
        ValueError: ``placed`` has no cells with a place.
    """
    modules = json.loads(placed.read_text(encoding="utf-8"))["modules"].values()
    chosen = choose(max(modules, key=lambda module: len(module["cells"])))

    def fix(netlist: Netlist, top: str) -> None:
        for name, site in chosen.items():
            netlist["modules"][top]["cells"][name].setdefault("attributes", {})["BEL"] = site

    change_file(netlist, top, fix)
    return len(chosen)


def choose(module: Module) -> dict[str, str]:
    """Sites of a placed module's block RAMs by their names.

    Raises:
        ValueError: no cell of the module has a place.
    """
    centres = centres_of_logic(module)
    memories: dict[str, list[str]] = defaultdict(list)
    for name in centres:
        memories[name.partition(".")[0]].append(name)
    # The block RAMs of a memory stay together, as their addresses are the same.
    heights = {
        memory: sum(centres[name][1] for name in names) / len(names)
        for memory, names in memories.items()
    }
    order = [
        name
        for memory in sorted(memories, key=lambda memory: (heights[memory], memory))
        for name in sorted(memories[memory])
    ]
    chosen = {}
    for number, row in enumerate(ROWS):
        # As many in each row, and never more than it has sites, if the FPGA has them at all.
        first, end = (-(-len(order) * i // len(ROWS)) for i in (number, number + 1))
        names = sorted(order[first:end], key=lambda name: centres[name][0])
        columns = nearest_columns([centres[name][0] for name in names])
        for name, column in zip(names, columns, strict=True):
            chosen[name] = f"X{column}/Y{row}/{SITES[column]}"
    return chosen


def centres_of_logic(module: Module) -> dict[str, Place]:
    """For each block RAM the mean place of the other cells on its nets.

    Raises:
        ValueError: no cell of the module has a place.
    """
    places: dict[str, Place] = {}
    pins: dict[int, list[str]] = defaultdict(list)
    for name, cell in module["cells"].items():
        found = re.match(r"X(\d+)/Y(\d+)/", cell["attributes"].get("NEXTPNR_BEL", ""))
        if found:
            places[name] = (float(found[1]), float(found[2]))
            for bit in bits_of(cell):
                pins[bit].append(name)
    if not places:
        raise ValueError("no cell of the placement has a place")
    centres = {}
    for name, place in places.items():
        if module["cells"][name]["type"] != BLOCK_RAM:
            continue
        around = [
            places[other]
            for bit in bits_of(module["cells"][name])
            if len(pins[bit]) < FAR_REACHING
            for other in pins[bit]
            if module["cells"][other]["type"] != BLOCK_RAM
        ] or [place]
        centres[name] = (
            sum(x for x, _ in around) / len(around),
            sum(y for _, y in around) / len(around),
        )
    return centres


def bits_of(cell: dict[str, Any]) -> list[int]:
    """The nets on a cell's pins, one entry per pin; constants are none."""
    return [bit for bits in cell["connections"].values() for bit in bits if isinstance(bit, int)]


def nearest_columns(wanted: Sequence[float]) -> list[int]:
    """Columns in rising order, each taken once, with the least sum of distances to ``wanted``.

    ``wanted`` rises, too, and has no more entries than a row has block RAMs.
    """
    columns = sorted(SITES)
    # best[i][j]: least sum for the first i wanted ones in the first j columns.
    best: list[list[float]] = [[0.0] * (len(columns) + 1)]
    for x in wanted:
        row = [float("inf")]
        for j, column in enumerate(columns):
            row.append(min(row[j], best[-1][j] + abs(column - x)))
        best.append(row)
    taken: list[int] = []
    j = len(columns)
    for row in reversed(best[1:]):
        while row[j] == row[j - 1]:
            j -= 1
        j -= 1
        taken.append(columns[j])
    return taken[::-1]
