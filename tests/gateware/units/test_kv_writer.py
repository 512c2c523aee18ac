"""The KV writer against the addresses and words of the cache's layout."""

import random
from typing import Any

import pytest
from litedram.common import LiteDRAMNativePort
from migen import run_simulation

from jalgateware.contract.config import EngineConfig
from jalgateware.units.kv_writer import DEPTH, KVWriter
from jaltest.dram_model import DramModel
from jaltest.gateware import Process, wait_for

Row = list[int]


class Bench:
    """A writer with its memory, for one geometry of heads."""

    def __init__(self, lanes: int, head_dim: int, heads: int, seed: int = 0, **memory: Any) -> None:
        self.config = EngineConfig(lanes=lanes)
        self.port = LiteDRAMNativePort("write", 25, self.config.word_bits)
        self.unit = KVWriter(self.config, self.port)
        self.memory = DramModel([self.port], lambda address: 0, seed=seed, **memory)
        self.random = random.Random(seed)
        self.head_dim, self.heads = head_dim, heads
        self.head_words = -(-head_dim // self.config.kv_lanes)
        self.stride = 64 * self.head_words + 3
        self.lost = 0

    def watch(self) -> Process:
        yield "passive"
        while True:
            self.lost += yield self.unit.overflow
            yield

    def row(self) -> Row:
        """Random elements, extremes among them."""
        extremes = [-32768, -1, 0, 1, 32767]
        return [
            self.random.choice(extremes)
            if self.random.random() < 0.2
            else self.random.randrange(-32768, 32768)
            for _ in range(self.heads * self.head_dim)
        ]

    def expected(self, base: int, position: int, row: Row) -> list[tuple[int, int]]:
        """(address, word) in order."""
        words = []
        for head in range(self.heads):
            elements = row[head * self.head_dim : (head + 1) * self.head_dim]
            for c in range(self.head_words):
                part = elements[c * self.config.kv_lanes : (c + 1) * self.config.kv_lanes]
                word = sum((value & 0xFFFF) << (16 * i) for i, value in enumerate(part))
                words.append((base + head * self.stride + position * self.head_words + c, word))
        return words

    def geometry(self) -> Process:
        yield self.unit.head_dim.eq(self.head_dim)
        yield self.unit.head_words.eq(self.head_words)
        yield self.unit.head_stride.eq(self.stride)

    def send(self, base: int, position: int, row: Row, gap: float, lead: int) -> Process:
        """A row; ``begin`` comes ``lead`` cycles before its first element, no cycle is lost."""
        unit = self.unit
        yield unit.begin.eq(1)
        yield unit.base.eq(base)
        yield unit.position.eq(position)
        for _ in range(lead):
            yield
            yield from self.forget()
        for value in row:
            while self.random.random() < gap:
                yield
                yield from self.forget()
            yield unit.valid.eq(1)
            yield unit.data.eq(value)
            yield
            yield from self.forget()

    def forget(self) -> Process:
        """Behind the pulses the inputs are anything."""
        yield self.unit.begin.eq(0)
        yield self.unit.valid.eq(0)
        yield self.unit.base.eq(self.random.getrandbits(25))
        yield self.unit.position.eq(self.random.getrandbits(16))
        yield self.unit.data.eq(self.random.randrange(-32768, 32768))

    def wait_idle(self) -> Process:
        yield
        yield from wait_for(self.unit.idle)

    def run(self, main: Process) -> None:
        run_simulation(self.unit, [main, self.memory.process(), self.watch()])


GEOMETRIES = [
    (2, 4, 3),
    (4, 8, 4),
    (16, 8, 4),
    (16, 20, 2),
    (16, 9, 3),
    (64, 32, 2),
    (64, 48, 2),
    (64, 128, 1),
]


@pytest.mark.parametrize(("lanes", "head_dim", "heads"), GEOMETRIES)
def test_rows_arrive_where_they_belong(lanes: int, head_dim: int, heads: int) -> None:
    bench = Bench(lanes, head_dim, heads, seed=lanes + head_dim)
    expected = []

    def main() -> Process:
        yield from bench.geometry()
        for number, (base, position) in enumerate([(100, 0), (5000, 0), (100, 1), (5000, 1023)]):
            row = bench.row()
            expected.extend(bench.expected(base, position, row))
            gap = 0.3 if lanes > 4 else 0.6
            yield from bench.send(base, position, row, gap, lead=number)
        yield from bench.wait_idle()
        assert bench.memory.write_order == expected

    bench.run(main())
    assert bench.memory.write_order == expected
    assert not bench.lost


@pytest.mark.parametrize("lanes", [2, 16, 64])
def test_rows_follow_each_other_without_a_gap(lanes: int) -> None:
    bench = Bench(lanes, head_dim=8, heads=2, ready=1.0, latency=(3, 3))
    rows = [bench.row() for _ in range(6)]
    expected = [
        word
        for number, row in enumerate(rows)
        for word in bench.expected(1000 * number, 3 * number, row)
    ]

    def main() -> Process:
        yield from bench.geometry()
        for number, row in enumerate(rows):
            yield from bench.send(1000 * number, 3 * number, row, gap=0.0, lead=0)
        yield from bench.wait_idle()

    bench.run(main())
    assert bench.memory.write_order == expected


def test_latency_from_element_to_command() -> None:
    bench = Bench(16, head_dim=8, heads=1)

    def main() -> Process:
        yield from bench.geometry()
        yield from bench.send(7, 0, bench.row(), gap=0.0, lead=0)
        cycles = 0
        while not (yield bench.port.cmd.valid):
            cycles += 1
            yield
        assert cycles == KVWriter.LATENCY

    run_simulation(bench.unit, main())


@pytest.mark.parametrize("lanes", [2, 16])
def test_room_leaves_place_for_what_is_on_the_way(lanes: int) -> None:
    bench = Bench(lanes, head_dim=lanes // 2, heads=1, ready=0.0)
    unit = bench.unit
    lost: list[int] = []

    def words(count: int) -> Process:
        for _ in range(count):
            yield from bench.send(0, 0, bench.row(), gap=0.0, lead=0)

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
