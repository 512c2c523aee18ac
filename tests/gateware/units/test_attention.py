"""Grouped-query attention of one or more token rows against the golden model."""

import random
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import pytest
from litex.gen import LiteXModule

from jalgateware.contract.config import EngineConfig
from jalgateware.contract.formats import KV
from jalgateware.contract.isa import Destination
from jalgateware.golden.attention import attend_head, scores
from jalgateware.golden.blocks import scale_output
from jalgateware.golden.rounding import Tally
from jalgateware.units.attention import Attention
from jalgateware.units.row_packer import RowPacker
from jaltest.gateware import Process, Sender, pulse, simulate

Rows = npt.NDArray[np.int64]

ENDS = 0
"""In place of a magnitude: the least and the greatest element alone."""


@dataclass(frozen=True)
class Shape:
    """The attention of a pass: heads, positions in DRAM, and the shifts."""

    kv_heads: int
    group: int
    head_dim: int
    positions: tuple[int, ...]
    """Of each token row; where they are positions of one sequence, of the first one."""
    rows: int = 1
    """Token rows that are positions of one sequence."""
    score_shift: int = 12
    value_shift: int = 4

    @property
    def shared(self) -> bool:
        return len(self.positions) == 1

    @property
    def token_rows(self) -> int:
        return self.rows if self.shared else len(self.positions)


@dataclass
class Case:
    """Inputs of a pass, and what comes of it."""

    shape: Shape
    elements: list[tuple[Destination, Rows]]
    """Rows of queries, keys and values: (token rows, elements)."""
    words: list[int]
    expected: list[tuple[int, int, int]]
    """Element, token row, whether it is the row's last one."""


class Bench:
    """Attention between the rows of a pass, a cache, and a scaler."""

    def __init__(
        self,
        lanes: int,
        slots: int,
        stall: float,
        seed: int,
        tokens: int = 1,
        slow: bool = False,
    ) -> None:
        self.config = EngineConfig(
            lanes=lanes,
            tokens=tokens,
            max_dim=256,
            max_hidden=256,
            max_heads=16,
            max_kv_heads=4,
            max_group=5,
            max_head_dim=64,
            max_context=64,
            attention_slots=slots,
            slow_rows=slow,
        )
        self.top = LiteXModule()
        self.top.packer = self.packer = RowPacker(self.config)
        self.top.unit = self.unit = Attention(self.config, self.packer)
        self.generator = np.random.default_rng(seed)
        self.stall = stall
        self.results: list[tuple[int, int, int]] = []
        self.saturations = 0
        self.tally = Tally()

    def watch(self) -> Process:
        """What the scaler would make of the results."""
        yield "passive"
        unit = self.unit
        while True:
            if (yield unit.source.valid):
                accumulator = np.array([(yield unit.source.accumulator)])
                mantissa, shift = (yield unit.source.mantissa), (yield unit.source.shift)
                value = int(scale_output(accumulator, mantissa, shift)[0])
                self.results.append((value, (yield unit.source.row), (yield unit.source.last)))
            self.saturations += yield unit.saturated
            yield

    def write(self, kind: Destination, rows: Rows) -> Process:
        """Elements one by one, as the vector unit delivers them: pairs of each token row."""
        packer, pick = self.packer, random.Random(rows.size)
        order = [(index, 0) for index in range(rows.shape[1])]
        if self.config.tokens > 1:
            order = [
                (index, row)
                for pair in range(0, rows.shape[1], 2)
                for row in range(len(rows))
                for index in (pair, pair + 1)
            ]
        yield packer.kind.eq(int(kind))
        for index, row in order:
            while pick.random() < self.stall:
                yield
            yield packer.valid.eq(1)
            yield packer.index.eq(index)
            yield packer.row.eq(row)
            yield packer.data.eq(int(rows[row, index]))
            yield
            yield packer.valid.eq(0)

    def words(self, rows: Rows) -> list[int]:
        """Head rows (positions, head_dim) as DRAM words; their padding is arbitrary."""
        lanes = self.config.kv_lanes
        padding = -rows.shape[1] % lanes
        noise = self.generator.integers(KV.minimum, KV.maximum, (len(rows), padding))
        padded = np.concatenate([rows, noise], axis=1).astype("<i2").reshape(-1, lanes)
        return [int.from_bytes(word.tobytes(), "little") for word in padded]

    def draw(self, magnitude: int, *size: int) -> Rows:
        """Elements up to a magnitude, or the format's ends alone."""
        if magnitude == ENDS:
            return self.generator.choice([KV.minimum, KV.maximum], size)
        return self.generator.integers(-magnitude, magnitude, size)

    def case(self, shape: Shape, magnitude: int) -> Case:
        """Random rows: of one sequence, or of one for each token row."""
        count = shape.token_rows
        queries = self.draw(magnitude, count, shape.kv_heads, shape.group, shape.head_dim)
        own = shape.rows if shape.shared else 1
        turns = [
            self.draw(magnitude, 2, shape.kv_heads, position + own, shape.head_dim)
            for position in shape.positions
        ]
        words: list[int] = []
        expected: list[tuple[int, int, int]] = []
        for turn, (position, caches) in enumerate(zip(shape.positions, turns, strict=True)):
            for head in range(shape.kv_heads):
                keys, values = caches[:, head]
                words += self.words(keys[:position]) + self.words(values[:position])
                for row in range(shape.rows) if shape.shared else (turn,):
                    seen = position + 1 + (row if shape.shared else 0)
                    rows = [
                        self.golden(query, keys[:seen], values[:seen], shape)
                        for query in queries[row, head]
                    ]
                    flat = [value for values in rows for value in values]
                    ends = [0] * (len(flat) - 1) + [int(head == shape.kv_heads - 1)]
                    expected += [(v, row, end) for v, end in zip(flat, ends, strict=True)]
        stacked = [
            np.concatenate([caches[kind][:, -own:] for caches in turns], axis=1)
            .transpose(1, 0, 2)
            .reshape(count, -1)
            for kind in range(2)
        ]
        elements = [
            (Destination.QUERY, queries.reshape(count, -1)),
            (Destination.KEY, stacked[0]),
            (Destination.VALUE, stacked[1]),
        ]
        return Case(shape, elements, words, expected)

    def golden(self, query: Rows, keys: Rows, values: Rows, shape: Shape) -> list[int]:
        scores(query, keys, shape.score_shift, self.tally)
        rows = attend_head(query, keys, values, shape.score_shift, shape.value_shift)
        return [int(value) for value in rows]

    def prepare(self, case: Case) -> Process:
        """What happens before the start."""
        unit, shape = self.unit, case.shape
        head_words = -(-shape.head_dim // self.config.kv_lanes)
        for name, value in (
            ("kv_heads", shape.kv_heads),
            ("group", shape.group),
            ("head_dim", shape.head_dim),
            ("head_words", head_words),
            ("shared", shape.shared),
            ("last_row", shape.token_rows - 1),
            ("score_shift", shape.score_shift),
            ("value_shift", shape.value_shift),
        ):
            yield getattr(unit, name).eq(int(value))
        yield self.packer.last_row.eq(shape.token_rows - 1)
        for row in range(shape.token_rows):
            turn = 0 if shape.shared else row
            own = row if shape.shared else 0
            yield unit.positions[row].eq(shape.positions[turn] + own)
        for kind, rows in case.elements:
            yield from self.write(kind, rows)
        for _ in range(4):
            yield

    def run(self, shapes: list[Shape], magnitude: int) -> None:
        cases = [self.case(shape, magnitude) for shape in shapes]

        def main() -> Process:
            for case in cases:
                yield from self.prepare(case)
                yield from pulse(self.unit.start)
                yield from self.feed(case.words)

        simulate(self.top, [self.watch(), main()])
        assert self.results == [item for case in cases for item in case.expected]
        assert self.saturations == self.tally.saturations

    def feed(self, words: list[int]) -> Process:
        """The cache's words, until attention is through."""
        unit = self.unit
        feeding = Sender(unit.sink, [unit.sink.data], words, self.stall, 5).process()
        cycles, done = 0, False
        yield
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
        assert done or not words


SHAPES = [
    Shape(kv_heads=2, group=2, head_dim=8, positions=(0,)),
    Shape(kv_heads=1, group=1, head_dim=8, positions=(1,)),
    Shape(kv_heads=2, group=3, head_dim=12, positions=(5,)),
    Shape(kv_heads=3, group=5, head_dim=16, positions=(9,)),
    Shape(kv_heads=1, group=4, head_dim=64, positions=(20,), value_shift=0),
    Shape(kv_heads=4, group=1, head_dim=2, positions=(33,)),
]

SEVERAL = [
    Shape(kv_heads=2, group=2, head_dim=8, positions=(0,), rows=2),
    Shape(kv_heads=2, group=2, head_dim=8, positions=(0, 0)),
    Shape(kv_heads=2, group=3, head_dim=12, positions=(5,), rows=2),
    Shape(kv_heads=1, group=1, head_dim=20, positions=(3, 7)),
    Shape(kv_heads=1, group=5, head_dim=16, positions=(4,)),
    Shape(kv_heads=3, group=2, head_dim=2, positions=(9, 0)),
]
"""One or two token rows, of one sequence or of two."""

FOUR = [
    Shape(kv_heads=2, group=1, head_dim=8, positions=(0,), rows=4),
    Shape(kv_heads=2, group=3, head_dim=16, positions=(6,), rows=3),
    Shape(kv_heads=1, group=5, head_dim=4, positions=(2, 0, 5, 1)),
    Shape(kv_heads=3, group=2, head_dim=12, positions=(1, 8, 0)),
    Shape(kv_heads=2, group=2, head_dim=24, positions=(11,), rows=4, value_shift=0),
    Shape(kv_heads=1, group=4, head_dim=8, positions=(3,), rows=2),
    Shape(kv_heads=1, group=1, head_dim=4, positions=(60,), rows=4),
    Shape(kv_heads=1, group=2, head_dim=4, positions=(63, 2, 63, 1)),
]


@pytest.mark.parametrize(("lanes", "slots"), [(4, 1), (16, 1), (16, 2), (16, 5), (64, 2)])
def test_shapes(lanes: int, slots: int) -> None:
    Bench(lanes, slots, stall=0.0, seed=lanes).run(SHAPES, 3000)


@pytest.mark.parametrize(("lanes", "slots"), [(4, 1), (16, 2)])
def test_slow_rows(lanes: int, slots: int) -> None:
    Bench(lanes, slots, stall=0.3, seed=lanes, slow=True).run(SHAPES, 3000)


@pytest.mark.parametrize(
    ("lanes", "slots", "tokens"),
    [(4, 1, 2), (16, 2, 2), (16, 7, 2), (64, 4, 3)],
)
def test_two_token_rows(lanes: int, slots: int, tokens: int) -> None:
    Bench(lanes, slots, stall=0.0, seed=lanes, tokens=tokens).run(SEVERAL, 3000)


@pytest.mark.parametrize(("lanes", "slots"), [(4, 1), (16, 3), (16, 4), (16, 20), (64, 8)])
def test_up_to_four_token_rows(lanes: int, slots: int) -> None:
    Bench(lanes, slots, stall=0.0, seed=lanes, tokens=4).run(FOUR, 3000)


@pytest.mark.parametrize(("tokens", "shapes"), [(1, SHAPES[1:4]), (2, SEVERAL), (4, FOUR[:4])])
def test_stalls(tokens: int, shapes: list[Shape]) -> None:
    Bench(16, 2, stall=0.5, seed=1, tokens=tokens).run(shapes, 3000)


@pytest.mark.parametrize(("tokens", "positions"), [(1, (6,)), (3, (6,)), (3, (6, 2, 0))])
def test_scores_saturate(tokens: int, positions: tuple[int, ...]) -> None:
    """Those that a token row sees count, and no others."""
    shape = Shape(2, 3, 16, positions, rows=tokens, score_shift=4)
    bench = Bench(16, 2, stall=0.0, seed=2, tokens=tokens)
    bench.run([shape], KV.maximum)
    assert bench.saturations > 10


def test_extreme_keys_and_values() -> None:
    shapes = [Shape(2, 2, 16, (3,), rows=2, score_shift=s) for s in (14, 20, 31)]
    Bench(16, 2, stall=0.0, seed=8, tokens=2).run(shapes, ENDS)


@pytest.mark.parametrize("tokens", [1, 4])
def test_unused_slots_do_not_count(tokens: int) -> None:
    """Behind a model with more query heads, slots keep queries that nobody uses."""
    before, now = (Shape(2, group, 8, (3,), rows=tokens, score_shift=8) for group in (4, 3))
    small = replace(now, rows=1)
    Bench(16, 2, stall=0.0, seed=6, tokens=tokens).run([before, now, small], 30000)


@pytest.mark.parametrize(("tokens", "rows"), [(1, 1), (2, 2)])
def test_a_word_stays_until_all_heads_are_done(tokens: int, rows: int) -> None:
    """Each word of the cache takes as many cycles as query heads share a slot."""
    bench = Bench(16, 2, stall=0.0, seed=4, tokens=tokens)
    case = bench.case(Shape(kv_heads=1, group=4, head_dim=64, positions=(30,), rows=rows), 1000)
    unit = bench.unit
    taken: list[int] = []

    def main() -> Process:
        yield from bench.prepare(case)
        yield unit.sink.valid.eq(1)
        yield from pulse(unit.start)
        yield
        for cycle in range(4000):
            if not (yield unit.busy):
                return
            if (yield unit.sink.ready):
                taken.append(cycle)
            yield
        raise AssertionError("attention does not end")

    simulate(bench.top, [main()])
    words, steps = 30 * 8, 4 * rows // 2
    assert len(taken) == 2 * words
    assert taken[words - 1] - taken[0] == steps * (words - 1)


def test_keys_drain_before_values() -> None:
    """From the last key to the first value."""
    bench = Bench(16, 4, stall=0.0, seed=5)
    case = bench.case(Shape(kv_heads=1, group=4, head_dim=8, positions=(12,)), 1000)
    unit = bench.unit
    taken: list[int] = []

    def main() -> Process:
        yield from bench.prepare(case)
        yield unit.sink.valid.eq(1)
        yield from pulse(unit.start)
        for cycle in range(300):
            if (yield unit.sink.ready):
                taken.append(cycle)
            yield

    simulate(bench.top, [main()])
    assert len(taken) == 24
    # The pass' own key comes behind the last one from DRAM.
    assert taken[12] - taken[11] == 2 + unit.key_drain
