"""Attention's multipliers, score sums and value sums against the golden model."""

from typing import Any

import numpy as np
import pytest
from migen import Signal

from jalgateware.contract.config import EngineConfig
from jalgateware.contract.formats import KV, PROBABILITY, SCORE, VALUE_ACCUMULATOR
from jalgateware.golden.attention import scores
from jalgateware.golden.rounding import Tally
from jalgateware.units.attention_lanes import ScoreSum, SlotLanes, slot_steps
from jalgateware.units.value_sums import PLACES, Fold, ValueSums, address_bits
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
@pytest.mark.parametrize(
    ("lanes", "words", "steps", "positions"),
    [(1, 1, 1, 30), (1, 2, 1, 20), (8, 3, 1, 40), (2, 2, 2, 9), (2, 1, 3, 3), (1, 1, 1, 1)],
)
def test_value_sums(lanes: int, words: int, steps: int, positions: int, gaps: float) -> None:
    """Two passes one behind the other: the first positions start the sums anew.

    With one address, its four parts are wanted again just when they are in the memory.
    """
    config = EngineConfig(
        2 * lanes,
        max_head_dim=lanes * words,
        max_group=steps,
        attention_slots=1,
        max_context=64,
    )
    pick, products = np.random.default_rng(words), [Signal((34, True)) for _ in range(lanes)]
    unit, fold = ValueSums(config, products), Fold(config)
    unit.submodules += fold
    folding = Signal()
    unit.comb += folding.eq(fold.active)
    limit = (1 << PROBABILITY.fraction) * KV.minimum
    terms = pick.integers(limit, -limit, (2, positions, words, steps, lanes))
    terms[1, :, 0] = limit
    found: list[list[int]] = []
    word_bits, step_bits = address_bits(config)

    def at(word: int, step: int, part: int) -> int:
        return word | step << word_bits | part << (word_bits + step_bits)

    def accumulate(run: Any) -> Process:
        # Each word's flags, and as many cycles behind them its products.
        slots: list[tuple[int, int, int] | None] = []
        for position in range(positions):
            for word in range(words):
                for step in range(steps):
                    while pick.random() < gaps:
                        slots.append(None)
                    slots.append((position, word, step))
        for cycle in range(len(slots) + ValueSums.AHEAD + ValueSums.LATENCY):
            now = slots[cycle] if cycle < len(slots) else None
            place = cycle - ValueSums.AHEAD
            late = slots[place] if 0 <= place < len(slots) else None
            values = run[late] if late else pick.integers(limit, -limit, lanes)
            for signal, value in zip(products, values, strict=True):
                yield signal.eq(int(value))
            position, word, step = now or (0, 0, 0)
            yield unit.write.eq(int(now is not None))
            yield unit.address.eq(at(word, step, position % PLACES))
            yield unit.first.eq(int(position < PLACES))
            yield

    def add_up() -> Process:
        """Folds as attention does, with products of something else on their way."""
        yield unit.write.eq(0)
        yield unit.first.eq(0)
        yield fold.last_step.eq(steps - 1)
        yield fold.last_word.eq(words - 1)
        yield fold.last_part.eq(min(positions, PLACES) - 1)
        yield fold.start.eq(1)
        yield
        yield fold.start.eq(0)
        yield
        for number in range(words * steps * min(positions, PLACES)):
            assert (yield folding)
            yield unit.address.eq(fold.address)
            yield unit.fold.eq(1)
            yield unit.chain.eq(~fold.first_part)
            yield unit.write.eq(fold.final_part)
            for signal in products:
                yield signal.eq(int(pick.integers(limit, -limit)))
            assert (yield fold.done) == (number == words * steps * min(positions, PLACES) - 1)
            yield
        assert not (yield folding)
        yield unit.write.eq(0)
        for _ in range(ValueSums.AHEAD + ValueSums.LATENCY):
            yield

    def main() -> Process:
        for run in terms:
            yield from accumulate(run)
            yield from add_up()
            for word in range(words):
                for step in range(steps):
                    row = []
                    for lane in range(lanes):
                        yield unit.address.eq(at(word, step, 0))
                        yield unit.lane.eq(lane)
                        yield
                        for _ in range(ValueSums.READ_LATENCY):
                            yield
                        row.append((yield unit.result))
                    found.append(row)
            yield unit.fold.eq(0)

    simulate(unit, [main()])
    assert found == terms.sum(axis=1).reshape(-1, lanes).tolist()


def test_the_largest_value_sum_fits() -> None:
    largest = (1 << PROBABILITY.fraction) * -KV.minimum * (1 << 15)
    assert largest - 1 <= VALUE_ACCUMULATOR.maximum


@pytest.mark.parametrize(("group", "slots", "steps"), [(1, 1, 1), (4, 2, 2), (5, 2, 3), (8, 8, 1)])
def test_steps_that_serve_a_group(group: int, slots: int, steps: int) -> None:
    assert slot_steps(EngineConfig(max_group=group, attention_slots=slots)) == steps
