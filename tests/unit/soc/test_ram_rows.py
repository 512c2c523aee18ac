"""Block RAMs spread over the rows of an LFE5U-85F: every site once, near the logic around it."""

import itertools
import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jalsoc.ooc import build_folder
from jalsoc.ooc_tools import run_tool
from jalsoc.ram_registers import BLOCK_RAM
from jalsoc.ram_rows import ROWS, SITES, choose, nearest_columns, spread_file
from jaltest.tools import require_tool

ALL = 208
"""Block RAMs of an LFE5U-85F (Lattice's data sheet FPGA-DS-02012)."""

Module = dict[str, Any]


def cell(kind: str, place: str, **connections: list[int | str]) -> Module:
    attributes = {"NEXTPNR_BEL": place} if place else {}
    return {"type": kind, "attributes": attributes, "connections": connections}


def placed(memories: dict[str, tuple[int, int, int]]) -> Module:
    """A module of memories {name: (block RAMs, x and y of the flip-flop that each drives)}.

    All block RAMs are in one corner; a clock reaches everything.
    """
    cells = {}
    net = itertools.count(10)
    for memory, (rams, x, y) in memories.items():
        for i in range(rams):
            bit = next(net)
            corner = f"X{4 + 2 * (i % 4)}/Y22/EBR{i % 4}"
            cells[f"{memory}.{i}.0"] = cell(BLOCK_RAM, corner, DOA=[bit, "x"], CLKA=[2])
            cells[f"ff{bit}"] = cell("TRELLIS_FF", f"X{x}/Y{y}/SLICEA.FF0", DI=[bit], CLK=[2])
    for i in range(60):
        cells[f"away{i}"] = cell("TRELLIS_FF", "X1/Y90/SLICEA.FF0", CLK=[2])
    return {"cells": cells}


def numbers(chosen: dict[str, str], axis: str) -> dict[str, int]:
    """Columns (X) or rows (Y) by name."""
    return {name: int(re.findall(rf"{axis}(\d+)", site)[0]) for name, site in chosen.items()}


def test_a_full_fpga_has_every_site_once() -> None:
    chosen = choose(placed({f"m{i}": (16, 7 * i, 5 * i) for i in range(13)}))
    assert len(chosen) == len(set(chosen.values())) == ALL
    assert set(Counter(numbers(chosen, "Y").values()).values()) == {ALL // len(ROWS)}


@pytest.mark.parametrize("count", [1, 3, 4, 5, 123])
def test_all_rows_have_as_many(count: int) -> None:
    counts = Counter(numbers(choose(placed({"m": (count, 60, 50)})), "Y").values())
    assert sum(counts.values()) == count
    assert max(counts.values()) - min(counts[row] for row in ROWS) <= 1


def test_memories_go_by_their_logics_height_and_stay_together() -> None:
    chosen = choose(placed({"d": (8, 9, 80), "a": (8, 9, 10), "c": (8, 9, 60), "b": (8, 9, 33)}))
    assert {name[0]: row for name, row in numbers(chosen, "Y").items()} == dict(
        zip("abcd", ROWS, strict=True)
    )


def test_block_rams_stand_at_their_logics_columns() -> None:
    chosen = choose(placed({f"m{i}": (1, x, 22) for i, x in enumerate((4, 64, 111, 118))}))
    assert sorted(numbers(chosen, "X").values()) == [4, 64, 111, 118]


def test_a_block_ram_without_logic_goes_by_its_own_place() -> None:
    module = {"cells": {"m.0.0": cell(BLOCK_RAM, "X37/Y46/EBR3", DOA=["x"])}}
    assert numbers(choose(module), "X") == {"m.0.0": 37}


def test_cells_without_a_place_are_an_error() -> None:
    with pytest.raises(ValueError, match="no cell of the placement has a place"):
        choose({"cells": {"m.0.0": cell(BLOCK_RAM, "", DOA=[5])}})


@given(st.lists(st.floats(0, 126), min_size=1, max_size=2).map(sorted))
def test_columns_are_the_nearest(wanted: list[float]) -> None:
    found = nearest_columns(wanted)
    assert found == sorted(set(found))
    assert len(found) == len(wanted)

    def distance(columns: tuple[int, ...]) -> float:
        return sum(abs(column - x) for column, x in zip(columns, wanted, strict=True))

    least = min(map(distance, itertools.combinations(sorted(SITES), len(wanted))))
    assert distance(tuple(found)) == pytest.approx(least)


def test_only_block_rams_of_the_netlist_are_fixed(tmp_path: Path) -> None:
    module = placed({"m": (5, 60, 50)})
    netlist = {"modules": {"top": {"cells": {
        name: {"type": item["type"], "connections": item["connections"]}
        for name, item in module["cells"].items()
    }}}}  # fmt: skip
    before, after = tmp_path / "placed.json", tmp_path / "netlist.json"
    # The library's cells are modules, too.
    before.write_text(json.dumps({"modules": {"DCCA": {"cells": {}}, "top": module}}))
    after.write_text(json.dumps(netlist))
    assert spread_file(before, after, "top") == 5
    cells = json.loads(after.read_text())["modules"]["top"]["cells"]
    sites = choose(module)
    for name, item in cells.items():
        assert item.get("attributes", {}) == ({"BEL": sites[name]} if name in sites else {})


def test_nextpnr_has_all_the_sites() -> None:
    nextpnr = require_tool("nextpnr-ecp5")
    module = placed({f"m{i}": (16, 60, 50) for i in range(13)})
    cells: Module = {
        name: {
            "type": BLOCK_RAM, "parameters": {}, "attributes": {"BEL": site},
            "port_directions": {"CLKA": "input"}, "connections": {"CLKA": [2]},
        }
        for name, site in choose(module).items()
    }  # fmt: skip
    top = {
        "attributes": {"top": "1"}, "cells": cells,
        "ports": {"clk": {"direction": "input", "bits": [2]}},
        "netnames": {"clk": {"bits": [2], "attributes": {}}},
    }  # fmt: skip
    folder = build_folder() / "sites"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "sites.json").write_text(json.dumps({"creator": "", "modules": {"top": top}}))
    (folder / "sites.lpf").touch()
    options = "--85k --package CABGA381 --json sites.json --lpf sites.lpf --no-route"
    options += " --lpf-allow-unconstrained --write placed.json"
    log = folder / "nextpnr.log"
    run_tool([nextpnr, *options.split()], folder, log)
    modules = json.loads((folder / "placed.json").read_text())["modules"]
    found = {
        name: item["attributes"]["NEXTPNR_BEL"]
        for name, item in modules["top"]["cells"].items()
        if item["type"] == BLOCK_RAM
    }
    assert found == {name: item["attributes"]["BEL"] for name, item in cells.items()}
    assert re.search(rf"DP16KD: +{ALL}/ +{ALL}", log.read_text())
