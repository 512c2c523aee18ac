"""Registers moved into multipliers: the packed netlist does what the one before did."""

import copy
from pathlib import Path
from typing import Any

import pytest

from jalsoc.dsp_registers import MULTIPLIER, pack_registers
from jalsoc.netlist_wires import Packed
from jaltest.ecp5_cells import multiplier
from jaltest.side_by_side import compare_netlists, synthesised

DESIGN = """
module dut(input clk, rst, en, sel, input [17:0] a, b,
    output reg [35:0] plain, enabled, cleared, muxed, late, output reg [25:0] constant,
    output reg [15:0] small, output [17:0] also, output [35:0] raw);
  reg signed [17:0] pa, pb, ea, eb, ca, cb, ma, la, lb, ka;
  reg signed [7:0] sa, sb;
  assign also = pa, raw = la * lb;
  always @(posedge clk) begin
    pa <= a; pb <= b; plain <= pa * pb;  // others read an operand, too
    if (en) begin ea <= a; eb <= b; end
    enabled <= ea * eb;
    if (rst) begin ca <= 0; cb <= 0; cleared <= 0; end
    else begin ca <= a; cb <= b ^ 5; cleared <= ca * cb; end
    ma <= sel ? {2'b0, b[15:0]} : a; muxed <= ma * pb;  // yosys resets two bits by sel
    la <= a + 1; lb <= b; late <= raw;  // the product is read by others
    ka <= a; constant <= ka * 8'sd77;
    sa <= a[7:0]; sb <= {b[6:0], 1'b1}; small <= sa * sb;
  end
endmodule
"""

CHAIN = """
module dut(input clk, input [8:0] a, b, input [17:0] c, output reg [35:0] q);
  reg signed [17:0] p;
  always @(posedge clk) begin p <= $signed(a) * $signed(b); q <= p * $signed(c); end
endmodule
"""


@pytest.fixture(scope="module")
def netlist(folder: Path) -> dict[str, Any]:
    return synthesised(folder, DESIGN)


def multipliers(netlist: dict[str, Any]) -> list[dict[str, Any]]:
    cells = netlist["modules"]["dut"]["cells"].values()
    return [cell for cell in cells if cell["type"] == MULTIPLIER]


def test_what_is_packed(netlist: dict[str, Any]) -> None:
    """All operands; all products but the one that others read as well."""
    packed = copy.deepcopy(netlist)
    count = len(multipliers(netlist))
    report = pack_registers(packed, "dut")
    assert (report.operands, report.products) == (2 * count, count - 1)
    assert report.flip_flops > 300
    assert pack_registers(packed, "dut") == Packed(0, 0, 0)


def test_a_register_between_two_multipliers_is_used_once(folder: Path) -> None:
    netlist = synthesised(folder, CHAIN)
    first, second = multipliers(netlist)
    report = pack_registers(netlist, "dut")
    assert (report.operands, report.products) == (0, 2)
    driven = {bit for bits in first["connections"].values() for bit in bits}
    assert driven & {bit for bits in second["connections"].values() for bit in bits}


def test_same_values_in_each_cycle(netlist: dict[str, Any], folder: Path) -> None:
    packed = copy.deepcopy(netlist)
    pack_registers(packed, "dut")
    differences, changes = compare_netlists(folder, netlist, packed, multiplier())
    assert differences == 0
    assert changes > 1900
