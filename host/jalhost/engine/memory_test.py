"""Tests of a memory, word by word over a link: they destroy what is in it.

Each test looks for faults of its own. A word that is wrong is read once more: if it is right then,
the link or the reading is at fault, and not what the memory holds.

The march test moves blocks of words: within a block all reads come before all writes. With a block
of one word it is the march C- of the literature; with longer ones it misses couplings between words
of the same block, and takes a fraction of the time. The other tests lose nothing by blocks.
"""

import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from jalhost.links.link import Link
from jalhost.progress import Meter, Report

WORD_BYTES = 4

ONES = 0xFFFF_FFFF

BLOCK_WORDS = 64
"""Words that go over the link together."""

KEPT_FAILURES = 8
"""Failures of a test that are described; all of them are counted."""

MARCH = (
    ("up", None, 0),
    ("up", 0, ONES),
    ("up", ONES, 0),
    ("down", 0, ONES),
    ("down", ONES, 0),
    ("down", 0, None),
)
"""March C-: order of addresses, what is expected to be read, what is written."""


@dataclass(frozen=True)
class Failure:
    """A word that is not what was written; ``again``: what it was when it was read once more."""

    address: int
    expected: int
    got: int
    again: int

    @property
    def lasting(self) -> bool:
        """Whether it is wrong each time, so that the link alone is not to blame."""
        return self.again != self.expected


@dataclass
class Outcome:
    """What a test found.

    ``accesses``: words written and read. ``wrong_bits``: of all failures together.
    """

    test: str
    accesses: int = 0
    failures: int = 0
    wrong_bits: int = 0
    first: list[Failure] = field(default_factory=list)

    @property
    def passed(self) -> bool:
        """Whether every word was right."""
        return self.failures == 0


class MemoryTest:
    """Tests the memory between two addresses.

    Args:
        link: the way to it.
        origin: address of its first word.
        size: in bytes.
        report: takes lines of progress.
        block_words: words that go over the link together.
        seed: of the random test.
    """

    def __init__(
        self,
        link: Link,
        origin: int,
        size: int,
        report: Report,
        block_words: int = BLOCK_WORDS,
        seed: int = 0,
    ) -> None:
        self._link = link
        self._origin = origin
        self._words = size // WORD_BYTES
        self._report = report
        self._block = block_words
        self._seed = seed
        self._outcome = Outcome("")

    def run(self, name: str) -> Outcome:
        """Runs a test of :data:`TESTS`.

        Raises:
            LinkError: the link does not work.
        """
        self._outcome = Outcome(name)
        self._meter = Meter(self._cost(name) * WORD_BYTES, "of the accesses")
        TESTS[name](self)
        return self._outcome

    def _cost(self, name: str) -> int:
        """Words that a test writes and reads."""
        march = sum((read is not None) + (write is not None) for _, read, write in MARCH)
        lines = len(list(self._address_lines()))
        return {
            "data-bus": 3 * 2 * 32,
            "address-bus": 2 * (1 + lines) + (1 + lines) * (2 + lines),
            "random": 2 * self._words,
            "march": march * self._words,
        }[name]

    def data_bus(self) -> None:
        """A one, then a zero, walks over the bits of the first word: lines that are stuck or short.

        A word beside it is written to the opposite meanwhile, as a bus may keep its last level.
        """
        for background in (0, ONES):
            for bit in range(32):
                pattern = 1 << bit ^ background
                self._write(self._origin, [pattern])
                if self._words > 1:
                    self._write(self._origin + WORD_BYTES, [pattern ^ ONES])
                self._check(self._origin, [pattern])

    def address_bus(self) -> None:
        """Words at powers of two: an address line that is stuck, short or open meets another's."""
        offsets = [0, *self._address_lines()]
        for offset in offsets:
            self._write(self._origin + offset, [self._mark(offset)])
        for changed in offsets:
            self._write(self._origin + changed, [self._mark(changed) ^ ONES])
            for offset in offsets:
                mark = self._mark(offset) ^ (ONES if offset == changed else 0)
                self._check(self._origin + offset, [mark])
            self._write(self._origin + changed, [self._mark(changed)])

    def random(self) -> None:
        """Random words everywhere, read when all are written: any address that is another's."""
        for start, count in self._blocks("up"):
            self._write(self._address(start), self._noise(start, count))
        for start, count in self._blocks("up"):
            self._check(self._address(start), self._noise(start, count))

    def march(self) -> None:
        """March C-: stuck cells, cells that do not change, addresses, cells that change others."""
        for order, expected, written in MARCH:
            for start, count in self._blocks(order):
                if expected is not None:
                    self._check(self._address(start), [expected] * count)
                if written is not None:
                    self._write(self._address(start), [written] * count)

    def _address_lines(self) -> Iterator[int]:
        offset = WORD_BYTES
        while offset < self._words * WORD_BYTES:
            yield offset
            offset *= 2

    @staticmethod
    def _mark(offset: int) -> int:
        """A word that no other offset has, with both levels on half of its bits."""
        return offset ^ 0xA5A5_5A5A

    def _noise(self, start: int, count: int) -> list[int]:
        generator = random.Random(f"{self._seed} {start}")
        return [generator.getrandbits(32) for _ in range(count)]

    def _blocks(self, order: str) -> Iterable[tuple[int, int]]:
        """First words and lengths of blocks, upwards or downwards."""
        starts: Sequence[int] = range(0, self._words, self._block)
        for start in starts if order == "up" else reversed(starts):
            yield start, min(self._block, self._words - start)

    def _address(self, word: int) -> int:
        return self._origin + WORD_BYTES * word

    def _write(self, address: int, values: list[int]) -> None:
        self._link.write(address, values)
        self._count(len(values))

    def _check(self, address: int, expected: list[int]) -> None:
        found = self._link.read(address, len(expected))
        self._count(len(expected))
        for index, (right, got) in enumerate(zip(expected, found, strict=True)):
            if got != right:
                self._fail(address + WORD_BYTES * index, right, got)

    def _fail(self, address: int, expected: int, got: int) -> None:
        outcome = self._outcome
        outcome.failures += 1
        outcome.wrong_bits |= expected ^ got
        if len(outcome.first) < KEPT_FAILURES:
            again = self._link.read(address)[0]
            outcome.first.append(Failure(address, expected, got, again))

    def _count(self, words: int) -> None:
        outcome = self._outcome
        outcome.accesses += words
        self._report(self._meter.progress(outcome.accesses * WORD_BYTES))


TESTS: dict[str, Callable[[MemoryTest], None]] = {
    "data-bus": MemoryTest.data_bus,
    "address-bus": MemoryTest.address_bus,
    "random": MemoryTest.random,
    "march": MemoryTest.march,
}
"""By name, in the order in which they make sense: a broken bus fails all that follow."""
