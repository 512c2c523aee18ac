"""Registers moved into multipliers: the packed netlist does what the one before did."""

import copy
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from jalsoc.dsp_registers import MULTIPLIER, Packed, pack_registers
from jalsoc.ooc import build_folder
from jalsoc.ooc_tools import find_tool

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

BENCH = """
module bench(input clk, output reg [15:0] differences, output reg [31:0] changes);
  reg [63:0] state = 64'h9E3779B97F4A7C15;
  always @(posedge clk) begin : xorshift
    reg [63:0] x;
    x = state ^ (state << 13); x = x ^ (x >> 7); state <= x ^ (x << 17);
  end
  wire [17:0] a = state[17:0], b = state[35:18];
  wire rst = &state[38:36], en = state[39], sel = state[40];
  wire [TOTAL-1:0] first, second;
  before x(.clk(clk), .rst(rst), .en(en), .sel(sel), .a(a), .b(b), PORTS(first));
  after y(.clk(clk), .rst(rst), .en(en), .sel(sel), .a(a), .b(b), PORTS(second));
  initial begin differences = 0; changes = 0; end
  reg [TOTAL-1:0] last = 0;
  always @(posedge clk) begin
    differences <= differences + (first !== second);
    changes <= changes + (first !== last);
    last <= first;
  end
endmodule
"""

TOP = """
module top;
  reg clk = 0;
  wire [15:0] differences;
  wire [31:0] changes;
  bench bench(clk, differences, changes);
  always #1 clk = ~clk;
  initial begin #4000 $display("%0d %0d", differences, changes); $finish; end
endmodule
"""

MODEL = """
module MULT18X18D(input PINS, output OUTS);
  parameter REG_INPUTA_CLK = "NONE", REG_INPUTB_CLK = "NONE", REG_OUTPUT_CLK = "NONE";
  parameter REG_INPUTA_CE = "CE0", REG_INPUTB_CE = "CE0", REG_OUTPUT_CE = "CE0";
  parameter REG_INPUTA_RST = "RST0", REG_INPUTB_RST = "RST0", REG_OUTPUT_RST = "RST0";
  parameter CLK0_DIV = "ENABLED", GSR = "ENABLED", RESETMODE = "SYNC", RESETMODE2 = "";
  wire [17:0] a = {A_BITS}, b = {B_BITS};
  reg [17:0] ra = 0, rb = 0;
  reg [35:0] rp = 0;
  wire ce_a = REG_INPUTA_CE == "CE0" ? CE0 : CE1, rst_a = REG_INPUTA_RST == "RST0" ? RST0 : RST1;
  wire ce_b = REG_INPUTB_CE == "CE0" ? CE0 : CE1, rst_b = REG_INPUTB_RST == "RST0" ? RST0 : RST1;
  wire ce_p = REG_OUTPUT_CE == "CE0" ? CE0 : CE1, rst_p = REG_OUTPUT_RST == "RST0" ? RST0 : RST1;
  wire [17:0] va = REG_INPUTA_CLK == "NONE" ? a : ra, vb = REG_INPUTB_CLK == "NONE" ? b : rb;
  wire signed [18:0] xa = {SIGNEDA & va[17], va}, xb = {SIGNEDB & vb[17], vb};
  wire signed [37:0] xp = xa * xb;
  always @(posedge CLK0) begin
    if (rst_a) ra <= 0; else if (ce_a) ra <= a;
    if (rst_b) rb <= 0; else if (ce_b) rb <= b;
    if (rst_p) rp <= 0; else if (ce_p) rp <= xp[35:0];
  end
  assign {P_BITS} = REG_OUTPUT_CLK == "NONE" ? xp[35:0] : rp;
endmodule
"""


def bits(letter: str, count: int) -> str:
    """``A17, A16, ..., A0``: pins of a port, the highest first."""
    return ", ".join(f"{letter}{index}" for index in reversed(range(count)))


def model() -> str:
    """A multiplier with registers, as the usage guide describes it; resets are synchronous."""
    pins = [bits(letter, 18) for letter in "ABC"] + [bits("CE", 4), bits("RST", 4)]
    others = "SIGNEDA, SIGNEDB, SOURCEA, SOURCEB, CLK0"
    text = MODEL.replace("PINS", ", ".join([*pins, others])).replace("OUTS", bits("P", 36))
    for letter, count in (("A", 18), ("B", 18), ("P", 36)):
        text = text.replace(f"{letter}_BITS", bits(letter, count))
    return text


def bench(module: dict[str, Any]) -> str:
    """Both netlists side by side, with the same random inputs, and a count of differences."""
    outputs = [
        (name, len(port["bits"]))
        for name, port in module["ports"].items()
        if port["direction"] == "output"
    ]
    text = BENCH.replace("TOTAL", str(sum(width for _, width in outputs)))
    for wires in ("first", "second"):
        ports, low = [], 0
        for name, width in outputs:
            ports.append(f".{name}({wires}[{low + width - 1}:{low}])")
            low += width
        text = text.replace(f"PORTS({wires})", ", ".join(ports))
    return text


def run(folder: Path, command: list[str]) -> str:
    result = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert not result.returncode, result.stdout + result.stderr
    return result.stdout


def yosys(folder: Path, script: str) -> None:
    run(folder, [find_tool("yosys"), "-q", "-p", script])


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """Not below /tmp: the tools from pip see a private, empty /tmp."""
    build_folder().mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=build_folder()) as name:
        yield Path(name)


@pytest.fixture(scope="module")
def netlist(folder: Path) -> dict[str, Any]:
    return synthesised(folder, DESIGN)


def synthesised(folder: Path, design: str) -> dict[str, Any]:
    (folder / "dut.v").write_text(design)
    yosys(folder, "read_verilog dut.v; synth_ecp5 -top dut -json dut.json")
    result: dict[str, Any] = json.loads((folder / "dut.json").read_text())
    return result


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
    for name, content in (("before", netlist), ("after", packed)):
        module = copy.deepcopy(content["modules"]["dut"])
        (folder / f"{name}.json").write_text(json.dumps({"modules": {name: module}}))
    (folder / "bench.v").write_text(model() + bench(netlist["modules"]["dut"]))
    yosys(
        folder,
        "read_verilog -sv bench.v; read_json before.json; read_json after.json;"
        " read_verilog -overwrite +/lattice/cells_sim_ecp5.v; hierarchy -top bench; proc; flatten;"
        " opt_clean; write_verilog -noattr flat.v",
    )
    (folder / "top.v").write_text(TOP)
    options = "--binary --timing -Wno-fatal -CFLAGS -O0 --top-module top -o top --Mdir obj"
    run(folder, ["verilator", *options.split(), "top.v", "flat.v"])
    differences, changes = run(folder, ["./obj/top"]).split()[:2]
    assert int(differences) == 0
    assert int(changes) > 1900
