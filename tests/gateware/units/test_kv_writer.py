"""The KV writer against the addresses of the cache's layout."""

import random
from dataclasses import dataclass
from typing import Any

import pytest
from litedram.common import LiteDRAMNativePort

from jalgateware.contract.config import EngineConfig
from jalgateware.units.kv_writer import DEPTH, KVWriter
from jaltest.dram_model import DramModel
from jaltest.gateware import Process, simulate, wait_for

SETTLE = 10
"""Cycles that positions and bases stand before the first word of a pass."""

Words = list[tuple[int, int, int, int]]
"""Token row, head, chunk, word."""


@dataclass(frozen=True)
class Pass:
    """What is constant during a pass, by token row."""

    kv_bases: tuple[int, ...]
    positions: tuple[int, ...]


class Bench:
    """A writer with its memory, for one geometry of heads."""

    def __init__(
        self,
        lanes: int,
        head_words: int,
        heads: int,
        seed: int = 0,
        tokens: int = 1,
        **memory: Any,
    ) -> None:
        self.config = EngineConfig(lanes=lanes, tokens=tokens)
        self.port = LiteDRAMNativePort("write", 25, self.config.word_bits)
        self.unit = KVWriter(self.config, self.port)
        self.memory = DramModel([self.port], lambda address: 0, seed=seed, **memory)
        self.random = random.Random(seed)
        self.head_words, self.heads = head_words, heads
        self.stride = 64 * head_words + 3
        self.lost = 0

    def watch(self) -> Process:
        yield "passive"
        while True:
            self.lost += yield self.unit.overflow
            yield

    def words(self, rows: int) -> Words:
        """The words of a matrix: heads in order, the token rows of each chunk side by side."""
        return [
            (row, head, chunk, self.random.getrandbits(self.config.word_bits))
            for head in range(self.heads)
            for chunk in range(self.head_words)
            for row in range(rows)
        ]

    def expected(self, now: Pass, base: int, words: Words) -> list[tuple[int, int]]:
        """(address, word) in order."""
        found = []
        for row, head, chunk, word in words:
            origin = now.kv_bases[row] + base + head * self.stride
            found.append((origin + now.positions[row] * self.head_words + chunk, word))
        return found

    def geometry(self) -> Process:
        yield self.unit.head_words.eq(self.head_words)
        yield self.unit.head_stride.eq(self.stride)

    def begin(self, now: Pass) -> Process:
        for signals, values in (
            (self.unit.kv_bases, now.kv_bases),
            (self.unit.positions, now.positions),
        ):
            for signal, value in zip(signals, values, strict=False):
                yield signal.eq(value)
        for _ in range(SETTLE):
            yield

    def send(self, base: int, words: Words, gap: float) -> Process:
        """Words, and anything between them."""
        unit = self.unit
        signals = (unit.row, unit.head, unit.chunk, unit.word)
        for values in words:
            while self.random.random() < gap:
                yield unit.valid.eq(0)
                for signal in (*signals, unit.base):
                    yield signal.eq(self.random.getrandbits(len(signal)))
                yield
            for signal, value in zip(signals, values, strict=True):
                yield signal.eq(value)
            yield unit.base.eq(base)
            yield unit.valid.eq(1)
            yield
        yield unit.valid.eq(0)

    def wait_idle(self) -> Process:
        yield
        yield from wait_for(self.unit.idle)

    def run(self, main: Process) -> None:
        simulate(self.unit, [main, self.memory.process(), self.watch()])


ONE = [Pass((77,), (0,)), Pass((77,), (1,)), Pass((0x10000,), (1023,))]
FOUR = [
    Pass((77, 77, 77, 77), (0, 1, 2, 3)),
    Pass((100, 0x4000, 0x8000, 0x100000), (5, 0, 1023, 1)),
    Pass((0, 0x4000, 0x8000, 0xC000), (6, 1, 0, 2)),
]


@pytest.mark.parametrize(
    ("lanes", "head_words", "heads", "tokens", "rows"),
    [
        (2, 4, 3, 1, 1),
        (4, 1, 4, 1, 1),
        (16, 3, 2, 1, 1),
        (64, 4, 1, 1, 1),
        (4, 2, 3, 2, 2),
        (16, 1, 4, 4, 4),
        (16, 3, 2, 4, 3),
        (64, 2, 1, 3, 1),
    ],
)
def test_words_arrive_where_they_belong(
    lanes: int, head_words: int, heads: int, tokens: int, rows: int
) -> None:
    """Keys, then values, pass after pass: of one sequence, then of several."""
    bench = Bench(lanes, head_words, heads, seed=lanes + heads, tokens=tokens)
    expected = []

    def main() -> Process:
        yield from bench.geometry()
        for now in ONE if tokens == 1 else FOUR:
            yield from bench.begin(now)
            for base in (100, 500000):
                words = bench.words(rows)
                expected.extend(bench.expected(now, base, words))
                yield from bench.send(base, words, 0.6)
            yield from bench.wait_idle()
            assert bench.memory.write_order == expected

    bench.run(main())
    assert bench.memory.write_order == expected
    assert not bench.lost


@pytest.mark.parametrize(("lanes", "tokens"), [(2, 1), (16, 4), (64, 2)])
def test_words_follow_each_other_without_a_gap(lanes: int, tokens: int) -> None:
    bench = Bench(lanes, 2, 3, tokens=tokens, ready=1.0, latency=(3, 3))
    now = FOUR[1]
    parts = [(1000 * number, bench.words(tokens)) for number in range(6)]

    def main() -> Process:
        yield from bench.geometry()
        yield from bench.begin(now)
        for base, words in parts:
            yield from bench.send(base, words, 0.0)
        yield from bench.wait_idle()

    bench.run(main())
    expected = [word for base, words in parts for word in bench.expected(now, base, words)]
    assert bench.memory.write_order == expected


@pytest.mark.parametrize("tokens", [1, 4])
def test_latency_from_word_to_command(tokens: int) -> None:
    bench = Bench(16, 1, 1, tokens=tokens)

    def main() -> Process:
        yield from bench.geometry()
        yield from bench.begin(FOUR[1])
        yield from bench.send(7, bench.words(1), 0.0)
        cycles = 0
        while not (yield bench.port.cmd.valid):
            cycles += 1
            yield
        assert cycles == KVWriter.LATENCY

    simulate(bench.unit, [main()])


@pytest.mark.parametrize("lanes", [2, 16])
def test_room_leaves_place_for_what_is_on_the_way(lanes: int) -> None:
    bench = Bench(lanes, 1, 1, ready=0.0)
    unit = bench.unit
    lost: list[int] = []

    def words(count: int) -> Process:
        for _ in range(count):
            yield from bench.send(0, bench.words(1), 0.0)

    def main() -> Process:
        yield from bench.geometry()
        yield from words(1)
        assert (yield unit.room)
        while (yield unit.room):
            yield from words(1)
        yield from words(KVWriter.ROOM_WORDS)
        for extra in (0, DEPTH):
            yield from words(extra)
            for _ in range(10):
                yield
            lost.append(bench.lost)
        assert not (yield unit.idle)

    bench.run(main())
    assert lost[0] == 0
    assert lost[1] > 0


def test_port_width_is_checked() -> None:
    with pytest.raises(ValueError, match="the port is 64 bits wide, an engine word 128"):
        KVWriter(EngineConfig(), LiteDRAMNativePort("write", 25, 64))
