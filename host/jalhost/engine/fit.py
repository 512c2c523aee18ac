"""Whether a model fits a board, what would change that, and how fast it could be."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from jalgateware.contract.config import EngineConfig
from jalgateware.contract.drafting import TABLE_WORDS
from jalgateware.contract.formats import BLOCK
from jalgateware.contract.image_header import CHUNK_BYTES, PAGE_BYTES, header_bytes
from jalgateware.contract.isa import INSTRUCTION_WORDS, Format
from jalgateware.contract.memory_map import IMAGE_OFFSET
from jalhost.errors import ModelError
from jalhost.models.compiler import OPTIONS, layout, needs, program_length
from jalhost.models.plan import CLASSIFIER, LayerShifts, Plan
from jalhost.models.stream import program_words


@dataclass(frozen=True)
class Problem:
    """A property that does not fit, its value and the limit, and what would change that."""

    what: str
    value: int
    limit: int
    change: str


@dataclass(frozen=True)
class Fit:
    """How a model and a board go together; rates are the roofline, for one text without drafts.

    ``obstacles``: what no size of gateware changes. ``tokens_per_s``: at the first position, and
    with the context full.
    """

    problems: tuple[Problem, ...]
    obstacles: tuple[str, ...]
    image_bytes: int
    cache_bytes: int
    dram_bytes: int
    bytes_per_token: int
    tokens_per_s: tuple[float, float]

    @property
    def fits(self) -> bool:
        """Whether it runs as it is."""
        return not self.problems and not self.obstacles

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self) | {"fits": self.fits, "provenance": "estimated"}


def fit(plan: Plan, config: EngineConfig, board: Mapping[str, Any]) -> Fit:
    """Compares a model with a board.

    Args:
        plan: the model's sizes and formats.
        config: the board's engine, or one that could be built for it.
        board: facts as ``python -m jalboards list`` has them.
    """
    image, cache = memory(plan, config)
    dram = int(board["dram"]["bytes"])
    problems = [*_limits(plan, config)]
    if IMAGE_OFFSET + image + cache > dram:
        problems.append(_memory_problem(plan, config, dram))
    found = _fields(plan)
    weights, peak = plan.weight_bytes(), float(board["peak_bytes_per_s"])
    last = plan.architecture.context - 1
    rates = tuple(peak / (weights + plan.token_bytes(position)) for position in (0, last))
    return Fit(
        tuple(problems),
        tuple(found),
        image,
        cache,
        dram,
        weights + plan.token_bytes(0),
        (rates[0], rates[1]),
    )


def memory(plan: Plan, config: EngineConfig) -> tuple[int, int]:
    """Bytes in DRAM of a model's image, with drafts, and of one KV cache."""
    place = layout(plan.architecture, config, plan.formats)
    program = 4 * INSTRUCTION_WORDS * program_length(plan.architecture)
    payload = program + 4 * TABLE_WORDS + place.tape_words * config.lanes
    image = header_bytes(-(-payload // CHUNK_BYTES)) + payload
    return -(-image // PAGE_BYTES) * PAGE_BYTES, place.kv_words * config.lanes


def _limits(plan: Plan, config: EngineConfig) -> list[Problem]:
    a, found = plan.architecture, []
    for item in needs(a):
        limit = int(getattr(config, item.field))
        if item.value > limit:
            field = "max_hidden" if item.field == "bias_rows" else item.field
            change = f"gateware with {field}={_next_size(field, item.value)}"
            if item.field == "max_context":
                change = f"--context {limit} at conversion, or {change}"
            found.append(Problem(item.name, item.value, limit, change))
    for name, what in OPTIONS.items():
        if getattr(a, name) and not getattr(config, name):
            found.append(Problem(what, 1, 0, f"gateware with {name}=true"))
    if Format.MXFP4 in plan.formats.values() and not config.mxfp4:
        change = "mxint8 for all matrices at conversion, or gateware with mxfp4=true"
        found.append(Problem("formats of matrices", 2, 1, change))
    return found


def _next_size(field: str, value: int) -> int:
    """The smallest size that gateware can be built with."""
    if field in ("max_dim", "max_hidden"):
        return -(-value // BLOCK) * BLOCK
    if field in ("max_context", "max_instructions"):
        return 1 << (value - 1).bit_length()
    return value


def _fields(plan: Plan) -> list[str]:
    """What the instruction set itself has no room for."""
    if plan.architecture.dim % BLOCK:
        return [f"dim {plan.architecture.dim} is not a multiple of {BLOCK}"]
    try:
        program_words(replace(plan, shifts=(LayerShifts(0, 0, 0),) * plan.architecture.layers))
    except ModelError as error:
        return [str(error)]
    return []


def _memory_problem(plan: Plan, config: EngineConfig, dram: int) -> Problem:
    image, cache = memory(plan, config)
    needed = IMAGE_OFFSET + image + cache
    a = plan.architecture
    place = layout(a, config)
    per_position = (place.rope_words + place.kv_words // a.context) * config.lanes
    # A page for what is rounded up.
    context = a.context - -(-(needed - dram + PAGE_BYTES) // per_position)
    if context >= 1:
        return Problem("DRAM bytes", needed, dram, f"--context {context} at conversion")
    change = "a smaller model, or a board with more DRAM"
    larger = {shape.name for shape in plan.matrices[1:] if shape.form is Format.MXINT8}
    options = ["--weights mxfp4"] if larger - {CLASSIFIER} else []
    options += ["--classifier mxfp4"] if CLASSIFIER in larger else []
    if options:
        change = f"{' '.join(options)} at conversion, {change}"
    return Problem("DRAM bytes", needed, dram, change)
