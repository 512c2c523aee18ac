"""Operands, dot products and their alignment against the golden model."""

from itertools import product

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from migen import Module, Signal, run_simulation

from jalgateware.contract.formats import BLOCK, BLOCK_DOT, E2M1_DOUBLED, SCALE_BIAS, VECTOR, WEIGHT
from jalgateware.golden.blocks import align
from jalgateware.golden.rounding import Tally
from jalgateware.units.block_dot import (
    ALIGN_OFFSET,
    FIELD,
    PACKED_BITS,
    Aligner,
    BlockDot,
    Packer,
)
from jaltest.gateware import Clock, Pipeline, Process, simulate

ENDS = (BLOCK_DOT.minimum, -(1 << 19), -12345, -3, -1, 0, 1, 2, 5, 99, 1 << 19, BLOCK_DOT.maximum)

CODES = np.array([*E2M1_DOUBLED, *(-size for size in E2M1_DOUBLED)])
"""Doubled values of the 16 codes."""

Integers = npt.NDArray[np.int64]


def packed_operand(low: Integers, high: Integers) -> Integers:
    """Two doubled elements as the docstring of the packer says."""
    return low + high * (1 << FIELD)


def test_packer_gives_every_byte_and_every_pair_of_codes() -> None:
    unit, operands = Packer(), []
    rows = [(byte, 5, 13, 0) for byte in range(256)]
    rows += [(0x5A, low, high, 1) for low, high in product(range(16), repeat=2)]

    def main() -> Process:
        for row in rows:
            fields = (unit.byte, unit.low, unit.high, unit.packed)
            for signal, value in zip(fields, row, strict=True):
                yield signal.eq(value)
            yield
            operands.append((yield unit.operand))

    run_simulation(unit, [main()])
    expected = [byte - (byte >> 7 << 8) for byte in range(256)]
    low, high = np.array(list(product(CODES, repeat=2))).T
    expected += packed_operand(low, high).tolist()
    assert operands == [value & ((1 << PACKED_BITS) - 1) for value in expected]


class Bench:
    """Blocks of elements and activations, and the dot products that come out."""

    def __init__(self, columns: int, mxfp4: bool) -> None:
        self.columns = columns
        self.unit = BlockDot(columns, mxfp4)
        self.bits = PACKED_BITS if mxfp4 else WEIGHT.bits
        self.clock = Clock()
        self.sent: list[int] = []
        self.found: list[tuple[int, int, int]] = []

    def word(self, values: Integers, bits: int) -> int:
        mask = (1 << bits) - 1
        return sum((int(value) & mask) << (bits * i) for i, value in enumerate(values))

    def feed(self, blocks: list[tuple[Integers, Integers, bool]], seed: int) -> Process:
        unit, pick = self.unit, np.random.default_rng(seed)
        words = BLOCK // self.columns
        for operands, activations, packed in blocks:
            for word in range(words):
                while pick.random() < 0.2:
                    yield unit.valid.eq(0)
                    yield unit.operands.eq(-1)
                    yield unit.first.eq(int(pick.integers(2)))
                    yield unit.packed.eq(int(pick.integers(2)))
                    yield
                part = slice(word * self.columns, (word + 1) * self.columns)
                yield unit.operands.eq(self.word(operands[part], self.bits))
                yield unit.activations.eq(self.word(activations[part], 8))
                yield unit.packed.eq(int(packed))
                yield unit.valid.eq(1)
                yield unit.first.eq(int(word == 0))
                yield unit.last.eq(int(word == words - 1))
                yield
            self.sent.append(self.clock.cycle)
        yield unit.valid.eq(0)
        for _ in range(unit.latency + 1):
            yield

    def watch(self) -> Process:
        yield "passive"
        unit = self.unit
        while True:
            if (yield unit.dot_valid):
                self.found.append(((yield unit.dot), (yield unit.high), self.clock.cycle))
            yield

    def run(self, blocks: list[tuple[Integers, Integers, bool]], seed: int = 0) -> None:
        processes = [self.clock.process(), self.watch(), self.feed(blocks, seed)]
        simulate(self.unit, processes)
        # From the cycle in which the last word is there.
        assert [cycle for *_, cycle in self.found] == [c + self.unit.latency for c in self.sent]


def int8_blocks(generator: np.random.Generator, count: int) -> list[tuple[Integers, Integers]]:
    blocks = generator.integers(-128, 128, (count, 2, BLOCK))
    ends = [(-128, -128), (-128, 127), (127, -128), (127, 127), (0, -128)]
    for block, (weight, activation) in zip(blocks, ends, strict=False):
        block[0], block[1] = weight, activation
    return [(weights, activations) for weights, activations in blocks]


@pytest.mark.parametrize("mxfp4", [False, True])
@pytest.mark.parametrize("columns", [2, 16, 32])
def test_block_dot_is_exact(columns: int, mxfp4: bool) -> None:
    """MXINT8, whether or not the lanes could take two elements as well."""
    blocks = int8_blocks(np.random.default_rng(columns), 15)
    bench = Bench(columns, mxfp4)
    bench.run([(weights, activations, False) for weights, activations in blocks])
    assert [dot for dot, *_ in bench.found] == [int(w @ a) for w, a in blocks]


def packed_blocks(
    generator: np.random.Generator,
) -> list[tuple[Integers, Integers, Integers]]:
    """Lower and upper elements with their activations; among them each pair of codes alone."""
    blocks = []
    for low, high in product(CODES, repeat=2):
        for activation in (-128, 127):
            blocks.append((np.full(BLOCK, low), np.full(BLOCK, high), np.full(BLOCK, activation)))
    for _ in range(40):
        low, high = generator.choice(CODES, (2, BLOCK))
        blocks.append((low, high, generator.integers(-128, 128, BLOCK)))
        blocks.append((low, high, generator.choice([-128, -1, 0, 1, 127], BLOCK)))
    return blocks


@pytest.mark.parametrize("columns", [2, 8, 32])
def test_two_elements_at_once_are_exact(columns: int) -> None:
    blocks = packed_blocks(np.random.default_rng(columns))
    bench = Bench(columns, True)
    bench.run([(packed_operand(low, high), a, True) for low, high, a in blocks], columns)
    assert [dots[:2] for dots in bench.found] == [
        (int(low @ a), int(high @ a)) for low, high, a in blocks
    ]


def test_formats_follow_each_other() -> None:
    generator = np.random.default_rng(5)
    narrow, wide = int8_blocks(generator, 30), packed_blocks(generator)[:: len(CODES) + 1]
    bench, mixed, expected = Bench(8, True), [], []
    for (weights, activations), (low, high, others) in zip(narrow, wide, strict=False):
        mixed.append((weights, activations, False))
        mixed.append((packed_operand(low, high), others, True))
        expected += [int(weights @ activations), int(low @ others)]
    bench.run(mixed)
    assert [dot for dot, *_ in bench.found] == expected
    highs = [int(high @ others) for (_, high, others), _ in zip(wide, narrow, strict=False)]
    assert [high for _, high, _ in bench.found[1::2]] == highs


def test_packed_operands_reach_the_dot_product_whole() -> None:
    """Packers in front, as in the lanes: every code against the ends of an activation."""
    top = Module()
    top.submodules.dot = dot = BlockDot(16, True)
    codes = [(Signal(4), Signal(4)) for _ in range(16)]
    for i, (low, high) in enumerate(codes):
        packer = Packer()
        top.submodules += packer
        place = dot.operands[PACKED_BITS * i : PACKED_BITS * (i + 1)]
        top.comb += [packer.low.eq(low), packer.high.eq(high), packer.packed.eq(1)]
        top.comb += place.eq(packer.operand)
    vectors = [np.full(16, -128), np.full(16, 127), 127 - 17 * np.arange(16)]
    # Shifted against each other, so that no sum vanishes.
    lows = np.minimum(np.arange(16) + 3, 15)
    highs = np.maximum(12 - np.arange(16), 0)
    found = []

    def main() -> Process:
        for values in vectors:
            for word in range(2):
                for i, (low, high) in enumerate(codes):
                    yield low.eq(int(lows[i]))
                    yield high.eq(int(highs[i]))
                data = values.astype(np.int8).tobytes()
                yield dot.activations.eq(int.from_bytes(data, "little"))
                yield dot.packed.eq(1)
                yield dot.valid.eq(1)
                yield dot.first.eq(int(word == 0))
                yield dot.last.eq(int(word == 1))
                yield
            yield dot.valid.eq(0)
            for _ in range(dot.latency):
                yield
            assert (yield dot.dot_valid)
            found.append(((yield dot.dot), (yield dot.high)))

    run_simulation(top, [main()])
    expected = [(2 * int(CODES[lows] @ v), 2 * int(CODES[highs] @ v)) for v in vectors]
    assert found == expected
    assert all(low and high for low, high in expected)


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


@given(
    st.lists(
        st.tuples(
            st.integers(-(1 << 19), 1 << 19),
            st.integers(ALIGN_OFFSET - 30, ALIGN_OFFSET + 25) | st.integers(0, 1023),
        ),
        min_size=1,
        max_size=30,
    )
)
@settings(max_examples=15)
def test_aligner_with_any_dot_product(rows: list[tuple[int, int]]) -> None:
    check_aligner(rows)


def test_a_dot_product_without_shifts_stays_where_it_is() -> None:
    """Scale of 1, no activation shift: the accumulator has the products' own fraction bits."""
    check_aligner([(dot, SCALE_BIAS + WEIGHT.fraction + VECTOR.fraction) for dot in ENDS])
