"""Registers moved into block RAMs: the packed netlist does what the one before did."""

import copy
from pathlib import Path
from typing import Any

import pytest

from jalsoc.ecp5_registers import pack_registers
from jalsoc.netlist_wires import Packed
from jalsoc.ram_registers import BLOCK_RAM, pack_outputs
from jaltest.ecp5_cells import block_ram, multiplier
from jaltest.side_by_side import compare_netlists, synthesised

MEMORY = """
  (* ram_style = "block", no_rw_check *) reg [17:0] NAME_ram [0:511];
  reg [17:0] NAME_read;
  always @(posedge clk) begin
    if (en) NAME_ram[{1'b0, a[7:0]}] <= b;
    NAME_read <= NAME_ram[{1'b1, b[7:0]} ^ {9{NAME_first}}];
  end
"""
"""Never read where it is written: reads begin in the upper half, whose words are 0."""

DESIGN = """
module dut(input clk, rst, en, sel, input [17:0] a, b,
    output reg [17:0] plain, enabled, cleared, shared, output [17:0] also, mixed,
    output reg [35:0] wide, product);
  reg first = 0;
  always @(posedge clk) first <= sel & ~en;
  MEMORIES
  // Written and read in other halves, so that both answer.
  (* ram_style = "block", no_rw_check *) reg [35:0] wide_ram [0:511];
  reg [35:0] wide_read;
  reg half = 0;
  always @(posedge clk) begin
    half <= half ^ rst;
    wide_ram[{half, a[7:0]}] <= {b, a};
    wide_read <= wide_ram[{~half, b[7:0]}];
    wide <= wide_read;
  end
  assign also = shared_read, mixed = {mixed_high, mixed_read[8:0]};
  reg [8:0] mixed_high;
  reg [17:0] stage, factor;
  always @(posedge clk) begin
    plain <= plain_read;
    if (sel) enabled <= enabled_read;
    if (rst) cleared <= 0; else cleared <= cleared_read;  // a reset of its own
    shared <= shared_read;  // others read the RAM, too
    mixed_high <= mixed_read[17:9];  // half of it is read as it comes
    stage <= factor_read; factor <= stage; product <= factor * b;  // one for each
  end
endmodule
"""

NAMES = ("plain", "enabled", "cleared", "shared", "mixed", "factor")
PACKED = {"plain": 18, "enabled": 18, "factor": 18, "wide": 36}
"""Memories whose register can be used, and its bits."""


@pytest.fixture(scope="module")
def netlist(folder: Path) -> dict[str, Any]:
    memories = "".join(MEMORY.replace("NAME_first", "first").replace("NAME", n) for n in NAMES)
    return synthesised(folder, DESIGN.replace("MEMORIES", memories))


def test_what_is_packed(netlist: dict[str, Any]) -> None:
    packed = copy.deepcopy(netlist)
    report = pack_registers(packed, "dut")
    assert report.memories == len(PACKED)
    assert report.flip_flops >= sum(PACKED.values())
    modes = [
        (cell["parameters"]["REGMODE_A"], cell["parameters"]["REGMODE_B"])
        for cell in packed["modules"]["dut"]["cells"].values()
        if cell["type"] == BLOCK_RAM
    ]
    assert len(modes) == len(NAMES) + 1
    assert modes.count(("OUTREG", "OUTREG")) >= 1
    assert sum("OUTREG" in mode for mode in modes) == len(PACKED)
    assert pack_registers(packed, "dut") == Packed(0, 0, 0)


def test_a_ram_that_is_reset_keeps_its_flip_flops(netlist: dict[str, Any]) -> None:
    changed = copy.deepcopy(netlist)
    for cell in changed["modules"]["dut"]["cells"].values():
        if cell["type"] == BLOCK_RAM:
            cell["connections"] |= {f"RST{port}": cell["connections"]["CLKB"] for port in "AB"}
    assert pack_outputs(changed, "dut") == (0, 0)


def test_same_values_in_each_cycle(netlist: dict[str, Any], folder: Path) -> None:
    packed = copy.deepcopy(netlist)
    pack_registers(packed, "dut")
    cells = multiplier() + block_ram()
    differences, changes = compare_netlists(folder, netlist, packed, cells)
    assert differences == 0
    assert changes > 1800
