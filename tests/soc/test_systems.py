"""Systems with other DRAM and larger limits, token for token as the emulator computes them."""

from collections.abc import Iterator

import pytest

from jalgateware.contract.config import EngineConfig
from jalgateware.golden.sampler import Sampling
from jalhost.engine.emulator import Emulator
from jalhost.engine.simulator import Simulator
from jalhost.engine.target import Request, Target
from jalhost.engine.targets import open_target
from jalhost.models.architecture import Architecture
from jalhost.models.image import Image
from jaltest.tiny import tiny_image
from tools.random_model import PRESETS, random_image

pytestmark = [pytest.mark.sim, pytest.mark.long]

LARGE = PRESETS["smollm2-135m"]
LIMITS = f"max_dim={LARGE.dim},max_context={LARGE.context}"

SMALL = [
    # dim, hidden, layers, heads, KV heads, head dimension: rows and heads that fill no word.
    (96, 100, 2, 8, 2, 12),
    (32, 33, 1, 2, 1, 6),
    (128, 256, 1, 4, 4, 32),
]


def small_image(shape: tuple[int, ...], context: int = 48) -> Image:
    dim, hidden, layers, heads, kv_heads, head_dim = shape
    return tiny_image(
        Architecture(dim, hidden, layers, heads, kv_heads, head_dim, 274, context), sum(shape)
    )


def emulator(config: EngineConfig, image: Image) -> Emulator:
    target = Emulator(config)
    target.load(image)
    return target


def tokens(target: Target, request: Request) -> list[int]:
    return [sampled.token for sampled in target.run(request)]


def config_of(target: Target) -> EngineConfig:
    assert isinstance(target, Simulator)
    assert target.device
    return target.device.identity.config


@pytest.fixture(scope="module")
def large() -> Image:
    """The shape of SmolLM2-135M with random weights."""
    return random_image(LARGE, "large")


@pytest.fixture(scope="module")
def wide(large: Image) -> Iterator[Target]:
    """64 lanes at four DDR3 chips, with the large model in their memory."""
    with open_target("sim", print, gateware=f"dram=ddr3x64,{LIMITS}") as target:
        target.load(large)
        yield target


@pytest.fixture(scope="module")
def narrow() -> Iterator[Target]:
    """2 lanes at an SDR SDRAM chip, with a small model in its memory."""
    with open_target("sim", print, gateware=f"dram=sdr16,{LIMITS}") as target:
        target.load(small_image(SMALL[0], LARGE.context))
        yield target


def test_135_million_parameters(wide: Target, large: Image) -> None:
    """At the first position, and at the last one, behind keys and values that are zero."""
    assert config_of(wide).lanes == 64
    golden = emulator(config_of(wide), large)
    for prompt, position in (((1,), 0), ((4321,), LARGE.context - 1)):
        request = Request((prompt,), 1, Sampling(), position=position)
        assert tokens(wide, request) == tokens(golden, request), position
        counters = wide.counters()
        assert counters
        assert counters["tokens"] == 1
        assert counters["saturations"] == 0


def test_end_of_a_long_context(narrow: Target) -> None:
    """From a position on that no token was read for: memory is zero there, as the emulator's."""
    assert config_of(narrow).lanes == 2
    golden = emulator(config_of(narrow), small_image(SMALL[0], LARGE.context))
    sampling = Sampling.from_temperature(0.8, 1)
    request = Request(((70, 80, 90),), 10, sampling, position=LARGE.context - 6)
    simulated = tokens(narrow, request)
    assert simulated == tokens(golden, request)
    # The sample behind the prompt, and one for each position that is left.
    assert len(simulated) == 4


@pytest.mark.parametrize("shape", SMALL, ids=str)
@pytest.mark.parametrize("system", ["wide", "narrow"])
def test_small_models(request: pytest.FixtureRequest, system: str, shape: tuple[int, ...]) -> None:
    target: Target = request.getfixturevalue(system)
    image = small_image(shape)
    target.load(image)
    golden = emulator(config_of(target), image)
    for seed, temperature in ((0, 0.0), (7, 0.8)):
        prompt = (1, 100, 200, 150)
        run = Request((prompt,), 8, Sampling.from_temperature(temperature, seed))
        assert tokens(target, run) == tokens(golden, run)
