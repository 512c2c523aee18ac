"""Row buffers of attention: where elements come to lie."""

import random

import pytest

from jalgateware.contract.config import EngineConfig
from jalgateware.contract.formats import KV
from jalgateware.units.attention_memory import HeadRows
from jaltest.gateware import Process, simulate

Words = dict[tuple[int, int], int]
"""Content by bank and address."""


class Bench:
    def __init__(self, lanes: int, head_dim: int, group: int, banks: int, heads: int) -> None:
        self.config = EngineConfig(lanes=lanes, max_group=8)
        self.head_dim, self.group, self.banks, self.heads = head_dim, group, banks, heads
        self.head_words = -(-head_dim // self.config.kv_lanes)
        self.steps = -(-group // banks)
        depth = max(2, -(-heads // group) * self.steps * self.head_words)
        self.unit = HeadRows(self.config, depth, banks)
        self.random = random.Random(lanes + head_dim)

    def row(self) -> list[int]:
        ends = [KV.minimum, KV.maximum, -1, 0]
        row = [
            self.random.randint(KV.minimum, KV.maximum) for _ in range(self.heads * self.head_dim)
        ]
        return [self.random.choice(ends) if self.random.random() < 0.2 else v for v in row]

    def expected(self, row: list[int]) -> Words:
        """As the unit's description says."""
        lanes, words = self.config.kv_lanes, {}
        for n in range(self.heads):
            head = row[n * self.head_dim : (n + 1) * self.head_dim]
            step = n // self.group * self.steps + n % self.group // self.banks
            for c in range(self.head_words):
                part = head[c * lanes : (c + 1) * lanes]
                word = sum((value & 0xFFFF) << (KV.bits * i) for i, value in enumerate(part))
                words[n % self.group % self.banks, step * self.head_words + c] = word
        return words

    def write(self, row: list[int], gaps: float) -> Process:
        unit = self.unit
        for index, value in enumerate(row):
            while self.random.random() < gaps:
                yield unit.valid.eq(0)
                yield unit.index.eq(0)
                yield
            yield unit.valid.eq(1)
            yield unit.index.eq(index)
            yield unit.data.eq(value)
            yield
        yield unit.valid.eq(0)

    def check(self, rows: list[list[int]], gaps: float = 0.0) -> None:
        unit = self.unit

        def main() -> Process:
            yield unit.head_dim.eq(self.head_dim)
            yield unit.group.eq(self.group)
            for row in rows:
                yield from self.write(row, gaps)
                # Latency: this cycle and the next bring the last word to its place.
                yield
                for (bank, address), word in self.expected(row).items():
                    yield unit.address.eq(address)
                    yield
                    yield
                    assert (yield unit.words[bank]) == word, f"bank {bank}, word {address}"

        simulate(unit, [main()])


SHAPES = [
    # lanes, head_dim, group, banks, heads
    (2, 4, 1, 1, 3),
    (4, 8, 3, 2, 6),
    (16, 8, 3, 2, 6),  # a head is a word; the last step of a group has one head
    (16, 20, 4, 2, 8),  # the last word of a head is half empty
    (16, 6, 5, 4, 10),
    (16, 16, 1, 2, 4),  # more banks than heads in a group
    (64, 8, 2, 2, 4),  # a head fills a quarter of a word
    (64, 48, 6, 5, 6),
    (64, 128, 8, 8, 8),
]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("gaps", [0.0, 0.5])
def test_elements_lie_where_they_are_read(
    shape: tuple[int, int, int, int, int], gaps: float
) -> None:
    """Row after row: what a row leaves behind does not show in the next one."""
    bench = Bench(*shape)
    bench.check([bench.row() for _ in range(3)], gaps)


def test_index_zero_starts_anew_in_the_middle_of_a_row() -> None:
    bench = Bench(16, 20, 2, 2, 4)
    unit, row = bench.unit, bench.row()

    def main() -> Process:
        yield unit.head_dim.eq(20)
        yield unit.group.eq(2)
        yield from bench.write(row[:33], 0.0)
        yield from bench.write(row, 0.0)
        yield
        for (bank, address), word in bench.expected(row).items():
            yield unit.address.eq(address)
            yield
            yield
            assert (yield unit.words[bank]) == word

    simulate(unit, [main()])
