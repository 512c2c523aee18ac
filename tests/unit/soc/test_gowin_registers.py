"""Registers moved into Gowin's multipliers: the packed netlist does what the one before did."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from jalsoc.gowin_registers import MULTIPLIERS, pack_registers
from jalsoc.netlist_wires import Packed, change_file
from jaltest.gowin_cells import multipliers
from jaltest.side_by_side import GOWIN, compare_netlists, synthesised

DESIGN = """
module dut(input clk, rst, en, sel, input [17:0] a, b,
    output reg [35:0] plain, enabled, cleared, muxed, late, twice, output reg [25:0] constant,
    output reg [15:0] small, odd, ones, output [17:0] also, output [35:0] raw,
    output reg [35:0] both);
  reg signed [17:0] pa, pb, ea, eb, ca, cb, ma, la, lb, ka, ta, tb, ba, bb;
  reg signed [35:0] middle;
  reg signed [7:0] sa, sb, oa, ob, na, nb;
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
    ta <= a; tb <= ~b; middle <= ta * tb; twice <= middle;
    sa <= a[7:0]; sb <= b[7:0]; small <= sa * sb;
    if (en) oa <= a[7:0];
    ob <= b[7:0]; odd <= oa * ob;  // the operands do not agree
    na <= a[7:0]; nb <= {b[6:0], 1'b1}; ones <= na * nb;
    if (rst) ba <= 0; else if (en) ba <= a;
    bb <= b; both <= ba * bb;  // a reset and an enable
  end
endmodule
"""


@pytest.fixture(scope="module")
def netlist(folder: Path) -> dict[str, Any]:
    return synthesised(folder, DESIGN, "synth_gowin -noiopads")


def registers(netlist: dict[str, Any]) -> list[str]:
    """Which registers each multiplier uses, in order."""
    cells = netlist["modules"]["dut"]["cells"].values()
    return sorted(
        f"{cell['type']} " + " ".join(sorted(name for name, value in settings if value == "1"))
        for cell in cells
        if cell["type"] in MULTIPLIERS
        for settings in [cell["parameters"].items()]
    )


def test_what_is_packed(netlist: dict[str, Any]) -> None:
    """All but what others read, what does not agree, and what has no double in a multiplier."""
    packed = copy.deepcopy(netlist)
    report = pack_registers(packed, "dut")
    assert registers(packed) == [
        "MULT18X18 AREG BREG",
        "MULT18X18 AREG BREG OUT_REG",
        "MULT18X18 AREG BREG OUT_REG",
        "MULT18X18 AREG BREG OUT_REG",
        "MULT18X18 AREG BREG OUT_REG PIPE_REG",
        "MULT18X18 AREG OUT_REG",
        "MULT18X18 BREG OUT_REG",
        "MULT18X18 OUT_REG",
        "MULT9X9 AREG BREG OUT_REG",
        "MULT9X9 AREG OUT_REG",
        "MULT9X9 BREG OUT_REG",
    ]
    assert (report.operands, report.products) == (16, 10)
    assert report.flip_flops > 300
    assert pack_registers(packed, "dut") == Packed(0, 0, 0)


def test_same_values_in_each_cycle(netlist: dict[str, Any], folder: Path) -> None:
    (folder / "dut.json").write_text(json.dumps(netlist))
    assert change_file(folder / "dut.json", "dut", pack_registers).flip_flops > 300
    packed = json.loads((folder / "dut.json").read_text())
    differences, changes = compare_netlists(folder, netlist, packed, multipliers(), GOWIN)
    assert differences == 0
    assert changes > 1900
