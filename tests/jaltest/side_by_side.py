"""Two Verilog modules with the same ports, given the same random inputs in Verilator."""

import json
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from jalsoc.netlist_wires import Netlist
from jalsoc.ooc import build_folder
from jalsoc.ooc_tools import find_tool

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


@contextmanager
def tool_folder() -> Iterator[Path]:
    """A temporary folder, not below /tmp: the tools from pip see a private, empty /tmp."""
    build_folder().mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=build_folder()) as name:
        yield Path(name)


def run(folder: Path, command: Sequence[str]) -> str:
    """Runs a tool in a folder; returns what it prints."""
    result = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert not result.returncode, (result.stdout + result.stderr)[-4000:]
    return result.stdout


def yosys(folder: Path, script: str) -> None:
    """Runs a script of yosys in a folder."""
    run(folder, [find_tool("yosys"), "-q", "-p", script])


def synthesised(folder: Path, design: str, command: str = "synth_ecp5") -> Netlist:
    """The netlist that yosys makes of a module ``dut`` in Verilog."""
    (folder / "dut.v").write_text(design)
    yosys(folder, f"read_verilog dut.v; {command} -top dut -json dut.json")
    netlist: Netlist = json.loads((folder / "dut.json").read_text())
    return netlist


def bench(module: dict[str, Any]) -> str:
    """Both modules side by side, and a count of differences."""
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


ECP5, GOWIN = "+/lattice/cells_sim_ecp5.v", "+/gowin/cells_sim.v"
"""Where yosys has models of an FPGA's cells."""


def compare(
    folder: Path, module: dict[str, Any], reading: str, cells: str, library: str = ECP5
) -> tuple[int, int]:
    """Cycles in which the modules ``before`` and ``after`` differ, and in which outputs change.

    Of 2000 cycles. Inputs are ``clk``, ``rst``, ``en``, ``sel``, and ``a`` and ``b`` of 18 bits.

    Args:
        module: either, as yosys writes it in JSON; its ports are those of both.
        reading: commands of yosys that read both.
        cells: Verilog models of cells that yosys has none of.
        library: yosys' own models of cells.
    """
    (folder / "bench.v").write_text(bench(module))
    yosys(
        folder,
        f"read_verilog -sv bench.v; {reading}; read_verilog -overwrite {library};"
        " hierarchy -top bench; proc; flatten; opt_clean; write_verilog -noattr flat.v",
    )
    (folder / "top.v").write_text(TOP + cells)
    options = "--binary --timing -Wno-fatal -CFLAGS -O0 --top-module top -o top --Mdir obj"
    options += " --output-split 5000 --output-split-cfuncs 500"
    run(folder, ["verilator", *options.split(), "top.v", "flat.v"])
    differences, changes = run(folder, ["./obj/top"]).split()[:2]
    return int(differences), int(changes)


def compare_netlists(
    folder: Path, before: Netlist, after: Netlist, cells: str, library: str = ECP5
) -> tuple[int, int]:
    """:func:`compare` of the modules ``dut`` of two netlists."""
    for name, netlist in (("before", before), ("after", after)):
        modules = {name: netlist["modules"]["dut"]}
        (folder / f"{name}.json").write_text(json.dumps({"modules": modules}))
    reading = "read_json before.json; read_json after.json"
    return compare(folder, before["modules"]["dut"], reading, cells, library)
