"""Activation buffers against the golden model."""

import random

import numpy as np
import pytest
from migen import run_simulation

from jalgateware.contract.config import EngineConfig
from jalgateware.contract.formats import ACTIVATION_SHIFT_BITS, BLOCK, VECTOR
from jalgateware.golden.blocks import quantise, square_sum
from jalgateware.units.quantiser import Narrow, Quantiser
from jaltest.gateware import Pipeline, Process


def test_narrow_at_every_shift() -> None:
    unit = Narrow()
    rows = [
        (value, shift)
        for shift in range(25)
        for value in (0, 1, -1, 127 << shift, -(127 << shift), (255 << shift) // 2, -(1 << shift))
        if VECTOR.minimum <= value <= VECTOR.maximum
    ]
    assert len(unit.shift) == ACTIVATION_SHIFT_BITS
    answers = Pipeline(unit, [unit.value, unit.shift], [unit.result], unit.LATENCY).run(rows)
    for (value, shift), (answer,) in zip(rows, answers, strict=True):
        rounded = (value + (1 << shift >> 1)) >> shift
        assert answer == min(rounded, 127), (value, shift)


class Bench:
    """A quantiser that is fed vector after vector."""

    def __init__(self, lanes: int, gaps: float, hidden: int = 256, slow: bool = False) -> None:
        dim = min(256, hidden)
        self.config = EngineConfig(
            lanes=lanes, max_dim=dim, max_hidden=hidden, max_context=16, slow_rows=slow
        )
        self.unit = Quantiser(self.config)
        self.random = random.Random(lanes)
        self.gaps = gaps
        self.square_sums: list[int] = []

    def watch(self) -> Process:
        yield "passive"
        while True:
            if (yield self.unit.square_sum_valid):
                self.square_sums.append((yield self.unit.square_sum))
            yield

    def feed(self, vector: list[int], buffer: int) -> Process:
        unit = self.unit
        for index, value in enumerate(vector):
            while self.random.random() < self.gaps:
                yield
            yield unit.value.eq(value)
            yield unit.buffer.eq(buffer)
            yield unit.last.eq(index == len(vector) - 1)
            yield unit.valid.eq(1)
            yield
            yield unit.valid.eq(0)

    def read(self, blocks: int, buffer: int) -> Process:
        """Elements and shifts of a buffer: ([...], [...])."""
        unit, width = self.unit, min(self.config.lanes, BLOCK)
        elements: list[int] = []
        shifts: list[int] = []
        yield unit.read_buffer.eq(buffer)
        for address in range(blocks * BLOCK // width):
            yield unit.read_address.eq(address)
            yield
            yield
            word = yield unit.activations
            data = np.frombuffer(word.to_bytes(width, "little"), dtype=np.int8)
            elements += data.tolist()
            if address * width % BLOCK == 0:
                shifts.append((yield unit.shift))
        return elements, shifts


def vectors(seed: int) -> list[tuple[list[int], int]]:
    """Vectors of all magnitudes and lengths, with the extremes, and the buffer of each."""
    generator = np.random.default_rng(seed)
    items: list[tuple[list[int], int]] = []
    for length, bits, buffer in ((32, 31, 0), (64, 16, 0), (45, 8, 1), (1, 31, 1), (256, 31, 0)):
        limit = 1 << generator.integers(1, bits + 1, length)
        items.append((generator.integers(-limit, limit).tolist(), buffer))
    items.append(([VECTOR.minimum, VECTOR.maximum, *[0] * 30, *[-1] * 32], 0))
    items.append(([VECTOR.minimum] * 256, 0))
    items.append(([0] * 33, 1))
    items.append(([127, -128, 128, -129, *[0] * 60], 0))
    return items


@pytest.mark.parametrize("slow", [False, True])
@pytest.mark.parametrize("lanes", [4, 16, 64])
@pytest.mark.parametrize("gaps", [0.0, 0.6])
def test_vectors(lanes: int, gaps: float, slow: bool) -> None:
    bench = Bench(lanes, gaps, slow=slow)
    unit = bench.unit
    squares: list[int] = []

    def main() -> Process:
        for vector, buffer in vectors(lanes):
            golden = quantise(np.array(vector))
            blocks = len(golden.shifts)
            ready = unit.ready_h if buffer else unit.ready_x
            yield unit.invalidate.eq(1)
            yield unit.invalidate_buffer.eq(buffer)
            yield
            yield unit.invalidate.eq(0)
            yield
            assert (yield ready) == 0
            yield from bench.feed(vector, buffer)
            wait = 0
            while (yield ready) != blocks:
                wait += 1
                assert wait <= 2 * unit.latency, (yield ready)
                yield
            elements, shifts = yield from bench.read(blocks, buffer)
            assert elements == golden.elements.reshape(-1).tolist()
            assert shifts == golden.shifts.tolist()
            for _ in range(20):
                yield
            if not buffer:
                squares.append(square_sum(golden))

    run_simulation(unit, [bench.watch(), main()])
    assert bench.square_sums == squares


def test_blocks_become_ready_one_by_one() -> None:
    bench = Bench(16, 0.0)
    unit = bench.unit
    seen: list[int] = []

    def watch() -> Process:
        yield "passive"
        while True:
            ready = yield unit.ready_x
            if not seen or ready != seen[-1]:
                seen.append(ready)
            yield

    def main() -> Process:
        yield from bench.feed(list(range(128)), 0)
        for _ in range(unit.latency + 1):
            yield

    run_simulation(unit, [watch(), main()])
    assert seen == [0, 1, 2, 3, 4]


def test_buffers_of_a_size_that_is_no_power_of_two() -> None:
    bench = Bench(16, 0.0, hidden=96)
    vector = list(range(-48, 48))
    golden = quantise(np.array(vector))

    def main() -> Process:
        for buffer in (0, 1):
            yield from bench.feed(vector, buffer)
            for _ in range(2 * bench.unit.latency):
                yield
        for buffer in (0, 1):
            elements, _ = yield from bench.read(3, buffer)
            assert elements == golden.elements.reshape(-1).tolist()

    run_simulation(bench.unit, [main()])
