"""The same checks on whatever answers: ``pytest tests/hil --target uart:/dev/ttyUSB0``."""

import pytest

from jalgateware.contract.memory_map import MAIN_RAM_ORIGIN
from jalhost.device import Device
from jalhost.engine.generation import Generation, Summary
from jalhost.engine.target import Provenance, Target
from jalhost.engine.targets import open_target
from jalhost.models.blob import build_blob
from jalhost.models.image import Image
from jalhost.progress import Progress
from jaltest.links import FlippingLink
from jaltest.tiny import mixed_formats, tiny_image

pytestmark = pytest.mark.hil

SLOW_S = 60.0
"""What answers may be a simulator on a busy computer."""


@pytest.fixture(scope="module")
def model() -> Image:
    """Small enough for each board, and soon sent."""
    return tiny_image()


@pytest.fixture(scope="module")
def board(target: Target, model: Image) -> Target:
    """The target with the model."""
    target.load(model)
    return target


def generate(target: Target, image: Image, temperature: float, seed: int) -> Summary:
    generation = Generation(target, image, "the one", 30, temperature, seed)
    for _ in generation:
        pass
    return generation.summary()


@pytest.mark.parametrize(("temperature", "seed"), [(0.0, 0), (0.8, 1), (0.8, 2)])
def test_board_gives_the_emulators_tokens(
    board: Target, model: Image, temperature: float, seed: int
) -> None:
    summary = generate(board, model, temperature, seed)
    with open_target("emu", print) as emulator:
        emulator.load(model)
        assert summary.token_ids == generate(emulator, model, temperature, seed).token_ids
    if board.info.provenance is not Provenance.EMULATED:
        assert summary.cycles_per_token
        assert summary.dram_utilisation
        assert 0 < summary.dram_utilisation < 1


@pytest.mark.jalhost_needs(rows=2)
def test_streams_and_drafts_give_the_emulators_tokens(board: Target, model: Image) -> None:
    rows = board.info.token_rows
    with open_target("emu", print) as emulator:
        emulator.load(model)
        for prompts, drafts in ((["the one", "a", "no", "the"][:rows], 0), (["the one"], rows - 1)):
            streams = []
            for target, most in ((board, drafts), (emulator, 0)):
                generation = Generation(target, model, prompts, 30, 0.8, 1, most)
                for _ in generation:
                    pass
                streams.append([item.token_ids for item in generation.summary().streams])
            assert streams[0] == streams[1]


@pytest.mark.jalhost_needs(mxfp4=True)
def test_four_bit_weights_give_the_emulators_tokens(target: Target) -> None:
    image = tiny_image(formats=mixed_formats())
    target.load(image)
    with open_target("emu", print) as emulator:
        emulator.load(image)
        tokens = generate(emulator, image, 0.8, 1).token_ids
    assert generate(target, image, 0.8, 1).token_ids == tokens


@pytest.mark.jalhost_needs(links=("uart", "eth", "pcie"))
def test_runs_take_the_same_cycles_within_a_percent(target: Target, model: Image) -> None:
    target.load(model)
    first, second = (generate(target, model, 0.0, 0).cycles_per_token for _ in range(2))
    assert first == pytest.approx(second, rel=0.01)


@pytest.mark.jalhost_needs(links=("uart", "eth", "pcie"))
def test_damage_on_the_way_is_found_and_repaired(device: Device) -> None:
    blob = build_blob(tiny_image(seed=3), device.identity.config)
    offset, _ = blob.chunk(1)
    reports: list[str] = []
    place = MAIN_RAM_ORIGIN + device.identity.image_offset + offset + 64
    damaging = Device(FlippingLink(device.link, place), None, SLOW_S, SLOW_S)
    damaging.transfer_image(blob, reports.append)
    damaging.load()
    assert [line for line in reports if not isinstance(line, Progress)][
        -1
    ] == "damaged on the way: chunk 1; sending again"
