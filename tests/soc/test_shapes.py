"""Models of many shapes in simulation, token for token as the emulator computes them."""

import random
from collections.abc import Iterator

import pytest

from jalgateware.contract.config import EngineConfig
from jalhost.engine.emulator import Emulator
from jalhost.engine.generation import Generation, Summary
from jalhost.engine.simulator import Simulator
from jalhost.engine.target import Target
from jalhost.errors import UsageError
from jalhost.models.architecture import Architecture
from jalhost.models.image import Image
from jaltest.tiny import tiny_image

pytestmark = [pytest.mark.sim, pytest.mark.slow]

PROMPTS = ("a", "the one", "the hot tea on the town")
VOCABULARY = 274

EDGES = [
    # Heads that fill no word, hidden sizes that fill no block, groups that need several steps.
    (32, 10, 3, 16, 4, 2),
    (96, 304, 1, 8, 2, 12),
    (160, 318, 2, 8, 4, 20),
    (96, 212, 2, 2, 2, 48),
    (128, 189, 2, 2, 1, 64),
    (384, 45, 1, 12, 3, 32),
    (512, 100, 1, 4, 4, 128),
    (64, 33, 1, 8, 8, 8),
]


def architecture(shape: tuple[int, ...], context: int = 48) -> Architecture:
    dim, hidden, layers, heads, kv_heads, head_dim = shape
    return Architecture(
        dim=dim,
        hidden=hidden,
        layers=layers,
        heads=heads,
        kv_heads=kv_heads,
        head_dim=head_dim,
        vocabulary=VOCABULARY,
        context=context,
    )


def drawn(seed: int) -> tuple[int, ...]:
    """A shape that the default gateware takes."""
    choices = random.Random(seed)
    while True:
        head_dim = choices.choice((2, 4, 6, 8, 10, 16, 24, 32, 40, 64, 96, 128))
        kv_heads, group = choices.randint(1, 4), choices.randint(1, 4)
        dim = head_dim * kv_heads * group
        # Small ones: they come over the simulated serial port, one after the other.
        if dim % 32 == 0 and dim <= 160:
            hidden, layers = choices.randint(8, 300), choices.randint(1, 3)
            return dim, hidden, layers, kv_heads * group, kv_heads, head_dim


def run(target: Target, image: Image, prompt: str, temperature: float, seed: int) -> Summary:
    target.load(image)
    generation = Generation(target, image, prompt, 12, temperature, seed)
    for _ in generation:
        pass
    return generation.summary()


def compare(simulator: Target, emulator: Target, image: Image, seed: int) -> None:
    choices = random.Random(seed)
    request = (choices.choice(PROMPTS), choices.choice((0.0, 0.8, 3.0)), choices.getrandbits(32))
    simulated = run(simulator, image, *request)
    emulated = run(emulator, image, *request)
    assert simulated.token_ids == emulated.token_ids
    assert simulated.finish_reason is emulated.finish_reason


@pytest.fixture(scope="module")
def simulator() -> Iterator[Target]:
    """One system for all shapes: another model needs no other gateware."""
    target = Simulator("sim", print)
    # Its DRAM is as large as the first image needs.
    target.load(tiny_image(architecture((512, 2048, 2, 4, 4, 128))))
    yield target
    target.close()


@pytest.mark.parametrize("shape", EDGES, ids=str)
def test_edges(simulator: Target, shape: tuple[int, ...]) -> None:
    compare(simulator, Emulator(), tiny_image(architecture(shape)), sum(shape))


@pytest.mark.parametrize("seed", range(8))
def test_drawn_shapes(simulator: Target, seed: int) -> None:
    compare(simulator, Emulator(), tiny_image(architecture(drawn(seed)), seed), seed)


@pytest.mark.long
def test_wider_words() -> None:
    """Each word holds blocks of two rows; LiteDRAM makes it of several of its own."""
    config = EngineConfig(lanes=64, max_dim=128, max_hidden=256, max_context=64)
    simulator, emulator = Simulator("sim", print, config), Emulator(config)
    try:
        for shape in ((96, 100, 2, 8, 2, 12), (128, 256, 1, 4, 4, 32)):
            compare(simulator, emulator, tiny_image(architecture(shape)), sum(shape))
    finally:
        simulator.close()


def test_words_narrower_than_those_of_dram_are_refused() -> None:
    simulator = Simulator("sim", print, EngineConfig(lanes=4))
    with pytest.raises(UsageError, match="choose at least 16 lanes"):
        simulator.load(tiny_image())
    simulator.close()
