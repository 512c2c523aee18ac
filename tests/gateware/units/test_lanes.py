"""Dot products, alignment and whole matrices against the golden model."""

import random

import numpy as np
import pytest
from migen import run_simulation

from jalgateware.contract.config import EngineConfig
from jalgateware.contract.formats import ACTIVATION_SHIFT_BITS, BLOCK, BLOCK_DOT
from jalgateware.golden.blocks import Activations, align, dot_rows
from jalgateware.golden.mx import BlockMatrix, to_tape
from jalgateware.golden.rounding import Tally
from jalgateware.units.lanes import ALIGN_OFFSET, Aligner, BlockDot, Lanes
from jaltest.gateware import Clock, Pipeline, Process, Receiver, Sender

ENDS = (BLOCK_DOT.minimum, -(1 << 19), -12345, -3, -1, 0, 1, 2, 5, 99, 1 << 19, BLOCK_DOT.maximum)


@pytest.mark.parametrize("lanes", [2, 16, 32])
def test_block_dot_is_exact(lanes: int) -> None:
    generator = np.random.default_rng(lanes)
    words = BLOCK // lanes
    pairs = generator.integers(-128, 128, (12, 2, BLOCK))
    pairs[0], pairs[1], pairs[2, 0], pairs[2, 1] = -128, 127, -128, 127
    unit = BlockDot(lanes)
    dots: list[int] = []
    arrivals: list[int] = []

    def feed() -> Process:
        for number, (weights, activations) in enumerate(pairs):
            for word in range(words):
                part = slice(word * lanes, (word + 1) * lanes)
                for signal, values in ((unit.weights, weights), (unit.activations, activations)):
                    packed = values[part].astype(np.int8).tobytes()
                    yield signal.eq(int.from_bytes(packed, "little"))
                yield unit.valid.eq(1)
                yield unit.first.eq(word == 0)
                yield unit.last.eq(word == words - 1)
                yield
                if number % 3 == 0:
                    yield unit.valid.eq(0)
                    yield
        yield unit.valid.eq(0)
        for _ in range(unit.latency + 1):
            yield

    def watch() -> Process:
        yield "passive"
        cycle = 0
        while True:
            if (yield unit.dot_valid):
                dots.append((yield unit.dot))
                arrivals.append(cycle)
            cycle += 1
            yield

    run_simulation(unit, [watch(), feed()])
    assert dots == (pairs[:, 0] * pairs[:, 1]).sum(axis=1).tolist()


def check_aligner(rows: list[tuple[int, int]], gaps: float = 0.0) -> None:
    unit = Aligner()
    pipeline = Pipeline(
        unit,
        [unit.dot, unit.exponent],
        [unit.term, unit.saturated],
        unit.LATENCY,
        (unit.valid, unit.term_valid),
    )
    for (dot, exponent), answer in zip(rows, pipeline.run(rows, gaps), strict=True):
        tally = Tally()
        shift = np.array([exponent - ALIGN_OFFSET])
        expected = int(align(np.array([float(dot)]), shift, tally)[0])
        assert answer == (expected, tally.saturations), (dot, exponent - ALIGN_OFFSET)


def test_aligner_at_every_shift() -> None:
    exponents = [*range(ALIGN_OFFSET - 40, ALIGN_OFFSET + 40), 0, 1, 1023]
    check_aligner([(dot, exponent) for exponent in exponents for dot in ENDS], gaps=0.2)


def matrix(generator: np.random.Generator, rows: int, blocks: int) -> BlockMatrix:
    """Any elements; some scales are far off, so that terms vanish or saturate."""
    elements = generator.integers(-128, 128, (rows, blocks, BLOCK)).astype(np.int8)
    scales = generator.integers(110, 130, (rows, blocks)).astype(np.uint8)
    odd = generator.random((rows, blocks)) < 0.1
    scales[odd] = generator.integers(0, 256, (rows, blocks))[odd]
    return BlockMatrix(elements, scales)


class Bench:
    """Lanes between a tape, an activation buffer and a consumer of rows."""

    def __init__(self, lanes: int, seed: int, stall: float) -> None:
        self.config = EngineConfig(lanes=lanes, max_dim=256, max_hidden=256, max_context=16)
        self.unit = Lanes(self.config)
        self.generator = np.random.default_rng(seed)
        self.random = random.Random(seed)
        self.stall = stall
        self.buffers: list[Activations] = []
        for _ in range(2):
            elements = self.generator.integers(-128, 128, (8, BLOCK))
            limit = min(1 << ACTIVATION_SHIFT_BITS, 25)
            shifts = self.generator.integers(0, limit, 8)
            self.buffers.append(Activations(elements, shifts))
        self.saturations = 0

    def memory(self) -> Process:
        """The activation buffers: an answer one cycle behind the address."""
        yield "passive"
        width = min(self.config.lanes, BLOCK)
        while True:
            buffer, address = (yield self.unit.buffer), (yield self.unit.address)
            flat = self.buffers[buffer].elements.reshape(-1)
            part = flat[address * width : (address + 1) * width].astype(np.int8).tobytes()
            yield self.unit.activations.eq(int.from_bytes(part, "little"))
            block = min(address * width // BLOCK, 7)
            yield self.unit.shift.eq(int(self.buffers[buffer].shifts[block]))
            yield

    def watch(self) -> Process:
        """Counts saturations; blocks of activations become ready one after the other."""
        yield "passive"
        ready = 0
        while True:
            self.saturations += yield self.unit.saturated
            if self.random.random() < 0.1:
                ready = min(ready + 1, 8)
            yield self.unit.ready_blocks.eq(ready)
            yield

    def run(self, shapes: list[tuple[int, int, int, int]]) -> list[int]:
        """Rows of matrices of (rows, blocks, source, fraction), one matrix after the other."""
        unit = self.unit
        matrices = [matrix(self.generator, rows, blocks) for rows, blocks, *_ in shapes]
        words: list[int] = []
        expected: list[int] = []
        tally = Tally()
        bundles = []
        for item, (rows, _, source, fraction) in zip(matrices, shapes, strict=True):
            tape = to_tape(item, self.config).reshape(-1, self.config.lanes)
            words += [int.from_bytes(word.tobytes(), "little") for word in tape]
            blocks = item.blocks
            used = self.buffers[source]
            part = Activations(used.elements[:blocks], used.shifts[:blocks])
            expected += dot_rows(item.weights(), part, fraction, tally).tolist()
            bundles.append(-(-rows // self.config.rows_parallel))
        command = unit.command
        fields = [command.rows, command.blocks, command.source, command.fraction]
        clock = Clock()
        commands = Sender(command, fields, shapes, self.stall, 1)
        tape_words = Sender(unit.sink, [unit.sink.data], words, self.stall, 2)
        received = Receiver(unit.source, [unit.source.accumulators], clock, self.stall, seed=3)

        def wait() -> Process:
            for _ in range(100_000):
                if len(received.values) == sum(bundles):
                    return
                yield
            raise AssertionError(f"{len(received.values)} of {sum(bundles)} words of rows")

        processes = [clock.process(), self.memory(), self.watch(), commands.process(),
                     tape_words.process(), received.process(), wait()]  # fmt: skip
        run_simulation(unit, processes)
        values = self.unpack(received.values, shapes, bundles)
        assert values == expected
        assert self.saturations >= tally.saturations
        if self.config.rows_parallel == 1:
            assert self.saturations == tally.saturations
        return values

    def unpack(
        self, received: list[int], shapes: list[tuple[int, int, int, int]], bundles: list[int]
    ) -> list[int]:
        """Rows of words; what fills up the last word of a matrix is dropped."""
        values, start = [], 0
        for (rows, *_), count in zip(shapes, bundles, strict=True):
            parts = []
            for word in received[start : start + count]:
                for lane in range(self.config.rows_parallel):
                    part = word >> (48 * lane) & ((1 << 48) - 1)
                    parts.append(part - (part >> 47 << 48))
            values += parts[:rows]
            start += count
        return values


SHAPES = [(5, 2, 0, 20), (1, 1, 1, 16), (3, 8, 1, 30), (9, 3, 0, 24), (2, 1, 0, 0)]


@pytest.mark.parametrize("lanes", [4, 16, 32, 64])
@pytest.mark.parametrize("stall", [0.0, 0.4])
def test_matrices(lanes: int, stall: float) -> None:
    Bench(lanes, seed=lanes, stall=stall).run(SHAPES)


def test_one_word_per_cycle() -> None:
    """Without stalls, words follow each other, scales and rows without gaps included."""
    bench = Bench(16, seed=1, stall=0.0)
    unit = bench.unit
    taken: list[int] = []

    def feed() -> Process:
        yield unit.ready_blocks.eq(8)
        yield unit.source.ready.eq(1)
        yield unit.sink.valid.eq(1)
        for name, value in (("rows", 20), ("blocks", 4), ("source", 0), ("fraction", 20)):
            yield getattr(unit.command, name).eq(value)
        yield unit.command.valid.eq(1)
        yield
        yield
        yield unit.command.valid.eq(0)
        for cycle in range(300):
            if (yield unit.sink.ready):
                taken.append(cycle)
            yield

    run_simulation(unit, [feed()])
    words = 20 * 4 * 2 + 5
    assert len(taken) == words
    assert taken[-1] - taken[0] == words - 1
