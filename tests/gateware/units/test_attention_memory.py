"""Words of a pass: where they come to lie, and which are read together."""

import random
from dataclasses import dataclass

import pytest
from litex.gen import LiteXModule

from jalgateware.contract.config import EngineConfig
from jalgateware.contract.isa import Destination
from jalgateware.units.attention_memory import PassRows
from jalgateware.units.row_packer import RowPacker
from jaltest.gateware import Process, simulate


@dataclass(frozen=True)
class Shape:
    lanes: int
    slots: int
    tokens: int
    group: int
    kv_heads: int
    head_words: int


class Bench:
    """The rows of a pass; words come as the packer gives them."""

    def __init__(self, shape: Shape) -> None:
        self.shape = shape
        self.config = EngineConfig(
            shape.lanes,
            tokens=shape.tokens,
            max_group=5,
            attention_slots=shape.slots,
            max_kv_heads=4,
            max_head_dim=64,
        )
        self.packer = RowPacker(self.config)
        self.unit = PassRows(self.config, self.packer)
        # Only the signals of the packer are used: the test drives them.
        self.top = LiteXModule()
        self.top.unit = self.unit
        self.random = random.Random(shape.lanes)
        self.queries: dict[tuple[int, int, int, int], int] = {}
        self.others: dict[tuple[Destination, int, int, int], int] = {}

    def put(self, kind: Destination, row: int, head: int, member: int, chunk: int) -> Process:
        packer, word = self.packer, self.random.getrandbits(self.config.word_bits)
        signals = (packer.word_kind, packer.word_row, packer.head, packer.member, packer.chunk)
        for signal, value in zip(signals, (int(kind), row, head, member, chunk), strict=True):
            yield signal.eq(value)
        yield packer.word.eq(word)
        yield packer.word_valid.eq(1)
        yield
        yield packer.word_valid.eq(0)
        yield packer.word.eq(self.random.getrandbits(self.config.word_bits))
        if self.random.random() < 0.3:
            yield
        if kind is Destination.QUERY:
            self.queries[row, head, member, chunk] = word
        else:
            self.others[kind, row, head, chunk] = word

    def fill(self) -> Process:
        shape = self.shape
        order = [
            (row, head, chunk)
            for row in range(shape.tokens)
            for head in range(shape.kv_heads)
            for chunk in range(shape.head_words)
        ]
        self.random.shuffle(order)
        for row, head, chunk in order:
            for member in range(shape.group):
                yield from self.put(Destination.QUERY, row, head, member, chunk)
            yield from self.put(Destination.KEY, row, head, 0, chunk)
            yield from self.put(Destination.VALUE, row, head, 0, chunk)

    def read(self, head: int, chunk: int, step: int, row: int, latency: int) -> Process:
        unit = self.unit
        yield unit.head.eq(head)
        yield unit.chunk.eq(chunk)
        yield unit.step.eq(step)
        yield unit.row.eq(row)
        yield
        # The address is there now.
        for _ in range(latency):
            yield

    def check(self) -> Process:
        shape, unit = self.shape, self.unit
        for (row, head, member, chunk), word in self.queries.items():
            number = row * shape.group + member
            yield from self.read(head, chunk, number // shape.slots, 0, PassRows.LATENCY)
            assert (yield unit.queries[number % shape.slots]) == word, (row, head, member, chunk)
        for (kind, row, head, chunk), word in self.others.items():
            yield from self.read(head, chunk, 0, row, PassRows.LATENCY - 1)
            output = unit.key if kind is Destination.KEY else unit.value
            assert (yield output) == word, (kind, row, head, chunk)

    def run(self) -> None:
        def main() -> Process:
            yield self.packer.group.eq(self.shape.group)
            for _ in range(2):
                yield
            for _ in range(2):
                yield from self.fill()
                for _ in range(2):
                    yield
                yield from self.check()

        simulate(self.top, [main()])


SHAPES = [
    Shape(lanes=2, slots=1, tokens=1, group=1, kv_heads=3, head_words=4),
    Shape(lanes=16, slots=2, tokens=1, group=3, kv_heads=2, head_words=3),
    Shape(lanes=16, slots=5, tokens=1, group=4, kv_heads=4, head_words=1),
    Shape(lanes=64, slots=4, tokens=1, group=1, kv_heads=4, head_words=2),
    Shape(lanes=4, slots=1, tokens=2, group=2, kv_heads=2, head_words=2),
    Shape(lanes=16, slots=4, tokens=4, group=3, kv_heads=2, head_words=2),
    Shape(lanes=16, slots=20, tokens=4, group=5, kv_heads=1, head_words=3),
    Shape(lanes=64, slots=3, tokens=3, group=4, kv_heads=3, head_words=2),
]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_words_lie_where_they_are_read(shape: Shape) -> None:
    """Pass after pass, in any order."""
    Bench(shape).run()
