"""Which query heads are served when, and what they see, against a list of all of them."""

import random

import pytest
from migen import Signal

from jalgateware.contract.config import EngineConfig
from jalgateware.units.attention_members import Members
from jaltest.gateware import Process, simulate

SETTLE = 2
"""Cycles from the group to what depends on it."""


class Bench:
    def __init__(self, tokens: int, max_group: int, slots: int) -> None:
        self.config = EngineConfig(tokens=tokens, max_group=max_group, attention_slots=slots)
        self.slots = slots
        self.group = Signal(max=max_group + 1)
        self.unit = Members(self.config, self.group)

    def rows(self, group: int, last_row: int, shared: bool, turn: int) -> list[int]:
        """Token rows of the turn."""
        return list(range(last_row + 1)) if shared else [turn]

    def check_turn(self, group: int, last_row: int, shared: bool, turn: int) -> Process:
        """All steps of a turn, for a cached position and for each of the pass' own."""
        unit, rows = self.unit, self.rows(group, last_row, shared, turn)
        yield unit.last_row.eq(last_row)
        yield unit.shared.eq(int(shared))
        yield unit.turn.eq(turn)
        yield
        yield
        first, last = rows[0] * group, rows[-1] * group + group - 1
        assert ((yield unit.first), (yield unit.last)) == (first, last)
        steps = (yield unit.first_step), (yield unit.last_step)
        assert steps == (first // self.slots, last // self.slots)
        for own in (None, *range(len(rows))):
            seen = set()
            for step in range(steps[0], steps[1] + 1):
                yield unit.step.eq(step)
                yield unit.cached.eq(int(own is None))
                # Of a cached position, the other input is anything.
                yield unit.own.eq(
                    random.Random(step).randrange(last_row + 1) if own is None else own
                )
                yield
                yield
                visible = yield unit.visible
                seen |= {step * self.slots + s for s in range(self.slots) if visible >> s & 1}
            # A token row sees what stands before it in the pass, and itself.
            wanted = [row for place, row in enumerate(rows) if own is None or place >= own]
            assert seen == {row * group + head for row in wanted for head in range(group)}


@pytest.mark.parametrize(
    ("tokens", "max_group", "slots"),
    [(1, 1, 1), (1, 5, 2), (2, 4, 8), (3, 3, 2), (4, 4, 3), (4, 1, 4), (4, 2, 1), (4, 5, 16)],
)
def test_every_turn_of_every_pass(tokens: int, max_group: int, slots: int) -> None:
    bench = Bench(tokens, max_group, slots)

    def main() -> Process:
        for group in range(1, max_group + 1):
            yield bench.group.eq(group)
            for _ in range(SETTLE):
                yield
            for last_row in range(tokens):
                yield from bench.check_turn(group, last_row, True, 0)
                for turn in range(last_row + 1):
                    yield from bench.check_turn(group, last_row, False, turn)

    simulate(bench.unit, [main()])
