"""A case on a device and on the golden model: where they differ, and which unit that means."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from jalgateware.contract.config import EngineConfig
from jalgateware.contract.memory_map import MAIN_RAM_ORIGIN
from jalgateware.contract.tape import word_columns
from jalgateware.golden.machine import Machine
from jalhost.bringup.vectors import Case
from jalhost.device import Device
from jalhost.links.link import Link
from jalhost.models.blob import Blob, build_blob
from jalhost.models.compiler import layout
from jalhost.models.convert import prepare
from jalhost.progress import Report

LEAST_LANES = 4
"""With fewer, nobody can tell the odd one."""

CLEAR = 0.05
"""By how much more or less often the odd lane's rows are wrong."""

Cache = npt.NDArray[np.int16]
"""(kv_heads, positions, head_dim): keys or values of a layer and stream."""

Place = tuple[int, int, str]
"""(stream, layer, "values" or "keys"), in the order in which they are looked at."""


@dataclass(frozen=True)
class Result:
    """What a run left: tokens of each stream, and its KV cache."""

    tokens: tuple[tuple[int, ...], ...]
    caches: dict[Place, Cache]


@dataclass(frozen=True)
class Difference:
    """The first thing that is wrong: where, how much of it, and what that means.

    ``tokens_alone``: no key or value is, so that it is somewhere behind the last ones.
    """

    where: str
    unit: str
    wrong: int
    of: int
    tokens_alone: bool = False


def places(case: Case) -> Iterator[Place]:
    """Caches in the order in which data meets them: values first, as keys are rotated besides."""
    for layer in range(case.image.plan.architecture.layers):
        for kind in ("values", "keys"):
            for stream in range(len(case.prompts)):
                yield stream, layer, kind


def _address(case: Case, config: EngineConfig, place: Place) -> int:
    """Of a cache, in engine words from the KV region's start."""
    plan = layout(case.image.plan.architecture, config)
    stream, layer, kind = place
    return stream * plan.kv_words + (2 * layer + (kind == "values")) * plan.value_offset


def _positions(case: Case, stream: int) -> int:
    """How many positions a run fills: the last sample is not read again."""
    return len(case.prompts[stream]) + case.samples - 1


def run_golden(case: Case, config: EngineConfig) -> Result:
    """Runs a case on the golden model."""
    executable = prepare(case.image, config)
    context = case.image.plan.architecture.context
    machine = Machine(config, executable.memory, executable.program, context)
    tokens = []
    for stream, (*prefix, last) in enumerate(case.prompts):
        sampling = case.sampling.of_stream(stream)
        for position, item in enumerate(prefix):
            machine.step(item, position, None, stream)
        drawn = [last]
        for position in range(len(prefix), len(prefix) + case.samples):
            sampled = machine.step(drawn[-1], position, sampling, stream)
            assert sampled is not None, "a sampling pass samples"
            drawn.append(sampled)
        tokens.append(tuple(drawn[1:]))
    caches = {
        place: machine.cache[_address(case, config, place)][:, : _positions(case, place[0])]
        for place in places(case)
    }
    return Result(tuple(tokens), caches)


def run_device(case: Case, device: Device, link: Link, report: Report) -> Result:
    """Runs a case on a device, and reads its KV cache.

    Raises:
        JalError: the device does not do it.
    """
    config = device.identity.config
    blob = build_blob(case.image, config)
    device.transfer_image(blob, report)
    device.load()
    tokens: list[list[int]] = [[] for _ in case.prompts]
    for entry in device.run(case.prompts, case.samples, case.sampling, case.drafts):
        tokens[entry.stream].append(entry.token)
    caches = {place: _read_cache(case, device, link, blob, place) for place in places(case)}
    return Result(tuple(map(tuple, tokens)), caches)


def _read_cache(case: Case, device: Device, link: Link, blob: Blob, place: Place) -> Cache:
    identity, a = device.identity, case.image.plan.architecture
    lanes, plan = identity.config.lanes, layout(a, identity.config)
    start = MAIN_RAM_ORIGIN + identity.image_offset + blob.header.kv_offset
    start += lanes * _address(case, identity.config, place)
    positions = _positions(case, place[0])
    heads = []
    for head in range(a.kv_heads):
        size = positions * plan.head_words * lanes
        words = link.read(start + head * plan.head_stride * lanes, -(-size // 4))
        data = np.array(words, dtype="<u4").view("<i2")[: size // 2]
        heads.append(data.reshape(positions, -1)[:, : a.head_dim])
    return np.stack(heads)


def first_difference(
    case: Case, config: EngineConfig, found: Result, golden: Result
) -> Difference | None:
    """What is wrong first, in the order in which data goes through the engine."""
    for place in places(case):
        stream, layer, kind = place
        # Behind a wrong token, the two go different ways.
        end = len(case.prompts[stream]) + _agreeing(found, golden, stream)
        wrong = (found.caches[place] != golden.caches[place])[:, :end]
        if wrong.any():
            where = f"{kind} of layer {layer}" + (f", stream {stream}" if stream else "")
            unit = _unit(case, config, place, wrong)
            return Difference(where, unit, int(wrong.sum()), wrong.size)
    pairs = list(zip(found.tokens, golden.tokens, strict=True))
    wrong_tokens = sum(
        a != b for mine, its in pairs for a, b in zip(mine, its, strict=False)
    ) + sum(abs(len(mine) - len(its)) for mine, its in pairs)
    if wrong_tokens:
        count = sum(len(its) for _, its in pairs)
        return Difference("tokens alone", case.unit, wrong_tokens, count, tokens_alone=True)
    return None


def _agreeing(found: Result, golden: Result, stream: int) -> int:
    """How many tokens of a stream are right before the first wrong one."""
    pairs = enumerate(zip(found.tokens[stream], golden.tokens[stream], strict=False))
    length = min(len(found.tokens[stream]), len(golden.tokens[stream]))
    return next((index for index, (mine, its) in pairs if mine != its), length)


def most_telling(differences: Sequence[tuple[Case, Difference]]) -> tuple[Case, Difference]:
    """The difference that names a unit best: one in keys or values, or of a sampling case."""
    for case, difference in differences:
        if not difference.tokens_alone:
            return case, difference
    sampling = [item for item in differences if item[0].sampling_case]
    return (sampling or list(differences))[0]


def _unit(case: Case, config: EngineConfig, place: Place, wrong: npt.NDArray[np.bool_]) -> str:
    _, layer, kind = place
    if layer > 0:
        return case.unit
    if kind == "keys":
        return "rotary embedding (values, which it does not touch, are right)"
    positions = np.atleast_1d(wrong.any(axis=(0, 2)))
    row = _token_row(positions, config.tokens)
    lane = _odd_lane(wrong[:, positions], config) if case.single_lanes else None
    if lane is not None:
        return f"lane {lane}{row}"
    if positions.mean() < 0.5 and not row:
        return "norm (1/sqrt) or embedding: all of some positions, and others are right"
    return f"{case.unit}, or the quantiser before them{row}"


def _odd_lane(wrong: npt.NDArray[np.bool_], config: EngineConfig) -> int | None:
    """The lane whose rows are wrong more or less often than those of all others, if there is one.

    Products that get lost show in its own rows. A bit that is stuck at 1 adds to all rows: there,
    only its own are right where their products have that bit anyway. ``wrong``: (kv_heads,
    positions, head_dim).
    """
    columns, parts = word_columns(config), config.rows_parallel
    shares = wrong.mean(axis=1).reshape(-1)
    # Row r meets lane r of its word; neighbours share a word that is wider than a block.
    lanes = np.array([row % parts * columns + row % columns for row in range(len(shares))])
    known = np.unique(lanes)
    means = np.array([shares[lanes == lane].mean() for lane in known])
    if len(known) < LEAST_LANES:
        return None
    odd = int(np.argmax(np.abs(means - np.median(means))))
    others = np.delete(means, odd)
    distance = abs(means[odd] - np.median(others))
    return int(known[odd]) if distance > CLEAR + np.ptp(others) else None


def _token_row(positions: npt.NDArray[np.bool_], rows: int) -> str:
    """Which token row the wrong positions of a prompt share, where they do."""
    found = {int(position) % rows for position in np.flatnonzero(positions)}
    return f" of token row {found.pop()}" if rows > 1 and len(found) == 1 else ""
