"""Rotary embedding and narrowing against the golden model."""

import numpy as np
import pytest
from migen import run_simulation

from jalgateware.contract.formats import KV, ROTATION, VECTOR
from jalgateware.golden.rounding import Tally
from jalgateware.golden.vector import narrow, rotate
from jalgateware.units.rotary import Rotary, WideProduct
from jaltest.gateware import Pipeline, Process

Angles = tuple[np.ndarray, np.ndarray]


def test_wide_product_is_exact() -> None:
    unit = WideProduct()
    vectors = (VECTOR.minimum, -(1 << 17), -1, 0, 1, (1 << 17) - 1, 1 << 17, VECTOR.maximum)
    factors = (-(1 << 17), -1, 0, 1, 16384, (1 << 17) - 1)
    rows = [(a, b) for a in vectors for b in factors]
    answers = Pipeline(unit, [unit.a, unit.b], [unit.product], unit.LATENCY).run(rows)
    assert answers == [(a * b,) for a, b in rows]


def run(
    rows: list[int], rotates: bool, shift: int, angles: Angles, gap: int
) -> tuple[list[tuple[int, int]], int, list[int]]:
    """(index, result) of all rows, saturations, and cycles from an odd row to its first result."""
    cosine, sine = angles
    unit = Rotary(128)
    results: list[tuple[int, int]] = []
    saturated, sent, arrived = [0], [], []
    clock = [0]

    def feed() -> Process:
        yield unit.head_dim.eq(2 * len(cosine))
        for index, value in enumerate(rows):
            yield unit.value.eq(value)
            yield unit.index.eq(index)
            yield unit.rotate.eq(rotates)
            yield unit.shift.eq(shift)
            yield unit.valid.eq(1)
            yield
            if index % 2 or not rotates:
                sent.append(clock[0] - 1)
            yield unit.valid.eq(0)
            for _ in range(gap):
                yield
        for _ in range(unit.LATENCY + 3):
            yield

    def watch() -> Process:
        """The rotary table, and what comes out."""
        yield "passive"
        while True:
            pair = yield unit.pair
            yield unit.cosine.eq(int(cosine[pair % len(cosine)]))
            yield unit.sine.eq(int(sine[pair % len(sine)]))
            if (yield unit.result_valid):
                results.append(((yield unit.result_index), (yield unit.result)))
                arrived.append(clock[0])
                saturated[0] += yield unit.saturated
            clock[0] += 1
            yield

    run_simulation(unit, [watch(), feed()])
    firsts = arrived[::2] if rotates else arrived
    return results, saturated[0], [a - s for a, s in zip(firsts, sent, strict=True)]


@pytest.mark.parametrize("head_dim", [2, 6, 8, 64])
@pytest.mark.parametrize("gap", [0, 2])
@pytest.mark.parametrize("shift", [0, 4, 15])
def test_rotation(head_dim: int, gap: int, shift: int) -> None:
    generator = np.random.default_rng(head_dim + shift)
    angle = generator.uniform(0, 7, head_dim // 2)
    one = 1 << ROTATION.fraction
    cosine = np.rint(np.cos(angle) * one).astype(np.int64)
    sine = np.rint(np.sin(angle) * one).astype(np.int64)
    rows = generator.integers(-(1 << (15 + shift)), 1 << (15 + shift), 2 * head_dim)
    rows[0], rows[1], rows[-2], rows[-1] = (
        VECTOR.minimum, VECTOR.maximum, VECTOR.maximum, VECTOR.minimum
    )  # fmt: skip
    results, saturated, latencies = run(rows.tolist(), True, shift, (cosine, sine), gap)
    tally = Tally()
    expected = rotate(rows, cosine, sine, shift, tally).tolist()
    assert results == list(enumerate(expected))
    assert saturated == tally.saturations
    assert set(latencies) == {Rotary.LATENCY}


@pytest.mark.parametrize("shift", [0, 1, 7, 16, 31])
def test_narrowing(shift: int) -> None:
    ends = [VECTOR.minimum, -1, 0, 1, KV.minimum << 1, KV.maximum, (KV.maximum << 1) + 1]
    rows = [*ends, *(sign << bit for bit in range(31) for sign in (1, -1)), VECTOR.maximum]
    angles = np.array([1]), np.array([1])
    results, saturated, latencies = run(rows, False, shift, angles, 0)
    tally = Tally()
    assert results == list(enumerate(narrow(np.array(rows), shift, tally).tolist()))
    assert saturated == tally.saturations
    assert set(latencies) == {Rotary.LATENCY}
