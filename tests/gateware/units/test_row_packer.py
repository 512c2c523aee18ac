"""Rows of queries, keys and values: how elements become words."""

import random
from dataclasses import dataclass

import pytest

from jalgateware.contract.config import EngineConfig
from jalgateware.contract.formats import KV
from jalgateware.contract.isa import Destination
from jalgateware.units.row_packer import RowPacker
from jaltest.gateware import Clock, Process, simulate

Rows = list[list[int]]
"""By token row: the elements of all heads."""

Word = tuple[int, ...]
"""kind, token row, head, member, chunk, word"""


@dataclass(frozen=True)
class Shape:
    lanes: int
    head_dim: int
    group: int
    kv_heads: int
    tokens: int = 1
    active: int = 1
    """Token rows in use."""


class Bench:
    def __init__(self, shape: Shape, seed: int = 0) -> None:
        self.shape = shape
        self.config = EngineConfig(
            shape.lanes, tokens=shape.tokens, max_group=8, max_head_dim=128, max_kv_heads=8
        )
        self.unit = RowPacker(self.config)
        self.random = random.Random(seed)
        self.clock = Clock()
        self.words: list[Word] = []
        self.arrived: list[int] = []
        self.sent: list[int] = []

    def heads(self, kind: Destination) -> int:
        return self.shape.kv_heads * (self.shape.group if kind is Destination.QUERY else 1)

    def rows(self, kind: Destination) -> Rows:
        """Random elements, extremes among them."""
        ends = [KV.minimum, KV.maximum, -1, 0]
        return [
            [
                self.random.choice(ends)
                if self.random.random() < 0.2
                else self.random.randint(KV.minimum, KV.maximum)
                for _ in range(self.heads(kind) * self.shape.head_dim)
            ]
            for _ in range(self.shape.active)
        ]

    def order(self, rows: Rows) -> list[tuple[int, int]]:
        """(index, token row): pairs of indices, each for all token rows."""
        if self.shape.tokens == 1:
            return [(index, 0) for index in range(len(rows[0]))]
        return [
            (index, row)
            for pair in range(0, len(rows[0]), 2)
            for row in range(len(rows))
            for index in (pair, pair + 1)
        ]

    def expected(self, kind: Destination, rows: Rows) -> list[Word]:
        """As the unit's description says, by when the last element of a word is there."""
        shape, lanes = self.shape, self.config.kv_lanes
        found: list[Word] = []
        for index, row in self.order(rows):
            head, element = divmod(index, shape.head_dim)
            if element != shape.head_dim - 1 and (element + 1) % lanes:
                continue
            chunk = element // lanes
            part = rows[row][index - element % lanes : index + 1]
            word = sum((value & 0xFFFF) << (KV.bits * i) for i, value in enumerate(part))
            group = shape.group if kind is Destination.QUERY else 1
            found.append((int(kind), row, head // group, head % group, chunk, word))
        return found

    def send(self, kind: Destination, rows: Rows, gaps: float, count: int | None = None) -> Process:
        unit = self.unit
        order = self.order(rows)
        for index, row in order[:count]:
            while self.random.random() < gaps:
                yield unit.valid.eq(0)
                yield from self.noise()
                yield
            yield unit.valid.eq(1)
            yield unit.kind.eq(int(kind))
            yield unit.index.eq(index)
            yield unit.row.eq(row)
            yield unit.data.eq(rows[row][index])
            yield
            element = index % self.shape.head_dim
            if element == self.shape.head_dim - 1 or (element + 1) % self.config.kv_lanes == 0:
                self.sent.append(self.clock.cycle)
        yield unit.valid.eq(0)

    def noise(self) -> Process:
        unit = self.unit
        for signal in (unit.kind, unit.index, unit.row, unit.data):
            yield signal.eq(self.random.getrandbits(len(signal)))

    def watch(self) -> Process:
        yield "passive"
        unit = self.unit
        fields = [unit.word_kind, unit.word_row, unit.head, unit.member, unit.chunk, unit.word]
        while True:
            if (yield unit.word_valid):
                values = []
                for signal in fields:
                    values.append((yield signal))
                self.words.append(tuple(values))
                self.arrived.append(self.clock.cycle)
            yield

    def run(self, main: Process) -> None:
        def whole() -> Process:
            yield self.unit.head_dim.eq(self.shape.head_dim)
            yield self.unit.group.eq(self.shape.group)
            yield self.unit.last_row.eq(self.shape.active - 1)
            yield
            yield from main
            for _ in range(3):
                yield

        simulate(self.unit, [self.clock.process(), self.watch(), whole()])


SHAPES = [
    Shape(2, 4, 1, 3),
    Shape(4, 8, 3, 2),
    Shape(16, 20, 4, 2),  # the last word of a head is half empty
    Shape(64, 8, 2, 4),  # a head fills a quarter of a word
    Shape(64, 128, 8, 1),
    Shape(2, 4, 2, 2, 2, 2),  # a word per element
    Shape(4, 6, 1, 3, 2, 1),
    Shape(16, 2, 3, 2, 4, 4),
    Shape(16, 20, 2, 2, 4, 3),
    Shape(16, 8, 8, 1, 3, 3),
    Shape(64, 48, 2, 3, 4, 2),
]

KINDS = [Destination.QUERY, Destination.KEY, Destination.VALUE]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("gaps", [0.0, 0.5])
def test_elements_become_words(shape: Shape, gaps: float) -> None:
    """Row after row: what a row leaves behind does not show in the next one."""
    bench = Bench(shape, seed=shape.lanes)
    rows = [(kind, bench.rows(kind)) for kind in [*KINDS, *KINDS]]

    def main() -> Process:
        for kind, values in rows:
            yield from bench.send(kind, values, gaps)

    bench.run(main())
    assert bench.words == [word for kind, values in rows for word in bench.expected(kind, values)]
    # Two cycles behind the one in which the element is there.
    assert bench.arrived == [cycle + 2 for cycle in bench.sent]


@pytest.mark.parametrize("shape", [SHAPES[2], SHAPES[8]], ids=str)
@pytest.mark.parametrize("count", [1, 2, 7, 26])
def test_index_zero_starts_anew_in_the_middle_of_a_row(shape: Shape, count: int) -> None:
    bench = Bench(shape)
    lost, kept = (bench.rows(Destination.QUERY) for _ in range(2))

    def main() -> Process:
        yield from bench.send(Destination.QUERY, lost, 0.0, count)
        yield
        bench.words.clear()
        yield from bench.send(Destination.QUERY, kept, 0.0)

    bench.run(main())
    assert bench.words == bench.expected(Destination.QUERY, kept)
