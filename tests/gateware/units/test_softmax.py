"""Softmax weights of a slot against the golden model."""

import numpy as np
import pytest

from jalgateware.contract.config import EngineConfig
from jalgateware.contract.formats import PROBABILITY, SCORE
from jalgateware.golden.functions import exp2_negative
from jalgateware.golden.rounding import Integers
from jalgateware.units.softmax import Softmax
from jaltest.gateware import Process, simulate

Heads = list[Integers]
"""Scores of each step's query head, all of one length."""


class Bench:
    """Scores in, position by position and step by step; then probabilities in the same order."""

    def __init__(self, steps: int, slots: int = 1, seed: int = 0) -> None:
        group = steps * slots
        config = EngineConfig(max_context=64, max_group=group, attention_slots=slots)
        self.unit = Softmax(config)
        self.steps = steps
        self.pick = np.random.default_rng(seed)

    def keep(self, heads: Heads, gaps: float, first_step: int = 0) -> Process:
        unit = self.unit
        for position in range(len(heads[0])):
            for step, scores in enumerate(heads, first_step):
                while self.pick.random() < gaps:
                    yield unit.score_valid.eq(0)
                    yield unit.score.eq(SCORE.maximum)
                    yield
                yield unit.score.eq(int(scores[position]))
                yield unit.score_step.eq(step)
                yield unit.score_position.eq(position)
                yield unit.score_valid.eq(1)
                yield
        yield unit.score_valid.eq(0)
        yield

    def keep_visible(self, heads: Heads, seen: list[int], gaps: float) -> Process:
        """As attention does for the positions of a pass: a head's last ones are not kept."""
        for step, scores in enumerate(heads):
            yield from self.keep([scores[: seen[step]]], gaps, step)

    def weigh(self, heads: Heads, gaps: float, seen: list[int] | None = None) -> Process:
        """Asks for all probabilities; returns them, sampled exactly ``LATENCY`` cycles later.

        ``seen``: how many positions each head sees; all of them without.
        """
        unit, wait = self.unit, Softmax.LATENCY
        order = [(p, s) for p in range(len(heads[0])) for s in range(len(heads))]
        slots: list[tuple[int, int] | None] = []
        for item in order:
            while self.pick.random() < gaps:
                slots.append(None)
            slots.append(item)
        found: list[list[int]] = [[] for _ in heads]
        # What is set in a cycle is there in the next one; sum_valid goes with the probability.
        for cycle in range(len(slots) + wait + 1):
            if wait < cycle and (old := slots[cycle - wait - 1]):
                found[old[1]].append((yield unit.probability))
            now = slots[cycle] if cycle < len(slots) else None
            last = slots[cycle - 1] if 1 <= cycle <= len(slots) else None
            late = slots[cycle - wait] if wait <= cycle < len(slots) + wait else None
            yield unit.sum_valid.eq(int(late is not None))
            yield unit.visible.eq(int(self.pick.integers(2)))
            if now:
                yield unit.position.eq(now[0])
                yield unit.step.eq(now[1])
            if last:
                yield unit.visible.eq(int(seen is None or last[0] < seen[last[1]]))
            if late:
                yield unit.sum_first.eq(int(late[0] == 0))
                yield unit.sum_step.eq(late[1])
            yield
        yield unit.sum_valid.eq(0)
        yield
        return found

    def total(self, step: int) -> Process:
        yield self.unit.total_step.eq(step)
        yield
        return (yield self.unit.total)

    def check(self, runs: list[Heads], gaps: float = 0.0) -> None:
        answers, sums = [], []

        def main() -> Process:
            for heads in runs:
                yield from self.keep(heads, gaps)
                answers.append((yield from self.weigh(heads, gaps)))
                found = []
                for step in range(len(heads)):
                    found.append((yield from self.total(step)))
                sums.append(found)

        simulate(self.unit, [main()])
        for heads, answer, found in zip(runs, answers, sums, strict=True):
            golden = [exp2_negative(scores.max() - scores) for scores in heads]
            assert answer == [weights.tolist() for weights in golden]
            assert found == [int(weights.sum()) for weights in golden]


@pytest.mark.parametrize("gaps", [0.0, 0.4])
def test_positions_that_a_head_does_not_see_weigh_nothing(gaps: float) -> None:
    """Token row by token row one position more, as in a pass of a sequence's next tokens."""
    bench, length, seen = Bench(4), 12, [9, 10, 11, 12]
    heads = [scores(bench.pick, length, 1 << 17) for _ in seen]
    # What is not kept would be the maximum, and lies there from a pass before.
    for head, count in zip(heads, seen, strict=True):
        head[count:] = SCORE.maximum
    answers = []

    def main() -> Process:
        yield from bench.keep(heads, 0.0)
        yield from bench.keep_visible(heads, seen, gaps)
        answers.extend((yield from bench.weigh(heads, gaps, seen)))
        for step, count in enumerate(seen):
            weights = exp2_negative(heads[step][:count].max() - heads[step][:count])
            assert answers[step] == weights.tolist() + [0] * (length - count)
            assert (yield from bench.total(step)) == int(weights.sum())

    simulate(bench.unit, [main()])


def scores(pick: np.random.Generator, count: int, spread: int) -> Integers:
    low, high = max(SCORE.minimum, -spread), min(SCORE.maximum, spread)
    return pick.integers(low, high + 1, count)


@pytest.mark.parametrize("gaps", [0.0, 0.5])
@pytest.mark.parametrize(("steps", "slots"), [(1, 1), (2, 2), (3, 1), (4, 1)])
def test_any_scores(steps: int, slots: int, gaps: float) -> None:
    """Heads of any length one behind the other; each starts its maximum anew."""
    bench = Bench(steps, slots, seed=steps)
    spreads = [(1, 1 << 17), (2, 500), (64, 4000), (17, 1 << 17), (30, 3)]
    bench.check([[scores(bench.pick, n, s) for _ in range(steps)] for n, s in spreads], gaps)


def test_extremes() -> None:
    low, high, one = SCORE.minimum, SCORE.maximum, 1 << SCORE.fraction
    runs = [
        [low],
        [high],
        [low, high],
        [high, low],
        [low] * 64,
        [high] * 64,
        [0, *(-one * n for n in range(1, 40))],
        [0, *(-one * n - 1 for n in range(15, 19)), *(-one * n + 1 for n in range(15, 19))],
    ]
    Bench(1).check([[np.array(run, dtype=np.int64)] for run in runs])


def test_every_fraction() -> None:
    """The table of powers, eight scores of it per whole number."""
    values = np.arange(0, -(1 << SCORE.fraction), -9)
    Bench(1).check([[np.concatenate([[0], part])] for part in np.array_split(values, 2)])


def test_equal_scores_weigh_the_same() -> None:
    bench = Bench(2)
    bench.check([[np.full(64, -5), np.full(64, 7)]])
    assert exp2_negative(np.array([0]))[0] == 1 << PROBABILITY.fraction
