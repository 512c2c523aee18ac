"""The model of a block RAM does what the memories do that yosys has made of it."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from jaltest.ecp5_cells import block_ram
from jaltest.side_by_side import compare, run, yosys

MEMORY = """
  (* ram_style = "block" *) reg [W-1:0] NAME [0:511];
  initial for (i = 0; i < 512; i = i + 1) NAME[i] = {4{i[8:0] ^ {i[0], i[7:0]} << 2}} + 5 * i;
"""

DESIGN = """
module dut(input clk, rst, en, sel, input [17:0] a, b,
    output reg [35:0] wide, output reg [17:0] one, two, held, through, output reg [8:0] nine,
    output reg [3:0] four, output reg [1:0] pair, output reg bit_, output reg [35:0] cleared);
  integer i;
  MEMORIES
  wire [8:0] x = {a[0], 4'b0, a[4:1]}, y = {b[0], 4'b0, b[4:1]};  // they often meet
  always @(posedge clk) begin
    // Pseudo dual port with byte enables; what is read is the old word.
    for (i = 0; i < 4; i = i + 1) if (en && a[8+i]) wide_[x][9*i+:9] <= b[9+:9] ^ {3{a[7:5]}};
    if (sel) wide <= wide_[y];
    if (en) clear_[x] <= {a, b};
    if (rst) cleared <= 0; else cleared <= clear_[y];
    // One port that reads and writes, in each mode.
    if (en) begin one_[x][8:0] <= b[8:0]; one <= one_[x]; end
    if (sel) begin if (en) begin held_[x] <= b; end else held <= held_[x]; end
    if (sel) begin through <= through_[x]; if (en) begin through_[x] <= a; through <= a; end end
    // Two such ports.
    if (a[5]) two_[x] <= b; else two <= two_[x];
    if (b[5] && x != y) two_[y] <= a;
    if (en) nine_[x] <= b;
    nine <= nine_[y];
    if (en) four_[x] <= b;
    four <= four_[y];
    if (en) pair_[x] <= b;
    pair <= pair_[y];
    if (en) single_[x] <= b;
    bit_ <= single_[y];
  end
endmodule
"""

WIDTHS = {
    "wide_": 36,
    "clear_": 36,
    "one_": 18,
    "held_": 18,
    "through_": 18,
    "two_": 18,
    "nine_": 9,
    "four_": 4,
    "pair_": 2,
    "single_": 1,
}


@pytest.fixture(scope="module")
def module(folder: Path) -> dict[str, Any]:
    """Memories of all widths in block RAM; ``before.v`` is their source, ``after.json`` this."""
    memories = [
        MEMORY.replace("W-1", str(width - 1)).replace("NAME", name)
        for name, width in WIDTHS.items()
    ]
    text = DESIGN.replace("MEMORIES", "".join(memories))
    (folder / "dut.v").write_text(text)
    (folder / "before.v").write_text(text.replace("module dut", "module before"))
    yosys(folder, "read_verilog -sv dut.v; synth_ecp5 -top dut -json dut.json")
    found: dict[str, Any] = json.loads((folder / "dut.json").read_text())["modules"]["dut"]
    (folder / "after.json").write_text(json.dumps({"modules": {"after": found}}))
    return found


def test_the_memories_are_block_rams_of_all_kinds(module: dict[str, Any]) -> None:
    rams = [cell for cell in module["cells"].values() if cell["type"] == "DP16KD"]
    assert len(rams) == len(WIDTHS)
    parameters = [cell["parameters"] for cell in rams]
    assert {int(item["DATA_WIDTH_B"], 2) for item in parameters} == {36, 18, 9, 4, 2, 1}
    modes = {item.get("WRITEMODE_A") for item in parameters}
    assert modes >= {"NORMAL", "WRITETHROUGH", "READBEFOREWRITE"}


def test_same_values_in_each_cycle(module: dict[str, Any], folder: Path) -> None:
    reading = "read_verilog -sv before.v; read_json after.json"
    differences, changes = compare(folder, module, reading, block_ram())
    assert differences == 0
    assert changes > 1900


def test_what_has_no_model_ends_the_simulation(folder: Path) -> None:
    # Verilator ends at once where $finish is called a second time: no third would be seen.
    parameters = ('.REGMODE_A("OUTREG"), .DATA_WIDTH_B(36)', '.CLKBMUX("INV")')
    rams = "".join(
        f"DP16KD #({parameter}) ram{number}(.CLKA(clk)); "
        for number, parameter in enumerate(parameters)
    )
    text = f"module top; reg clk = 0; always #1 clk = ~clk; {rams} endmodule\n"
    (folder / "refused.v").write_text(text + block_ram())
    options = "--binary --timing -Wno-fatal -CFLAGS -O0 --top-module top -o top --Mdir refused"
    run(folder, ["verilator", *options.split(), "refused.v"])
    said = re.findall("^DP16KD: no model of (.*)$", run(folder, ["./refused/top"]), re.M)
    assert sorted(said) == ["half a register", "inverted clocks"]
