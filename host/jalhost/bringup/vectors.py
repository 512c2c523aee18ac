"""Small models that use a unit of the engine each, so that a wrong result names the unit.

All have random weights. What makes them tell units apart is what they leave out: a matrix of zeros
keeps attention or SwiGLU out of what follows, and rows of weights in every n-th column alone meet
one lane each.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from jalgateware.contract.config import EngineConfig
from jalgateware.contract.formats import BLOCK
from jalgateware.contract.isa import Format
from jalgateware.contract.tape import word_columns
from jalgateware.golden.sampler import Sampling
from jalhost.models.architecture import Architecture, Floats, Layer, Model
from jalhost.models.convert import convert
from jalhost.models.image import Image
from jalhost.models.plan import MXINT8_ONLY, Formats, free_matrices
from jalhost.models.tokenizer import Tokenizer

MOST_POSITIONS = 128
"""Each has another token, of another size: so the tables of 1/sqrt see all of their entries."""

GATE_SIZE = 6.0
"""Standard deviation of gates: SiLU's table ends at 16."""

TEMPERATURE = 4.0
"""So hot that the noise decides more often than the logits."""


@dataclass(frozen=True)
class Case:
    """A model and what to run on it. ``unit``: what is broken where nothing before it is.

    ``prompts``: of each stream. ``single_lanes``: row r of the values has weights in columns
    c = r (modulo the columns in a word) alone. ``sampling_case``: what it is about shows in its
    tokens.
    """

    name: str
    unit: str
    image: Image
    prompts: tuple[tuple[int, ...], ...]
    samples: int
    sampling: Sampling
    drafts: int = 0
    single_lanes: bool = False
    sampling_case: bool = False


def architecture(config: EngineConfig, layers: int) -> Architecture:
    """A shape within a gateware's limits, with groups where it has them."""
    heads = min(4, config.max_heads)
    kv_heads = next(n for n in (2, 1, heads) if n <= config.max_kv_heads and heads % n == 0
                    and heads // n <= config.max_group)  # fmt: skip
    head_dim = min(32, config.max_head_dim, config.max_hidden // heads) & ~1
    positions = min(MOST_POSITIONS, config.max_context)
    return Architecture(
        dim=min(64, config.max_dim),
        hidden=min(96, config.max_hidden),
        layers=layers,
        heads=heads,
        kv_heads=kv_heads,
        head_dim=head_dim,
        vocabulary=positions,
        context=positions,
        tied=False,
    )


def random_model(a: Architecture, seed: int) -> Model:
    """Random weights of the size that training gives; embeddings of many sizes."""
    source = np.random.default_rng(seed)

    def matrix(rows: int, columns: int, size: float = 1.0) -> Floats:
        return source.normal(0, size / math.sqrt(columns), (rows, columns)).astype(np.float32)

    ones = np.ones(a.dim, dtype=np.float32)
    queries, keys = a.heads * a.head_dim, a.kv_heads * a.head_dim
    layers = [
        Layer(
            attention_norm=ones,
            query=matrix(queries, a.dim),
            key=matrix(keys, a.dim),
            value=matrix(keys, a.dim),
            output=matrix(a.dim, queries),
            ffn_norm=ones,
            gate=matrix(a.hidden, a.dim, GATE_SIZE),
            up=matrix(a.hidden, a.dim),
            down=matrix(a.dim, a.hidden),
        )
        for _ in range(a.layers)
    ]
    # Squares from 1 to 4: all mantissas that 1/sqrt looks up.
    sizes = 0.5 * 2 ** (np.arange(a.vocabulary) / a.vocabulary)
    embedding = (source.normal(0, 1, (a.vocabulary, a.dim)) * sizes[:, None]).astype(np.float32)
    return Model(a, embedding, layers, ones, matrix(a.vocabulary, a.dim), "random")


def single_lanes(model: Model, columns: int) -> Model:
    """The same, but with values of which row r has weights in every n-th column from r on alone."""

    def thinned(layer: Layer) -> Layer:
        rows, width = layer.value.shape
        kept = np.arange(width)[None] % columns == np.arange(rows)[:, None] % columns
        return replace(layer, value=np.where(kept, layer.value, 0).astype(np.float32))

    return replace(model, layers=[thinned(layer) for layer in model.layers])


def without(model: Model, name: str) -> Model:
    """The same with zeros for one matrix of each layer."""
    layers = [replace(layer, **{name: np.zeros_like(getattr(layer, name))})
              for layer in model.layers]  # fmt: skip
    return replace(model, layers=layers)


def _image(model: Model, name: str, formats: Formats = MXINT8_ONLY) -> Image:
    """Converted; nothing ends its texts."""
    pieces = tuple(b"%d" % token for token in range(model.architecture.vocabulary))
    tokenizer = Tokenizer(pieces, (0.0,) * len(pieces))
    return replace(convert(model, tokenizer, name, formats), stop_tokens=())


def _prompt(a: Architecture, seed: int, room: int) -> tuple[int, ...]:
    """All tokens in some order, but for so many positions."""
    order = np.random.default_rng(seed).permutation(a.vocabulary)
    return tuple(int(token) for token in order[: a.context - room])


GREEDY = Sampling.from_temperature(0.0, 0)


def lane_cases(config: EngineConfig) -> Iterator[Case]:
    """Lanes in each format, and what comes before and behind them on the way to the cache."""
    # One block: a lane has few products of a row, and not all of them hide that it is stuck.
    a = replace(architecture(config, 1), dim=BLOCK)
    formats: dict[str, Formats] = {"mxint8": MXINT8_ONLY}
    if config.mxfp4:
        formats["mxfp4"] = dict.fromkeys(free_matrices(a), Format.MXFP4)
    for seed, (name, chosen) in enumerate(formats.items(), 1):
        model = single_lanes(random_model(a, seed), word_columns(config))
        image = _image(model, f"lanes-{name}", chosen)
        yield Case(image.name, f"lanes ({name})", image, (_prompt(a, 2, 1),), 1, GREEDY,
                   single_lanes=name == "mxint8")  # fmt: skip


def unit_cases(config: EngineConfig) -> Iterator[Case]:
    """Attention alone, SwiGLU alone."""
    a = architecture(config, 2)
    prompt = (_prompt(a, 4, 1),)
    units = {
        "attention": ("attention (scores, softmax, value sums)", "down"),
        "swiglu": ("SwiGLU (sigmoid)", "output"),
    }
    for seed, (name, (unit, absent)) in enumerate(units.items(), 5):
        image = _image(without(random_model(a, seed), absent), name)
        yield Case(name, unit, image, prompt, 1, GREEDY)


def sampling_cases(config: EngineConfig) -> Iterator[Case]:
    """Samplers, token rows, drafts: what shows in tokens alone."""
    a = architecture(config, 1)
    image = _image(random_model(a, 8), "sampling")
    room = a.context // 2
    samples = min(24, room)
    one = _prompt(a, 9, a.context - 3)
    hot = Sampling.from_temperature(TEMPERATURE, 12345) if config.noise else GREEDY

    def case(
        name: str,
        unit: str,
        prompts: tuple[tuple[int, ...], ...],
        sampling: Sampling,
        drafts: int = 0,
    ) -> Case:
        return Case(name, unit, image, prompts, samples, sampling, drafts, sampling_case=True)

    yield case("sampler", "classifier or sampler (largest logit)", (one,), GREEDY)
    if config.noise:
        yield case("noise", "sampler's noise (log2, Gumbel)", (one,), hot)
    if config.tokens > 1:
        several = tuple(_prompt(a, 10 + index, a.context - 3) for index in range(config.tokens))
        yield case("streams", "token rows (streams together)", several, hot)
        yield case("drafts", "drafter", (one,), GREEDY, drafts=config.tokens - 1)


CASES: tuple[Callable[[EngineConfig], Iterator[Case]], ...] = (
    lane_cases,
    unit_cases,
    sampling_cases,
)


def cases(config: EngineConfig) -> Iterator[Case]:
    """All cases for a gateware, one unit behind the other as data meets them."""
    for group in CASES:
        yield from group(config)
