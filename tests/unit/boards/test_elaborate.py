"""Every board becomes Verilog and constraints."""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

from jalboards import vivado
from jalboards.board import Board, Flow
from jalboards.catalogue import all_boards, find_board
from jalboards.config import configure
from jalboards.elaborate import ROM_CONTENT
from jalboards.families import Ecp5Ddr3Board
from jalboards.tools import sources, synthesis_script
from jalfirmware.build import machine
from jalsoc.cache import digest_files
from jalsoc.ooc_tools import find_tool
from jaltest.side_by_side import tool_folder

CONSTRAINTS = {Flow.ECP5: "top.lpf", Flow.GOWIN: "top.cst", Flow.VIVADO: "top.xdc"}


Elaborated = Callable[..., Path]


@pytest.fixture(scope="module")
def elaborated(tmp_path_factory: pytest.TempPathFactory) -> Elaborated:
    """Gives the folder of a board's Verilog; ``run`` tells apart what is made anew."""

    @cache
    def elaborate(name: str, run: int = 0) -> Path:
        folder = tmp_path_factory.mktemp(f"{name}-{run}-")
        config = configure(find_board(name), {}).hardware_json()
        command = [sys.executable, "-m", "jalboards.elaborate", config, str(folder)]
        subprocess.run(command, check=True, capture_output=True)
        return folder

    return elaborate


@pytest.mark.parametrize(
    ("board", "cpu", "march"),
    [
        ("tang-nano-20k", "serv_alu.v", "-march=rv32i"),
        ("ecpix5", "VexRiscv_Lite.v", "-march=rv32im"),
    ],
)
def test_a_board_has_its_cpu(board: str, cpu: str, march: str, elaborated: Elaborated) -> None:
    """And the firmware knows of it."""
    folder = elaborated(board)
    assert cpu in sources(folder)
    assert machine(folder / "generated")[0] == march


def files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize("board", all_boards(), ids=lambda board: board.name)
def test_a_board_becomes_verilog_and_constraints(board: Board, elaborated: Elaborated) -> None:
    folder = elaborated(board.name)
    verilog = (folder / "top.v").read_text(encoding="utf-8")
    ports = verilog.partition("module top (")[2].partition(");")[0]
    pins = (folder / CONSTRAINTS[board.flow]).read_text(encoding="utf-8")
    names = re.findall(r"(?:input|output|inout) .*?(\w+),?$", ports, re.M)
    assert names
    assert [name for name in names if name not in pins] == []
    assert f'$readmemh("{ROM_CONTENT}"' in verilog
    sources = json.loads((folder / "project.json").read_text(encoding="utf-8"))["sources"]
    assert all((folder / name).is_file() for name in sources)


@pytest.mark.parametrize("board", all_boards(), ids=lambda board: board.name)
def test_the_description_is_that_of_the_board(board: Board, elaborated: Elaborated) -> None:
    folder = elaborated(board.name)
    soc = json.loads((folder / "soc.json").read_text(encoding="utf-8"))
    assert soc["board"] == board.name
    assert soc["clock_hz"] == board.clock_hz
    assert soc["port_bytes"] == board.dram.bytes_per_cycle
    memory = json.loads((folder / "csr.json").read_text(encoding="utf-8"))["memories"]
    assert memory["main_ram"]["size"] == board.dram.bytes


@pytest.mark.parametrize(
    "board",
    [
        pytest.param(board, marks=[] if board.name == "arty-a7" else pytest.mark.long)
        for board in all_boards()
        if board.flow is Flow.VIVADO
    ],
    ids=lambda board: board.name,
)
def test_yosys_reads_a_project_for_vivado(board: Board, elaborated: Elaborated) -> None:
    """All modules are there, Xilinx's primitives as black boxes; nothing is synthesised."""
    with tool_folder() as folder:
        shutil.copytree(elaborated(board.name), folder, dirs_exist_ok=True)
        (folder / ROM_CONTENT).write_text("00000013\n", encoding="utf-8")
        reading = f"{vivado.SYNTHESIS} -run begin:prepare"
        script = synthesis_script(folder, reading, f"tee -o {vivado.STATISTICS} stat -json")
        (folder / "read.ys").write_text(script, encoding="utf-8")
        subprocess.run([find_tool("yosys"), "-q", "-s", "read.ys"], cwd=folder, check=True)
        statistics = json.loads((folder / vivado.STATISTICS).read_text(encoding="utf-8"))
    assert {"OSERDESE2", "ISERDESE2", "IDELAYE2"} <= set(statistics["design"]["num_cells_by_type"])


@pytest.mark.parametrize(
    "board",
    [board for board in all_boards() if isinstance(board, Ecp5Ddr3Board)],
    ids=lambda board: board.name,
)
def test_ecp5_ddr3_runs_at_twice_the_clock_and_is_levelled(
    board: Board, elaborated: Elaborated
) -> None:
    folder = elaborated(board.name)
    verilog = (folder / "top.v").read_text(encoding="utf-8")
    assert re.search(r'CLKDIVF #\(\s+(// .*\s+)?\.DIV \("2\.0"\)', verilog)
    # What LiteDRAM's C code levels the PHY by.
    registers = json.loads((folder / "csr.json").read_text(encoding="utf-8"))["csr_registers"]
    assert "ddrphy_dly_sel" in registers


def test_the_same_input_gives_the_same_files(elaborated: Elaborated) -> None:
    first, second = elaborated("ulx3s"), elaborated("ulx3s", 1)
    assert digest_files(files(first)) == digest_files(files(second))
    assert [path.relative_to(first) for path in files(first)] == [
        path.relative_to(second) for path in files(second)
    ]


def test_nothing_names_a_place_or_a_date(elaborated: Elaborated) -> None:
    for path in files(elaborated("arty-a7")):
        if path.parent.name == "generated" or path.name == "VexRiscv_Lite.v":
            continue
        text = path.read_text(encoding="utf-8")
        assert str(path.parent) not in text, path
        assert not re.search(r"20\d\d-\d\d-\d\d|git: ", text), path
