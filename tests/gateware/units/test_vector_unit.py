"""The vector unit against the golden model: a layer's rows on their way to where they go."""

import random
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from jalgateware.contract.config import EngineConfig
from jalgateware.contract.formats import ACCUMULATOR, SQUARE_SUM_BITS, VECTOR
from jalgateware.contract.isa import Destination
from jalgateware.golden import vector
from jalgateware.golden.blocks import quantise, scale_output, square_sum
from jalgateware.golden.functions import UNIT_MANTISSA, rsqrt
from jalgateware.golden.machine import ACCUMULATOR_SHIFT, RSQRT_SHIFT
from jalgateware.golden.rounding import Integers, Tally, saturate
from jalgateware.units.rsqrt import ReciprocalRoot
from jalgateware.units.vector_unit import Norm, VectorUnit
from jaltest.gateware import Clock, Process, Sender, pulse, simulate

DIM, HIDDEN, HEAD_DIM = 64, 24, 8
EPSILON = 12345

Matrix = tuple[Destination, int, int, int, int]
"""Destination, rows, whether the norm applies, fraction, out_shift."""

LAYER: list[Matrix] = [
    (Destination.QUERY, 32, 1, 20, 5),
    (Destination.KEY, 16, 1, 20, 4),
    (Destination.VALUE, 16, 1, 20, 6),
    (Destination.RESIDUAL, DIM, 0, 21, 0),
    (Destination.SWIGLU, 2 * HIDDEN, 1, 20, 0),
    (Destination.RESIDUAL, DIM, 0, 19, 0),
]
LOGITS: Matrix = (Destination.LOGITS, 21, 1, 20, 0)


def test_norm_and_its_latency() -> None:
    unit = Norm()
    sums = [0, 1, 2, 3, 4, 1 << 32, 64 << 32, (1 << SQUARE_SUM_BITS) - (1 << 33), 987654321]
    found, after = [], []

    def main() -> Process:
        for epsilon in (1, 0xFFFF_FFFF, 2**20):
            yield unit.epsilon.eq(epsilon)
            for value in sums:
                yield unit.square_sum.eq(value)
                yield from pulse(unit.square_sum_valid)
                yield unit.square_sum.eq(0)
                cycles = 0
                while not (yield unit.valid):
                    cycles += 1
                    yield
                after.append(cycles)
                found.append(((yield unit.mantissa), (yield unit.shift)))
                yield
                assert (yield unit.valid)
                yield from pulse(unit.invalidate)
                yield
                assert not (yield unit.valid)

    simulate(unit, [main()])
    roots = [rsqrt(value + e) for e in (1, 0xFFFF_FFFF, 2**20) for value in sums]
    assert found == [(mantissa, k - RSQRT_SHIFT) for mantissa, k in roots]
    # From the cycle of the pulse, which is the one behind the assignment.
    assert set(after) == {ReciprocalRoot.LATENCY + 2}


class Bench:
    """A vector unit; accumulators as the lanes and attention give them; and the golden results."""

    def __init__(self, lanes: int, stall: float, size: int, seed: int = 0) -> None:
        config = EngineConfig(lanes=lanes, max_dim=DIM, max_head_dim=16)
        self.bundle = config.rows_parallel
        self.unit = VectorUnit(config)
        self.clock = Clock()
        self.stall, self.size = stall, size
        self.random = random.Random(seed)
        self.pick = np.random.default_rng(seed)
        self.rope = self.pick.integers(-(1 << 15), 1 << 15, (2, HEAD_DIM // 2))
        self.x = self.pick.integers(-(1 << 20), 1 << 20, DIM)
        self.matrices = [*LAYER, *LAYER, LOGITS]
        self.inputs = [self.values(item[1]) for item in self.matrices]
        heads = LAYER[0][1]
        self.attended = [
            (self.values(heads), self.pick.integers(1 << 16, 1 << 17, heads),
             self.pick.integers(-15, 32, heads)) for _ in range(2)
        ]  # fmt: skip
        self.found: dict[str, list[Any]] = {"vector": [], "kv": [], "logit": []}
        self.finished = {0: 0, 1: 0}
        self.sums: list[int] = []
        self.saturated = 0

    def values(self, count: int) -> Integers:
        """Accumulators of all sizes up to ``size`` bits, with their extremes."""
        bits = self.pick.integers(8, self.size, count)
        values = np.floor(self.pick.uniform(-1, 1, count) * 2.0**bits).astype(np.int64)
        if self.size >= ACCUMULATOR.bits - 1:
            values[:2] = ACCUMULATOR.minimum, ACCUMULATOR.maximum
        return values

    def golden(self) -> tuple[dict[str, list[Any]], Tally]:
        """What leaves the unit, in order; square sums as a by-product."""
        tally, norm, x = Tally(), (0, 0), self.x
        found: dict[str, list[Any]] = {"vector": [], "kv": [], "logit": []}

        def deliver(values: Integers, buffer: int) -> None:
            last = len(values) - 1
            found["vector"] += [(int(v), buffer, int(i == last)) for i, v in enumerate(values)]

        def replace(values: Integers) -> tuple[int, int]:
            deliver(values, 0)
            self.sums.append(square_sum(quantise(values)))
            mantissa, k = rsqrt(self.sums[-1] + EPSILON)
            return mantissa, k - RSQRT_SHIFT

        norm = replace(x)
        attended = iter(self.attended)
        for number, (item, rows) in enumerate(zip(self.matrices, self.inputs, strict=True)):
            kind, count, normed, fraction, out_shift = item
            mantissa, shift = norm if normed else (UNIT_MANTISSA, -ACCUMULATOR_SHIFT)
            y = scale_output(rows, mantissa, fraction + shift, tally)
            if kind in (Destination.QUERY, Destination.KEY, Destination.VALUE):
                if kind is Destination.VALUE:
                    narrow = vector.narrow(y, out_shift, tally)
                else:
                    narrow = vector.rotate(y, self.rope[0], self.rope[1], out_shift, tally)
                base = None if kind is Destination.QUERY else kv_base(number)
                found["kv"] += [
                    (int(kind), index, int(v), None if index else base)
                    for index, v in enumerate(narrow)
                ]
            if kind is Destination.VALUE:
                deliver(scale_output(*next(attended), tally), 1)
            elif kind is Destination.RESIDUAL:
                x = saturate(x + y, VECTOR, tally)
                norm = replace(x)
            elif kind is Destination.SWIGLU:
                deliver(vector.swiglu(y, tally), 1)
            elif kind is Destination.LOGITS:
                found["logit"] += [(int(v), i, int(i == count - 1)) for i, v in enumerate(y)]
        return found, tally

    def embed(self) -> Process:
        unit = self.unit
        yield from pulse(unit.embed_start)
        for index, value in enumerate(self.x):
            while self.random.random() < self.stall:
                yield unit.embed_valid.eq(0)
                yield
            yield unit.embed_valid.eq(1)
            yield unit.embed_value.eq(int(value))
            yield unit.embed_index.eq(index)
            yield unit.embed_last.eq(int(index == DIM - 1))
            yield
        yield unit.embed_valid.eq(0)

    def wait_for_vectors(self, buffer: int, count: int) -> Process:
        while self.finished[buffer] < count:
            assert self.clock.cycle < 20000, self.found
            yield

    def commands(self) -> Process:
        """As the sequencer: none behind attention before that is done."""
        command = self.unit.command
        fields = [command.destination, command.rows, command.norm, command.fraction]
        fields += [command.out_shift, command.kv_base]
        h = 0
        for number, (kind, rows, norm, fraction, out_shift) in enumerate(self.matrices):
            values = (int(kind), rows, norm, fraction, out_shift, kv_base(number))
            yield from Sender(command, fields, [values], self.stall / 2, seed=number).process()
            h += kind in (Destination.VALUE, Destination.SWIGLU)
            if kind is Destination.VALUE:
                yield
                yield from self.wait_until_quiet()
                yield from self.attend(*self.attended[number // len(LAYER)])
                yield from self.wait_for_vectors(1, h)

    def wait_until_quiet(self) -> Process:
        while not (yield self.unit.quiet):
            yield
        assert len(self.found["kv"]) % 64 == 0

    def attend(self, *columns: Integers) -> Process:
        sink = self.unit.attention
        for number, row in enumerate(zip(*columns, strict=True)):
            while self.random.random() < self.stall:
                yield sink.valid.eq(0)
                yield
            signals = (sink.accumulator, sink.mantissa, sink.shift)
            for signal, value in zip(signals, row, strict=True):
                yield signal.eq(int(value))
            yield sink.last.eq(int(number == len(columns[0]) - 1))
            yield sink.valid.eq(1)
            yield
        yield sink.valid.eq(0)

    def rows(self) -> Process:
        """As the lanes: no rows before the vector that they are computed from."""
        sink, bits = self.unit.rows, ACCUMULATOR.bits
        x, h = 1, 0
        for number, (item, rows) in enumerate(zip(self.matrices, self.inputs, strict=True)):
            residual = item[0] is Destination.RESIDUAL
            yield from self.wait_for_vectors(int(residual), h if residual else x)
            padded = [*rows, *[0] * (-len(rows) % self.bundle)]
            words = [
                sum((int(v) & ((1 << bits) - 1)) << (bits * i) for i, v in enumerate(part))
                for part in batches(padded, self.bundle)
            ]
            yield from Sender(sink, [sink.accumulators], words, self.stall, number).process()
            x += residual
            h += item[0] in (Destination.VALUE, Destination.SWIGLU)

    def surroundings(self) -> Process:
        """Rotary table, room in the cache writer, and square sums of complete vectors."""
        yield "passive"
        unit = self.unit
        yield unit.head_dim.eq(HEAD_DIM)
        yield unit.norm.epsilon.eq(EPSILON)
        told = 0
        while True:
            pair = yield unit.pair
            if pair < HEAD_DIM // 2:
                yield unit.cosine.eq(int(self.rope[0, pair]))
                yield unit.sine.eq(int(self.rope[1, pair]))
            yield unit.kv_room.eq(int(self.random.random() >= self.stall))
            if told < self.finished[0] and self.random.random() < 0.1:
                yield unit.norm.square_sum.eq(self.sums[told])
                yield unit.norm.square_sum_valid.eq(1)
                told += 1
            else:
                yield unit.norm.square_sum_valid.eq(0)
            yield

    def watch(self) -> Process:
        yield "passive"
        unit = self.unit
        while True:
            self.saturated += yield unit.saturated
            if (yield unit.vector_valid):
                value, buffer = (yield unit.vector_value), (yield unit.vector_buffer)
                self.found["vector"].append((value, buffer, (yield unit.vector_last)))
                self.finished[buffer] += self.found["vector"][-1][2]
            if (yield unit.kv_valid):
                kind, index = (yield unit.kv_kind), (yield unit.kv_index)
                begins = index == 0 and kind != Destination.QUERY
                base = (yield unit.kv_base) if begins else None
                self.found["kv"].append((kind, index, (yield unit.kv_data), base))
                assert (yield unit.kv_begin) == int(begins)
            if (yield unit.logit_valid):
                logit = (yield unit.logit_value), (yield unit.logit_index)
                self.found["logit"].append((*logit, (yield unit.logit_last)))
            yield

    def check(self) -> int:
        expected, tally = self.golden()

        def main() -> Process:
            yield from self.embed()
            yield from self.commands()
            yield
            yield from self.wait_until_quiet()

        processes = [self.clock.process(), self.watch(), self.surroundings(), self.rows(), main()]
        simulate(self.unit, processes)
        for name, values in expected.items():
            assert self.found[name] == values, name
        assert self.saturated == tally.saturations
        return tally.saturations


def kv_base(number: int) -> int:
    return 1000 * number + 3


def batches(values: list[Any], size: int) -> Iterator[list[Any]]:
    return (values[start : start + size] for start in range(0, len(values), size))


@pytest.mark.parametrize("stall", [0.0, 0.4])
@pytest.mark.parametrize("lanes", [4, 16, 64])
def test_two_layers(lanes: int, stall: float) -> None:
    Bench(lanes, stall, size=24, seed=lanes).check()


@pytest.mark.parametrize("lanes", [16, 64])
def test_saturations_in_every_unit(lanes: int) -> None:
    assert Bench(lanes, 0.2, size=48, seed=lanes).check() > 50
