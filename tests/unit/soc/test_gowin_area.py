"""LUTs that a netlist of Gowin's cells occupies."""

from pathlib import Path

from jalsoc.gowin_area import Area, luts
from jaltest.side_by_side import synthesised


def area(folder: Path, body: str) -> Area:
    """Of a module with these statements."""
    ports = "input clk, input [7:0] a, b, output reg [7:0] q, r"
    design = f"module dut({ports});\n{body}\nendmodule\n"
    return luts(synthesised(folder, design, "synth_gowin -nowidelut -noiopads"), "dut")


def test_a_flip_flop_behind_logic_shares_its_lut(folder: Path) -> None:
    assert area(folder, "always @(posedge clk) q <= a ^ b;") == Area(8, 0, 0, 0)


def test_a_flip_flop_behind_an_adder_shares_its_cell(folder: Path) -> None:
    found = area(folder, "always @(posedge clk) q <= a + b;")
    assert (found.logic, found.adders, found.flip_flops) == (0, 8, 0)


def test_a_delay_takes_a_lut_for_each_stage(folder: Path) -> None:
    body = "reg [7:0] p; always @(posedge clk) begin p <= a; q <= p; end"
    assert area(folder, body) == Area(0, 0, 0, 16)


def test_a_lut_feeds_one_of_two_flip_flops(folder: Path) -> None:
    body = "wire [7:0] x = a & b; always @(posedge clk) begin q <= x; if (a[0]) r <= x; end"
    assert area(folder, body) == Area(8, 0, 0, 8)


def test_distributed_ram_takes_a_tile_for_four_bits(folder: Path) -> None:
    body = "reg [7:0] ram [0:15]; always @(posedge clk) ram[a[3:0]] <= b;"
    body += " always @* q = ram[b[3:0]];"
    found = area(folder, body)
    assert (found.ram, found.total) == (16, 16)
