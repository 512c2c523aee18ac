"""Attention's multipliers, score sums and value sums against the golden model."""

from typing import Any

import numpy as np
import pytest
from migen import Signal

from jalgateware.contract.config import EngineConfig
from jalgateware.contract.formats import KV, PROBABILITY, SCORE, VALUE_ACCUMULATOR
from jalgateware.golden.attention import scores
from jalgateware.golden.rounding import Tally
from jalgateware.units.attention_lanes import ScoreSum, SlotLanes, ValueSums, slot_steps
from jaltest.gateware import Pipeline, Process, simulate


def pack(values: Any) -> int:
    return sum((int(value) & 0xFFFF) << (KV.bits * i) for i, value in enumerate(values))


@pytest.mark.parametrize("lanes", [1, 2, 8, 32])
def test_products(lanes: int) -> None:
    unit, pick = SlotLanes(lanes), np.random.default_rng(lanes)
    ends = [KV.minimum, -1, 0, 1, KV.maximum]
    chances = [0, 1, 1 << PROBABILITY.fraction, 12345]
    rows, expected = [], []
    for number in range(60):
        query, word = (
            pick.choice(ends, lanes) if number % 3 == 0
            else pick.integers(KV.minimum, KV.maximum + 1, lanes) for _ in range(2)
        )  # fmt: skip
        use, probability = int(pick.integers(2)), int(pick.choice(chances))
        rows.append((pack(query), probability, use, pack(word)))
        expected.append(tuple(((probability if use else query) * word).tolist()))
    inputs = [unit.query, unit.probability, unit.use_probability, unit.word]
    assert Pipeline(unit, inputs, unit.products, SlotLanes.LATENCY).run(rows) == expected


@pytest.mark.parametrize(("lanes", "words", "steps"), [(1, 4, 1), (2, 3, 3), (8, 1, 2), (32, 4, 1)])
def test_scores(lanes: int, words: int, steps: int) -> None:
    """Words of a position one by one, and for each word the query heads in turn."""
    pick, products = np.random.default_rng(lanes), [Signal((34, True)) for _ in range(lanes)]
    unit = ScoreSum(products, steps)
    assert unit.latency == ScoreSum.latency_of(lanes)
    shape = (24, steps, words * lanes)
    queries = pick.integers(KV.minimum, KV.maximum + 1, shape)
    keys = pick.integers(KV.minimum, KV.maximum + 1, (24, words * lanes))
    queries[0], keys[0], queries[1], keys[1] = KV.minimum, KV.minimum, KV.minimum, KV.maximum
    queries[2], keys[2] = 1, 1
    shifts = [int(pick.integers(5, 32)) for _ in range(24)]
    shifts[:6] = [0, 31, 0, 1, 2, 3]
    found, due = [], []

    def feed() -> Process:
        cycle = 0
        for number, shift in enumerate(shifts):
            yield unit.shift.eq(shift)
            for word in range(words):
                for step in range(steps):
                    while pick.random() < (0.4 if number % 2 else 0.0):
                        yield unit.valid.eq(0)
                        yield
                        cycle += 1
                    part = slice(word * lanes, (word + 1) * lanes)
                    values = queries[number, step, part] * keys[number, part]
                    for signal, value in zip(products, values, strict=True):
                        yield signal.eq(int(value))
                    yield unit.step.eq(step)
                    yield unit.first.eq(int(word == 0))
                    yield unit.last.eq(int(word == words - 1))
                    yield unit.valid.eq(1)
                    yield
                    cycle += 1
                    if word == words - 1:
                        due.append(cycle + unit.latency)
            # The shift is one for a whole pass.
            yield unit.valid.eq(0)
            for _ in range(unit.latency):
                yield
                cycle += 1

    def watch() -> Process:
        yield "passive"
        cycle = 0
        while True:
            if (yield unit.score_valid):
                found.append((cycle, (yield unit.score), (yield unit.saturated)))
            else:
                assert not (yield unit.saturated)
            yield
            cycle += 1

    simulate(unit, [feed(), watch()])
    expected = []
    for number, shift in enumerate(shifts):
        for query in queries[number]:
            tally = Tally()
            score = scores(query, keys[number : number + 1], shift, tally)
            expected.append((int(score[0]), tally.saturations))
    assert [item[1:] for item in found] == expected
    assert [cycle for cycle, *_ in found] == due
    assert {SCORE.minimum, SCORE.maximum} <= {score for score, _ in expected}


@pytest.mark.parametrize("gaps", [0.0, 0.3])
@pytest.mark.parametrize("block_ram", [False, True])
@pytest.mark.parametrize(
    ("lanes", "depth", "positions"), [(1, 1, 30), (1, 2, 20), (8, 3, 40), (2, 4, 9), (2, 6, 9)]
)
def test_value_sums(lanes: int, depth: int, positions: int, block_ram: bool, gaps: float) -> None:
    """Two passes one behind the other: the first position starts the sums anew.

    With few addresses a sum is wanted again before it is in the memory.
    """
    pick, products = np.random.default_rng(depth), [Signal((34, True)) for _ in range(lanes)]
    unit = ValueSums(products, depth, block_ram)
    limit = (1 << PROBABILITY.fraction) * KV.minimum
    terms = pick.integers(limit, -limit, (2, positions, depth, lanes))
    terms[1, :, 0] = limit
    found: list[list[list[int]]] = []

    def main() -> Process:
        for run in terms:
            # Each word's flags, and as many cycles behind them its products.
            slots: list[tuple[int, int] | None] = []
            for position in range(positions):
                for address in range(depth):
                    while pick.random() < gaps:
                        slots.append(None)
                    slots.append((position, address))
            for cycle in range(len(slots) + ValueSums.AHEAD + ValueSums.LATENCY):
                now = slots[cycle] if cycle < len(slots) else None
                place = cycle - ValueSums.AHEAD
                late = slots[place] if 0 <= place < len(slots) else None
                values = run[late] if late else pick.integers(limit, -limit, lanes)
                for signal, value in zip(products, values, strict=True):
                    yield signal.eq(int(value))
                yield unit.valid.eq(int(now is not None))
                yield unit.address.eq(now[1] if now else int(pick.integers(depth)))
                yield unit.first.eq(int(now[0] == 0) if now else 1)
                yield
            table = []
            for address in range(depth):
                row = []
                for lane in range(lanes):
                    yield unit.read_address.eq(address)
                    yield unit.read_lane.eq(lane)
                    yield
                    for _ in range(ValueSums.READ_LATENCY):
                        yield
                    row.append((yield unit.result))
                table.append(row)
            found.append(table)

    simulate(unit, [main()])
    assert found == terms.sum(axis=1).tolist()


def test_the_largest_value_sum_fits() -> None:
    largest = (1 << PROBABILITY.fraction) * -KV.minimum * (1 << 15)
    assert largest - 1 <= VALUE_ACCUMULATOR.maximum


@pytest.mark.parametrize(("group", "slots", "steps"), [(1, 1, 1), (4, 2, 2), (5, 2, 3), (8, 8, 1)])
def test_steps_that_serve_a_group(group: int, slots: int, steps: int) -> None:
    assert slot_steps(EngineConfig(max_group=group, attention_slots=slots)) == steps
