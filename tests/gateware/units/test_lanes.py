"""Whole matrices of both formats, times the vectors of several token rows, against golden ones."""

import random
from dataclasses import dataclass

import numpy as np
import pytest
from migen import Signal

from jalgateware.contract.config import EngineConfig
from jalgateware.contract.formats import (
    ACCUMULATOR,
    ACTIVATION_SHIFT_BITS,
    BLOCK,
    E2M1_DOUBLED,
)
from jalgateware.contract.isa import Format
from jalgateware.contract.tape import matrix_words, rows_together
from jalgateware.golden.blocks import Activations, dot_rows
from jalgateware.golden.mx import BlockMatrix, to_tape
from jalgateware.golden.rounding import Tally
from jalgateware.units.lanes import Lanes, entry_rows
from jaltest.gateware import Clock, Process, Receiver, Sender, simulate

CODES = np.array([*E2M1_DOUBLED, *(-size for size in E2M1_DOUBLED)])
BLOCKS = 8
"""Blocks of a whole activation buffer."""


@dataclass(frozen=True)
class Shape:
    """A matrix on its way through the lanes."""

    rows: int
    blocks: int
    source: int = 0
    fraction: int = 20
    form: Format = Format.MXINT8

    def fields(self) -> tuple[int, ...]:
        return (self.rows, self.blocks, self.source, self.fraction, int(self.form))


def matrix(generator: np.random.Generator, shape: Shape) -> BlockMatrix:
    """Any elements; some scales are far off, so that terms vanish or saturate."""
    size = (shape.rows, shape.blocks)
    if shape.form is Format.MXFP4:
        elements = generator.choice(CODES, (*size, BLOCK)).astype(np.int8)
    else:
        elements = generator.integers(-128, 128, (*size, BLOCK)).astype(np.int8)
    scales = generator.integers(110, 130, size).astype(np.uint8)
    odd = generator.random(size) < 0.1
    scales[odd] = generator.integers(0, 256, size)[odd]
    return BlockMatrix(elements, scales, shape.form)


class Bench:
    """Lanes between a tape, activation buffers and a consumer of rows."""

    def __init__(
        self, lanes: int, seed: int, stall: float, tokens: int = 1, mxfp4: bool = False
    ) -> None:
        self.config = EngineConfig(
            lanes, tokens=tokens, mxfp4=mxfp4, max_dim=256, max_hidden=256, max_context=16
        )
        self.unit = Lanes(self.config)
        self.generator = np.random.default_rng(seed)
        self.random = random.Random(seed)
        self.stall = stall
        self.active = tokens
        self.clock = Clock()
        self.pace = 0.1
        self.ready_blocks = Signal(max=BLOCKS + 1)
        self.unit.comb += self.unit.level.eq(self.ready_blocks)
        # By token row and buffer; the last row has the ends of activations alone.
        self.buffers = [[self.vector(t) for _ in range(2)] for t in range(tokens)]
        self.tallies = [Tally() for _ in range(tokens)]
        self.saturations = 0

    def vector(self, row: int) -> Activations:
        elements = self.generator.integers(-128, 128, (BLOCKS, BLOCK))
        if row == 1:
            elements = self.generator.choice([-128, 127], (BLOCKS, BLOCK))
        limit = min(1 << ACTIVATION_SHIFT_BITS, 25)
        return Activations(elements, self.generator.integers(0, limit, BLOCKS))

    def memory(self) -> Process:
        """The activation buffers: an answer one cycle behind the address.

        With each command a new vector begins, whose blocks become ready one after the other; those
        that are not are noise.
        """
        yield "passive"
        unit, width, ready = self.unit, min(self.config.lanes, BLOCK), 0
        while True:
            self.saturations += yield unit.saturated
            buffer, address = (yield unit.buffer), (yield unit.address)
            block = min(address * width // BLOCK, BLOCKS - 1)
            for t, buffers in enumerate(self.buffers):
                flat, shift = (
                    buffers[buffer].elements.reshape(-1),
                    int(buffers[buffer].shifts[block]),
                )
                part = flat[address * width : (address + 1) * width].astype(np.int8).tobytes()
                if block >= ready:
                    part, shift = self.random.randbytes(width), self.random.randrange(32)
                yield unit.activations[t].eq(int.from_bytes(part, "little"))
                yield unit.shifts[t].eq(shift)
            if self.random.random() < self.pace:
                ready = min(ready + 1, BLOCKS)
            if (yield unit.command.valid) and (yield unit.command.ready):
                ready = 0
            yield self.ready_blocks.eq(ready)
            yield

    def golden(self, shapes: list[Shape], items: list[BlockMatrix]) -> list[list[int]]:
        """Rows of each token row, matrix by matrix."""
        found: list[list[int]] = [[] for _ in range(self.active)]
        for item, shape in zip(items, shapes, strict=True):
            for t in range(self.active):
                used = self.buffers[t][shape.source]
                part = Activations(used.elements[: shape.blocks], used.shifts[: shape.blocks])
                tally = self.tallies[t]
                found[t] += dot_rows(item.weights(), part, shape.fraction, tally).tolist()
        return found

    def entries(self, shape: Shape) -> int:
        """Entries of a matrix: its rows, as many of them together as the format allows."""
        together = rows_together(self.config, shape.form)
        return -(-shape.rows // (together if self.config.tokens == 1 else max(2, together)))

    def run(self, shapes: list[Shape]) -> None:
        unit, command = self.unit, self.unit.command
        items = [matrix(self.generator, shape) for shape in shapes]
        words: list[int] = []
        for item in items:
            tape = to_tape(item, self.config).reshape(-1, self.config.lanes)
            words += [int.from_bytes(word.tobytes(), "little") for word in tape]
        total = sum(self.entries(shape) for shape in shapes)
        fields = [command.rows, command.blocks, command.source, command.fraction, command.format]
        commands = Sender(command, fields, [shape.fields() for shape in shapes], self.stall, 1)
        tape_words = Sender(unit.sink, [unit.sink.data], words, self.stall, 2)
        received = Receiver(unit.source, [unit.source.accumulators], self.clock, self.stall, seed=3)

        def wait() -> Process:
            yield unit.active.eq((1 << self.active) - 1)
            for _ in range(100_000):
                if len(received.values) == total:
                    break
                yield
            else:
                raise AssertionError(f"{len(received.values)} of {total} entries")
            for _ in range(50):
                yield
            assert not (yield unit.busy)
            assert len(received.values) == total

        processes = [self.clock.process(), self.memory(), commands.process(),
                     tape_words.process(), received.process(), wait()]  # fmt: skip
        simulate(unit, processes)
        assert self.unpack(received.values, shapes) == self.golden(shapes, items)
        assert self.saturations == sum(tally.saturations for tally in self.tallies)

    def unpack(self, received: list[int], shapes: list[Shape]) -> list[list[int]]:
        """Rows of each token row; what fills up the last entry of a matrix is dropped."""
        tokens, bits = self.config.tokens, ACCUMULATOR.bits
        values: list[list[int]] = [[] for _ in range(self.active)]
        entries = iter(received)
        for shape in shapes:
            together = rows_together(self.config, shape.form)
            together = together if tokens == 1 else max(2, together)
            for entry in range(self.entries(shape)):
                word = next(entries)
                for row in range(min(together, shape.rows - entry * together)):
                    for t in range(self.active):
                        part = word >> (bits * (row * tokens + t)) & ((1 << bits) - 1)
                        values[t].append(part - (part >> (bits - 1) << bits))
        return values


SHAPES = [
    Shape(5, 2),
    Shape(1, 1, 1, 16),
    Shape(3, 8, 1, 30),
    Shape(9, 3, 0, 24),
    Shape(2, 1, 0, 0),
]

FP4 = Format.MXFP4
MIXED = [
    Shape(5, 2, form=FP4),
    Shape(1, 1, 1, 16, FP4),
    Shape(5, 2),
    Shape(3, 8, 1, 30, FP4),
    Shape(1, 1),
    Shape(2, 1, 0, 0),
    Shape(9, 3, 0, 24, FP4),
    Shape(12, 2, 1, 31, FP4),
    Shape(7, 3, 0, 24),
]
"""Odd numbers of rows, single ones, and formats that change behind every one or two matrices."""


@pytest.mark.parametrize("lanes", [2, 4, 16, 32, 64])
@pytest.mark.parametrize("stall", [0.0, 0.4])
def test_matrices(lanes: int, stall: float) -> None:
    Bench(lanes, seed=lanes, stall=stall).run(SHAPES)


@pytest.mark.parametrize("tokens", [2, 3, 4])
@pytest.mark.parametrize(("lanes", "stall"), [(2, 0.0), (16, 0.4), (32, 0.3), (64, 0.0)])
def test_token_rows(lanes: int, tokens: int, stall: float) -> None:
    Bench(lanes, seed=lanes + tokens, stall=stall, tokens=tokens).run(SHAPES)


@pytest.mark.parametrize("tokens", [1, 2, 4])
@pytest.mark.parametrize(
    ("lanes", "stall"), [(2, 0.3), (4, 0.0), (16, 0.0), (16, 0.5), (32, 0.3), (64, 0.0), (64, 0.4)]
)
def test_formats_back_to_back(lanes: int, tokens: int, stall: float) -> None:
    Bench(lanes, seed=lanes * tokens, stall=stall, tokens=tokens, mxfp4=True).run(MIXED)


def test_row_fifo_is_small_and_enough() -> None:
    """Many short rows against a consumer that hardly ever takes one."""
    Bench(64, seed=9, stall=0.9, tokens=2, mxfp4=True).run([Shape(170, 1, form=FP4), Shape(80, 1)])


@pytest.mark.parametrize("active", [1, 2, 3])
def test_saturations_of_unused_token_rows_do_not_count(active: int) -> None:
    bench = Bench(16, seed=4, stall=0.0, tokens=4, mxfp4=True)
    bench.active = active
    bench.run([Shape(40, 2, fraction=31), Shape(41, 2, fraction=31, form=FP4)])
    assert bench.saturations > 5


@pytest.mark.parametrize(
    ("lanes", "tokens", "mxfp4", "rows"),
    [(16, 1, False, 1), (16, 4, False, 2), (16, 1, True, 2), (64, 2, False, 2), (64, 2, True, 4)],
)
def test_rows_of_an_entry(lanes: int, tokens: int, mxfp4: bool, rows: int) -> None:
    assert entry_rows(EngineConfig(lanes, tokens=tokens, mxfp4=mxfp4)) == rows


def drive(bench: Bench, shape: Shape) -> tuple[list[int], list[int]]:
    """Cycles in which words are taken and entries leave, where nothing ever waits."""
    unit = bench.unit
    taken: list[int] = []
    left: list[int] = []

    def feed() -> Process:
        yield bench.ready_blocks.eq(BLOCKS)
        yield unit.source.ready.eq(1)
        yield unit.sink.valid.eq(1)
        names = ("rows", "blocks", "source", "fraction", "format")
        for name, value in zip(names, shape.fields(), strict=True):
            yield getattr(unit.command, name).eq(value)
        yield unit.command.valid.eq(1)
        yield
        yield
        yield unit.command.valid.eq(0)
        for cycle in range(400):
            if (yield unit.sink.ready):
                taken.append(cycle)
            if (yield unit.source.valid):
                left.append(cycle)
            yield

    simulate(unit, [feed()])
    return taken, left


@pytest.mark.parametrize("form", list(Format))
@pytest.mark.parametrize("tokens", [1, 4])
@pytest.mark.parametrize("lanes", [2, 16, 64])
def test_one_word_per_cycle(lanes: int, tokens: int, form: Format) -> None:
    """Without stalls, words follow each other, scales and rows without gaps included."""
    bench = Bench(lanes, seed=1, stall=0.0, tokens=tokens, mxfp4=True)
    rows = {2: 4, 16: 20, 64: 60}[lanes]
    shape = Shape(rows, 4, form=form)
    taken, left = drive(bench, shape)
    assert len(taken) == matrix_words(bench.config, rows, 4, form)
    assert taken[-1] - taken[0] == len(taken) - 1
    assert len(left) == bench.entries(shape)


@pytest.mark.parametrize(("tokens", "mxfp4"), [(1, False), (4, True)])
@pytest.mark.parametrize("lanes", [4, 16, 32])
def test_latency(lanes: int, tokens: int, mxfp4: bool) -> None:
    """From the last word of a matrix to its last rows."""
    for form in list(Format)[: 1 + mxfp4]:
        bench = Bench(lanes, seed=2, stall=0.0, tokens=tokens, mxfp4=mxfp4)
        taken, left = drive(bench, Shape(3, 2, form=form))
        assert left[-1] - taken[-1] == bench.unit.latency
