"""The same checks on a real device: set JALHOST_HIL to a target, for example uart:/dev/ttyUSB0.

They pass on whatever answers there, a simulator's port included.
"""

import os
from collections.abc import Iterator

import pytest

from jalgateware.contract.memory_map import MAIN_RAM_ORIGIN
from jalhost.device import Device
from jalhost.engine.generation import Generation, Summary
from jalhost.engine.target import Target
from jalhost.engine.targets import open_target
from jalhost.links.open import connect
from jalhost.models.blob import build_blob
from jalhost.models.image import Image
from jalhost.progress import Progress
from jaltest.links import FlippingLink
from jaltest.tiny import tiny_image

pytestmark = pytest.mark.hil

IMAGE = tiny_image()


@pytest.fixture(scope="module")
def name() -> str:
    """The target under test."""
    configured = os.environ.get("JALHOST_HIL", "")
    if not configured.startswith("uart:"):
        pytest.skip("JALHOST_HIL names no board (uart:PORT)")
    return configured


@pytest.fixture(scope="module")
def board(name: str) -> Iterator[Target]:
    """The board with the tiny model."""
    with open_target(name, print) as target:
        target.load(IMAGE)
        yield target


def generate(target: Target, image: Image, temperature: float, seed: int) -> Summary:
    generation = Generation(target, image, "the one", 30, temperature, seed)
    for _ in generation:
        pass
    return generation.summary()


@pytest.mark.parametrize(("temperature", "seed"), [(0.0, 0), (0.8, 1), (0.8, 2)])
def test_board_gives_the_emulators_tokens(board: Target, temperature: float, seed: int) -> None:
    measured = generate(board, IMAGE, temperature, seed)
    with open_target("emu", print) as emulator:
        emulator.load(IMAGE)
        assert measured.token_ids == generate(emulator, IMAGE, temperature, seed).token_ids
    assert measured.cycles_per_token
    assert measured.dram_utilisation
    assert 0 < measured.dram_utilisation < 1


def test_streams_and_drafts_give_the_emulators_tokens(board: Target) -> None:
    rows = board.info.token_rows
    if rows == 1:
        pytest.skip("the board's gateware has one token row")
    with open_target("emu", print) as emulator:
        emulator.load(IMAGE)
        for prompts, drafts in ((["the one", "a", "no", "the"][:rows], 0), (["the one"], rows - 1)):
            streams = []
            for target, most in ((board, drafts), (emulator, 0)):
                generation = Generation(target, IMAGE, prompts, 30, 0.8, 1, most)
                for _ in generation:
                    pass
                streams.append([item.token_ids for item in generation.summary().streams])
            assert streams[0] == streams[1]


def test_runs_take_the_same_cycles_within_a_percent(board: Target) -> None:
    first, second = (generate(board, IMAGE, 0.0, 0).cycles_per_token for _ in range(2))
    assert first == pytest.approx(second, rel=0.01)


def test_damage_on_the_way_is_found_and_repaired(name: str, board: Target) -> None:
    board.close()
    other = tiny_image(seed=3)
    link, _ = connect(name, print)
    probe = Device(link)
    blob = build_blob(other, probe.identity.config)
    offset, _ = blob.chunk(1)
    reports: list[str] = []
    place = MAIN_RAM_ORIGIN + probe.identity.image_offset + offset + 64
    device = Device(FlippingLink(link, place))
    try:
        device.transfer_image(blob, reports.append)
        device.load()
    finally:
        device.close()
    assert [line for line in reports if not isinstance(line, Progress)][
        -1
    ] == "damaged on the way: chunk 1; sending again"
