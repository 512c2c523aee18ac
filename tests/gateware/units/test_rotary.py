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


def elements(rows: np.ndarray) -> list[tuple[int, int, int]]:
    """(index, token row, value) of rows (token rows, count): pairs, each for all token rows."""
    count = rows.shape[1]
    return [
        (index, row, int(rows[row, index]))
        for pair in range(0, count, 2)
        for row in range(len(rows))
        for index in range(pair, min(pair + 2, count))
    ]


def run(
    rows: np.ndarray, rotates: bool, shift: int, angles: Angles, gap: int
) -> tuple[list[list[tuple[int, int]]], int, list[int]]:
    """(index, result) by token row, saturations, and cycles from each odd element to its pair.

    ``angles``: cosines and sines (token rows, pairs of a head).
    """
    cosine, sine = angles
    unit = Rotary(128, 2)
    results: list[list[tuple[int, int]]] = [[] for _ in rows]
    saturated, sent, arrived = [0], [], []
    clock = [0]

    def feed() -> Process:
        yield unit.head_dim.eq(2 * cosine.shape[1])
        yield unit.last_row.eq(len(rows) - 1)
        for index, row, value in elements(rows):
            yield unit.value.eq(value)
            yield unit.index.eq(index)
            yield unit.row.eq(row)
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
        """The rotary tables, and what comes out."""
        yield "passive"
        while True:
            pair, row = (yield unit.pair), min((yield unit.row), len(rows) - 1)
            yield unit.cosine.eq(int(cosine[row, pair % cosine.shape[1]]))
            yield unit.sine.eq(int(sine[row, pair % sine.shape[1]]))
            if (yield unit.result_valid):
                result = (yield unit.result_index), (yield unit.result)
                results[(yield unit.result_row)].append(result)
                arrived.append(clock[0])
                saturated[0] += yield unit.saturated
            clock[0] += 1
            yield

    run_simulation(unit, [watch(), feed()])
    firsts = arrived
    if rotates:
        firsts = arrived[::2]
        assert [b - a for a, b in zip(firsts, arrived[1::2], strict=True)] == [1] * len(firsts)
    return results, saturated[0], [a - s for a, s in zip(firsts, sent, strict=True)]


@pytest.mark.parametrize("tokens", [1, 3, 4])
@pytest.mark.parametrize(("head_dim", "gap"), [(2, 0), (2, 2), (6, 0), (8, 1), (64, 0), (64, 2)])
@pytest.mark.parametrize("shift", [0, 4, 15])
def test_rotation(head_dim: int, gap: int, shift: int, tokens: int) -> None:
    generator = np.random.default_rng(head_dim + shift)
    angle = generator.uniform(0, 7, (tokens, head_dim // 2))
    one = 1 << ROTATION.fraction
    cosine = np.rint(np.cos(angle) * one).astype(np.int64)
    sine = np.rint(np.sin(angle) * one).astype(np.int64)
    rows = generator.integers(-(1 << (15 + shift)), 1 << (15 + shift), (tokens, 2 * head_dim))
    rows[-1, 0], rows[-1, 1], rows[0, -2], rows[0, -1] = (
        VECTOR.minimum, VECTOR.maximum, VECTOR.maximum, VECTOR.minimum
    )  # fmt: skip
    results, saturated, latencies = run(rows, True, shift, (cosine, sine), gap)
    tally = Tally()
    for row, result in enumerate(results):
        expected = rotate(rows[row], cosine[row], sine[row], shift, tally).tolist()
        assert result == list(enumerate(expected))
    assert saturated == tally.saturations
    assert set(latencies) == {Rotary.LATENCY}


@pytest.mark.parametrize("tokens", [1, 2])
@pytest.mark.parametrize("shift", [0, 1, 7, 16, 31])
def test_narrowing(shift: int, tokens: int) -> None:
    ends = [VECTOR.minimum, -1, 0, 1, KV.minimum << 1, KV.maximum, (KV.maximum << 1) + 1]
    row = [*ends, *(sign << bit for bit in range(31) for sign in (1, -1)), VECTOR.maximum]
    rows = np.array([row, row[::-1]][:tokens])
    angles = np.ones((tokens, 1), dtype=int), np.ones((tokens, 1), dtype=int)
    results, saturated, latencies = run(rows, False, shift, angles, 0)
    tally = Tally()
    for values, result in zip(rows, results, strict=True):
        assert result == list(enumerate(narrow(values, shift, tally).tolist()))
    assert saturated == tally.saturations
    assert set(latencies) == {Rotary.LATENCY}
