"""Activation buffers against the golden model."""

import random
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jalgateware.contract.config import EngineConfig
from jalgateware.contract.formats import ACTIVATION, BLOCK, VECTOR
from jalgateware.golden.blocks import quantise, square_sum
from jalgateware.golden.rounding import rounding_shift, saturate
from jalgateware.units.quantiser import Narrow, Quantiser
from jaltest.gateware import Pipeline, Process, pulse, simulate

X, H = 0, 1


def narrow_rows(shift: int, pick: random.Random) -> list[tuple[int, int]]:
    """Values that a shift is meant for: at most 7 bits and a sign stay."""
    top = min(1 << (shift + 7), 1 << 31)
    half = 1 << max(shift - 1, 0)
    ends = [-top, -top + half - 1, -top + half, -half - 1, -half, -1, 0, half - 1, half, top - 1]
    ends += [top - half - 1, top - half]
    return [(v, shift) for v in [*ends, *(pick.randrange(-top, top) for _ in range(10))]]


def test_narrowing_at_every_shift() -> None:
    unit, pick = Narrow(), random.Random(1)
    rows = [row for shift in range(25) for row in narrow_rows(shift, pick)]
    answers = Pipeline(unit, [unit.value, unit.shift], [unit.result], Narrow.LATENCY).run(rows)
    for (value, shift), (answer,) in zip(rows, answers, strict=True):
        rounded = rounding_shift(np.array([value]), shift)
        assert answer == int(saturate(rounded, ACTIVATION)[0]), f"{value} >> {shift}"


@dataclass
class Vector:
    """What goes to a buffer, and how often an element is missing for a cycle."""

    buffer: int
    values: Sequence[int]
    gaps: float = 0.0


class Bench:
    """A quantiser that takes vectors, while a reader reads each block once it counts as ready."""

    def __init__(self, lanes: int, seed: int = 0) -> None:
        config = EngineConfig(lanes=lanes, max_dim=128, max_hidden=256)
        self.unit = Quantiser(config)
        self.width = min(lanes, BLOCK)
        self.random = random.Random(seed)
        self.blocks: list[list[tuple[list[int], int]]] = [[], []]
        self.sums: list[int] = []
        self.cycle = 0
        self.fed: list[int] = []
        self.ready: list[tuple[int, int, int]] = []

    def watch(self) -> Process:
        yield "passive"
        unit, before = self.unit, (0, 0)
        while True:
            now = ((yield unit.ready_x), (yield unit.ready_h))
            for buffer in (X, H):
                if now[buffer] != before[buffer]:
                    self.ready.append((self.cycle, buffer, now[buffer]))
            before = now
            if (yield unit.square_sum_valid):
                self.sums.append((yield unit.square_sum))
            self.cycle += 1
            yield

    def read(self) -> Process:
        yield "passive"
        unit = self.unit
        while True:
            for buffer, ready in ((X, unit.ready_x), (H, unit.ready_h)):
                if len(self.blocks[buffer]) < (yield ready):
                    block = yield from self.read_block(buffer, len(self.blocks[buffer]))
                    self.blocks[buffer].append(block)
            yield

    def read_block(self, buffer: int, block: int) -> Process:
        unit, words = self.unit, BLOCK // self.width
        elements, shifts = [], set()
        yield unit.read_buffer.eq(buffer)
        for word in range(words):
            yield unit.read_address.eq(block * words + word)
            yield
            yield
            value = (yield unit.activations).to_bytes(self.width, "little")
            elements += np.frombuffer(value, dtype=np.int8).tolist()
            shifts.add((yield unit.shift))
        assert len(shifts) == 1
        return elements, shifts.pop()

    def send(self, vector: Vector) -> Process:
        unit = self.unit
        for number, value in enumerate(vector.values):
            while self.random.random() < vector.gaps:
                yield from self.noise()
                yield
            yield unit.valid.eq(1)
            yield unit.value.eq(int(value))
            yield unit.buffer.eq(vector.buffer)
            yield unit.last.eq(int(number == len(vector.values) - 1))
            yield
            self.fed.append(self.cycle)
        yield from self.noise()

    def noise(self) -> Process:
        unit = self.unit
        yield unit.valid.eq(0)
        for signal in (unit.value, unit.buffer, unit.last):
            yield signal.eq(self.random.getrandbits(len(signal)))

    def check(self, vectors: Sequence[Vector]) -> None:
        """Vectors one behind the other; a buffer is invalidated before it is filled again."""
        unit = self.unit

        def settle(blocks: int, buffer: int) -> Process:
            for _ in range(2000):
                if len(self.blocks[buffer]) == blocks:
                    return
                yield
            raise AssertionError(f"{self.blocks[buffer]} are not {blocks} blocks")

        def main() -> Process:
            wanted = [0, 0]
            for vector in vectors:
                buffer = vector.buffer
                yield from settle(wanted[buffer], buffer)
                yield unit.invalidate_buffer.eq(buffer)
                yield from pulse(unit.invalidate)
                yield
                yield unit.invalidate_buffer.eq(1 - buffer)
                self.take(expected, buffer)
                expected[buffer] = vector
                wanted[buffer] = -(-len(vector.values) // BLOCK)
                yield from self.send(vector)
            for buffer in (X, H):
                yield from settle(wanted[buffer], buffer)
                self.take(expected, buffer)
            for _ in range(30):
                yield

        expected: dict[int, Vector] = {}
        simulate(unit, [main(), self.watch(), self.read()])
        golden = [quantise(np.array(v.values, dtype=np.int64)) for v in vectors if v.buffer == X]
        assert self.sums == [square_sum(item) for item in golden]

    def take(self, expected: dict[int, Vector], buffer: int) -> None:
        """Compares what was read of a buffer with its vector, and forgets it."""
        if buffer in expected:
            golden = quantise(np.array(expected.pop(buffer).values, dtype=np.int64))
            for number, (elements, shift) in enumerate(self.blocks[buffer]):
                assert elements == golden.elements[number].tolist(), f"block {number}"
                assert shift == golden.shifts[number], f"block {number}"
        self.blocks[buffer].clear()


def random_vector(pick: np.random.Generator, length: int) -> list[int]:
    """Each block of a magnitude of its own, some with single large elements."""
    sizes = np.repeat(pick.integers(0, 32, -(-length // BLOCK)), BLOCK)[:length]
    values = np.floor(pick.uniform(-1, 1, length) * 2.0**sizes).astype(np.int64)
    return [int(value) for value in np.clip(values, VECTOR.minimum, VECTOR.maximum)]


@pytest.mark.parametrize("lanes", [2, 4, 16, 64])
def test_any_vectors(lanes: int) -> None:
    pick = np.random.default_rng(lanes)
    lengths = [(X, 128), (H, 256), (X, 64), (H, 48), (X, 32), (H, 250), (X, 96), (H, 20), (X, 128)]
    Bench(lanes).check(
        [
            Vector(buffer, random_vector(pick, length), 0.0 if number < 5 else 0.5)
            for number, (buffer, length) in enumerate(lengths)
        ]
    )


@pytest.mark.parametrize("lanes", [4, 16, 64])
def test_extremes(lanes: int) -> None:
    alternating = [VECTOR.minimum, VECTOR.maximum] * 16
    lone = [0] * 31 + [VECTOR.minimum]
    # 127.5 of the least step rounds to 128, which has no code.
    edge = [255 << 15, -(255 << 15), (255 << 15) - 1, 255 << 14, -(256 << 15), *[0] * 27]
    vectors = [
        [VECTOR.minimum] * 128,  # the largest square sum
        [VECTOR.maximum] * 64,
        [0] * 64,
        [-1] * 32 + [1] * 32 + [127] * 32 + [-128] * 32,
        [128] * 32 + [-129] * 32,
        alternating + lone,
        edge,
        [*[0] * 32, *[5] * 32],
    ]
    Bench(lanes).check(
        [Vector(number % 2 if number > 2 else X, values) for number, values in enumerate(vectors)]
    )


@pytest.mark.parametrize("buffer", [X, H])
@pytest.mark.parametrize("lanes", [4, 16, 64])
def test_single_elements_and_other_short_vectors(lanes: int, buffer: int) -> None:
    """Each waits for the one before, as short blocks take as long to be written as full ones."""
    short = [[77777], [VECTOR.minimum], [0], [-1, 3 << 20], [1 << 30] * 31]
    Bench(lanes).check([Vector(buffer, values) for values in short])


@given(
    blocks=st.lists(
        st.lists(st.integers(VECTOR.minimum, VECTOR.maximum), min_size=BLOCK, max_size=BLOCK),
        min_size=1,
        max_size=4,
    ),
    shrink=st.integers(0, 31),
    gaps=st.sampled_from([0.0, 0.3]),
)
@settings(max_examples=8)
def test_any_values(blocks: list[list[int]], shrink: int, gaps: float) -> None:
    Bench(16).check([Vector(X, [value >> shrink for block in blocks for value in block], gaps)])


@pytest.mark.parametrize("lanes", [2, 4, 16, 64])
def test_latency_until_a_block_is_ready(lanes: int) -> None:
    bench = Bench(lanes)
    bench.check([Vector(H, list(range(96)))])
    ready = [cycle for cycle, buffer, _ in bench.ready if buffer == H]
    last = bench.fed[BLOCK - 1 :: BLOCK]
    assert [after - before for before, after in zip(last, ready, strict=True)] == (
        [bench.unit.latency] * 3
    )
