"""Grouped-query attention against the golden model."""

import random
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from jalgateware.contract.config import EngineConfig
from jalgateware.contract.formats import KV
from jalgateware.golden.attention import attend_head, scores
from jalgateware.golden.blocks import scale_output
from jalgateware.golden.rounding import Tally
from jalgateware.units.attention import Attention
from jaltest.gateware import Process, Sender, pulse, simulate

Rows = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Shape:
    """One attention: heads, positions in DRAM, and the shifts."""

    kv_heads: int
    group: int
    head_dim: int
    position: int
    score_shift: int = 12
    value_shift: int = 4


class Bench:
    """Attention between rows of the current position, a cache, and a scaler."""

    def __init__(self, lanes: int, slots: int, stall: float, seed: int) -> None:
        self.config = EngineConfig(
            lanes=lanes,
            max_dim=256,
            max_hidden=256,
            max_heads=16,
            max_kv_heads=4,
            max_group=5,
            max_head_dim=64,
            max_context=64,
            attention_slots=slots,
        )
        self.unit = Attention(self.config)
        self.generator = np.random.default_rng(seed)
        self.stall = stall
        self.results: list[int] = []
        self.lasts: list[int] = []
        self.saturations = 0

    def watch(self) -> Process:
        """What the scaler would make of the results."""
        yield "passive"
        unit = self.unit
        while True:
            if (yield unit.source.valid):
                accumulator = np.array([(yield unit.source.accumulator)])
                mantissa, shift = (yield unit.source.mantissa), (yield unit.source.shift)
                self.results.append(int(scale_output(accumulator, mantissa, shift)[0]))
                self.lasts.append((yield unit.source.last))
            self.saturations += yield unit.saturated
            yield

    def write(self, buffer: Any, values: Rows) -> Process:
        """Rows one by one, as the vector unit delivers them."""
        pick = random.Random(len(values))
        for index, value in enumerate(values.reshape(-1).tolist()):
            while pick.random() < self.stall:
                yield
            yield buffer.valid.eq(1)
            yield buffer.index.eq(index)
            yield buffer.data.eq(value)
            yield
            yield buffer.valid.eq(0)

    def words(self, rows: Rows) -> list[int]:
        """Head rows (positions, head_dim) as DRAM words; their padding is arbitrary."""
        lanes = self.config.kv_lanes
        padding = -rows.shape[1] % lanes
        noise = self.generator.integers(KV.minimum, KV.maximum, (len(rows), padding))
        padded = np.concatenate([rows, noise], axis=1).astype("<i2").reshape(-1, lanes)
        return [int.from_bytes(word.tobytes(), "little") for word in padded]

    def run(self, shapes: list[Shape], magnitude: int) -> None:
        expected: list[int] = []
        tally = Tally()

        def main() -> Process:
            unit = self.unit
            for shape in shapes:
                expected_here, processes = self.prepare(shape, magnitude, tally)
                expected.extend(expected_here)
                yield from processes[0]
                yield from pulse(unit.start)
                sender = Sender(unit.sink, [unit.sink.data], processes[1], self.stall, 5)
                feeding = sender.process()
                cycles = 0
                yield
                done = False
                while (yield unit.busy):
                    if not done:
                        try:
                            # The sender waits in the same process: one step per cycle.
                            request = next(feeding)
                            while request is not None:
                                request = feeding.send((yield request))
                        except StopIteration:
                            done = True
                    yield
                    cycles += 1
                    assert cycles < 20_000
                assert done or not processes[1]

        simulate(self.unit, [self.watch(), main()])
        assert self.results == expected
        assert self.saturations == tally.saturations

    def prepare(
        self, shape: Shape, magnitude: int, tally: Tally
    ) -> tuple[list[int], tuple[Process, list[int]]]:
        """Expected elements, and (what to do before the start, words of the cache)."""
        size = (shape.kv_heads, shape.position + 1, shape.head_dim)
        keys, values = (self.generator.integers(-magnitude, magnitude, size) for _ in range(2))
        queries = self.generator.integers(
            -magnitude, magnitude, (shape.kv_heads * shape.group, shape.head_dim)
        )
        expected: list[int] = []
        words: list[int] = []
        for head in range(shape.kv_heads):
            words += self.words(keys[head, :-1]) + self.words(values[head, :-1])
        for number, query in enumerate(queries):
            head = number // shape.group
            scores(query, keys[head], shape.score_shift, tally)
            expected += attend_head(
                query, keys[head], values[head], shape.score_shift, shape.value_shift
            ).tolist()

        def before() -> Process:
            unit = self.unit
            head_words = -(-shape.head_dim // self.config.kv_lanes)
            for name, value in (("head_words", head_words), *vars(shape).items()):
                yield getattr(unit, name).eq(value)
            yield from self.write(unit.query_write, queries)
            yield from self.write(unit.key_write, keys[:, -1])
            yield from self.write(unit.value_write, values[:, -1])
            for _ in range(4):
                yield

        return expected, (before(), words)


SHAPES = [
    Shape(kv_heads=2, group=2, head_dim=8, position=0),
    Shape(kv_heads=1, group=1, head_dim=8, position=1),
    Shape(kv_heads=2, group=3, head_dim=12, position=5),
    Shape(kv_heads=3, group=5, head_dim=16, position=9),
    Shape(kv_heads=1, group=4, head_dim=64, position=20, value_shift=0),
    Shape(kv_heads=4, group=1, head_dim=2, position=33),
]


@pytest.mark.parametrize(("lanes", "slots"), [(4, 1), (16, 1), (16, 2), (16, 5), (64, 2)])
def test_shapes(lanes: int, slots: int) -> None:
    Bench(lanes, slots, stall=0.0, seed=lanes).run(SHAPES, 3000)


def test_stalls() -> None:
    Bench(16, 2, stall=0.5, seed=1).run(SHAPES[1:4], 3000)


def test_scores_saturate() -> None:
    shape = Shape(kv_heads=2, group=3, head_dim=16, position=6, score_shift=4)
    Bench(16, 2, stall=0.0, seed=2).run([shape], KV.maximum)


def test_unused_slots_do_not_count() -> None:
    """Behind a model with more query heads, slots keep queries that nobody uses."""
    before, now = (Shape(2, group, 8, 3, score_shift=8) for group in (4, 3))
    Bench(16, 2, stall=0.0, seed=6).run([before, now], 30000)


def test_last_comes_once() -> None:
    bench = Bench(16, 2, stall=0.0, seed=3)
    bench.run(SHAPES[2:3], 1000)
    assert bench.lasts == [0] * (len(bench.lasts) - 1) + [1]
    assert len(bench.lasts) == 2 * 3 * 12


def test_one_word_per_cycle() -> None:
    """Each word of the cache takes as many cycles as query heads share a slot."""
    bench = Bench(16, 2, stall=0.0, seed=4)
    shape = Shape(kv_heads=1, group=4, head_dim=64, position=30)
    _, (before, _) = bench.prepare(shape, 1000, Tally())
    unit = bench.unit
    taken: list[int] = []

    def main() -> Process:
        yield from before
        yield unit.sink.valid.eq(1)
        yield from pulse(unit.start)
        yield
        for cycle in range(2000):
            if not (yield unit.busy):
                return
            if (yield unit.sink.ready):
                taken.append(cycle)
            yield

    simulate(unit, [main()])
    words = 30 * 8
    assert len(taken) == 2 * words
    assert taken[words - 1] - taken[0] == 2 * (words - 1)
