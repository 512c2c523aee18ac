"""The counters against sums of the same events."""

import random

import pytest

from jalgateware.units.counters import Counters
from jaltest.gateware import Process, simulate

WIDTHS = [6, 1, 1, 2, 1]


class Bench:
    """Random events in every cycle, and what has been counted of them since the last start."""

    def __init__(self, bits: int = 16, seed: int = 0, most: float = 0.5) -> None:
        self.unit = Counters(WIDTHS, bits)
        self.random = random.Random(seed)
        self.most, self.bits = most, bits
        self.history: list[list[int]] = []

    def step(self, start: bool = False, latch: bool = False) -> Process:
        """A cycle with its events; those beside ``start`` do not count."""
        events = [
            (1 << width) - 1 if self.random.random() < self.most else self.random.getrandbits(width)
            for width in WIDTHS
        ]
        for signal, value in zip(self.unit.events, events, strict=True):
            yield signal.eq(value)
        yield self.unit.start.eq(start)
        yield self.unit.latch.eq(latch)
        yield
        self.history = [] if start else [*self.history, events]

    def counts(self) -> list[int]:
        """What a latch in the cycle of the last step copies."""
        columns = zip(*self.history, strict=True) if self.history else [[0]] * len(WIDTHS)
        return [sum(column) % (1 << self.bits) for column in columns]

    def copies(self) -> Process:
        """What has been copied, read one by one from the first cycle on that has it."""
        for _ in range(Counters.COPY - 1):
            yield from self.step()
        found = []
        for index in range(len(WIDTHS)):
            yield self.unit.select.eq(index)
            yield from self.step()
            found.append((yield self.unit.copied))
        return found

    def check(self) -> Process:
        """Takes a copy and compares it; returns what it is."""
        yield from self.step(latch=True)
        expected = self.counts()
        assert (yield from self.copies()) == expected
        return expected


@pytest.mark.parametrize("most", [0.0, 0.5, 1.0])
def test_counts_every_event(most: float) -> None:
    bench = Bench(most=most)

    def main() -> Process:
        for _ in range(3):
            yield from bench.step(start=True)
            for _ in range(8):
                # Also while counts are being cleared, some copies show zeros: not checked here.
                for _ in range(2 * len(WIDTHS) + bench.random.randrange(20)):
                    yield from bench.step()
                yield from bench.check()

    simulate(bench.unit, [main()])


def test_loses_nothing_where_copies_follow_each_other() -> None:
    bench = Bench(most=1.0)

    def main() -> Process:
        yield from bench.step(start=True)
        for cycle in range(200):
            yield from bench.step(latch=cycle % 3 == 0)
        for _ in range(2 * len(WIDTHS)):
            yield from bench.step()
        yield from bench.check()

    simulate(bench.unit, [main()])


def test_a_copy_stays_while_events_go_on() -> None:
    bench = Bench()

    def main() -> Process:
        yield from bench.step(start=True)
        for _ in range(50):
            yield from bench.step()
        expected = yield from bench.check()
        for _ in range(50):
            yield from bench.step()
        assert (yield from bench.copies()) == expected

    simulate(bench.unit, [main()])


def test_wraps() -> None:
    bench = Bench(bits=8, most=1.0)

    def main() -> Process:
        yield from bench.step(start=True)
        for _ in range(300):
            yield from bench.step()
        yield from bench.check()

    simulate(bench.unit, [main()])
