"""What is said of boards is true: compared with litex_boards, LiteDRAM and the contract."""

import re
from importlib.metadata import version

import pytest
from litedram import modules

from jalboards.__main__ import facts
from jalboards.board import Board, Flow
from jalboards.catalogue import all_boards, find_board
from jalboards.config import BuildConfig, configure
from jalboards.vivado import AVAILABLE
from jalhost.errors import EnvironmentProblem, UsageError
from jalhost.flash.loader import Loader, find_loader

BOARDS = all_boards()

TIER_1 = {"ulx3s", "ecpix5", "butterstick", "versa-ecp5", "tang-nano-20k"}

TIER_2 = {"acorn", "arty-a7", "nexys-video", "genesys2", "kc705", "stlv7325"}

LATTICE_IDCODES = {
    # Project Trellis, devices.json.
    "LFE5U-45F": 0x41112043,
    "LFE5U-85F": 0x41113043,
    "LFE5UM5G-45F": 0x81112043,
    "LFE5UM5G-85F": 0x81113043,
}

named = pytest.mark.parametrize("board", BOARDS, ids=lambda board: board.name)


def test_the_boards_are_those_that_the_project_promises() -> None:
    assert {board.name for board in BOARDS if board.tier == 1} >= TIER_1
    assert {board.name for board in BOARDS if board.tier == 2} == TIER_2


@named
def test_the_platform_has_the_same_fpga(board: Board) -> None:
    assert board.platform().device == board.part


@named
def test_the_chip_has_the_size_and_the_width(board: Board) -> None:
    chip = getattr(modules, board.dram.chip)
    ranks = board.dram.bytes // (chip.nbanks * chip.nrows * chip.ncols * board.dram.data_bits // 8)
    assert ranks in (1, 2)
    assert chip.memtype == ("SDR" if board.dram.single_rate else "DDR3")
    assert board.dram.bytes_per_cycle <= board.dram.port_bytes


@named
def test_the_engine_reads_whole_words(board: Board) -> None:
    assert board.engine.lanes >= board.dram.port_bytes


@named
def test_the_idcode_is_that_of_the_part(board: Board) -> None:
    if board.flow is Flow.ECP5:
        assert board.idcode == LATTICE_IDCODES[board.part.rsplit("-", 1)[0]]
    assert board.idcode & 1  # IEEE 1149.1: the last bit is set


@named
def test_it_can_be_flashed(board: Board) -> None:
    assert board.flash.board or board.flash.cable
    assert all(re.fullmatch("[0-9a-f]{4}:[0-9a-f]{4}", usb) for usb in board.flash.usb)


@pytest.fixture(scope="module")
def loader() -> Loader:
    try:
        return find_loader()
    except EnvironmentProblem as problem:
        pytest.skip(problem.what)


@named
def test_its_usb_id_is_that_of_the_cable_that_openfpgaloader_takes(
    board: Board, loader: Loader
) -> None:
    if board.flash.board is None:
        assert board.flash.cable in loader.cables()
        return
    cable = loader.boards()[board.flash.board]
    usb = loader.cables().get(cable or "", "0000:0000")
    # No number: it looks for the product's name, or takes any cable.
    assert usb == "0000:0000" or not board.flash.usb or usb in board.flash.usb


@named
def test_what_is_listed_is_json_of_the_same_board(board: Board) -> None:
    listed = facts(board)
    assert listed["tier"] == (2 if board.flow is Flow.VIVADO else 1)
    assert listed["peak_bytes_per_s"] == board.clock_hz * board.dram.bytes_per_cycle


def test_xilinx_parts_have_sizes() -> None:
    parts = {board.part[:8] for board in BOARDS if board.flow is Flow.VIVADO}
    assert parts == set(AVAILABLE)


def test_block_rams_are_spread_where_the_fpga_has_these_rows() -> None:
    spread = [board for board in all_boards() if board.placer == "spread"]
    assert spread
    assert all("-85F-" in board.part for board in spread)


def test_half_rate_ddr3_moves_half_a_port_word_per_cycle() -> None:
    dram = find_board("ecpix5").dram
    assert (dram.port_bytes, dram.bytes_per_cycle) == (16, 8)


def test_an_unknown_board_is_refused_with_those_that_exist() -> None:
    with pytest.raises(UsageError, match=r"no board 'icebreaker' \(choose from .*ecpix5"):
        find_board("icebreaker")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"engine": {"lanes": 8}}, "8 lanes read less than a word of the DRAM on ecpix5"),
        ({"engine": {"lanes": 3}}, "lanes is a power of two"),
        ({"engine": {"lames": 3}}, "the engine cannot be built: .*lames"),
        ({"clock_hz": 1_000_000}, "the clock is 10 to 250 MHz, not 1"),
        ({"baud": 1}, "the UART's rate is 9600 to 9375000, not 1"),
        ({"seed": -1}, "the seed is a number from 0, not -1"),
    ],
)
def test_what_cannot_be_built_is_refused(changes: dict[str, object], message: str) -> None:
    arguments: dict[str, object] = {"engine": {}} | changes
    with pytest.raises(UsageError, match=message):
        configure(find_board("ecpix5"), **arguments)  # type: ignore[arg-type] # one at a time


def test_a_configuration_survives_json() -> None:
    config = configure(find_board("ulx3s"), {"tokens": 1, "attention_slots": 1}, 40_000_000, 9600)
    assert BuildConfig.from_json(config.hardware_json()) == config


def test_the_library_is_the_tested_release() -> None:
    assert version("litex-boards") == "2023.12"
