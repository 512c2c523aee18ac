"""A vector unit next to the golden model: a layer's rows on their way to where they go."""

import random
from typing import Any

import numpy as np

from jalgateware.contract.config import ROW_CYCLES, EngineConfig
from jalgateware.contract.formats import ACCUMULATOR, GAIN, VECTOR
from jalgateware.contract.isa import Destination, Format
from jalgateware.contract.tape import rows_together
from jalgateware.golden import vector
from jalgateware.golden.blocks import quantise, scale_output, square_sum
from jalgateware.golden.functions import UNIT_MANTISSA, rsqrt
from jalgateware.golden.machine import ACCUMULATOR_SHIFT, RSQRT_SHIFT
from jalgateware.golden.rounding import Integers, Tally, saturate
from jalgateware.units.lanes import entry_rows
from jalgateware.units.vector_unit import VectorUnit
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
BIASED = {item[0]: item[1] for item in LAYER[:3]}
LOGITS: Matrix = (Destination.LOGITS, 21, 1, 20, 0)

Streams = dict[str, list[list[Any]]]
"""What leaves the unit, by kind and token row."""


class Bench:
    """A vector unit; accumulators as the lanes and attention give them; and the golden results."""

    def __init__(
        self,
        lanes: int,
        stall: float,
        size: int,
        seed: int = 0,
        tokens: int = 1,
        active: int | None = None,
        mxfp4: bool = False,
        options: tuple[str, ...] = (),
    ) -> None:
        sizes: Any = {"max_dim": DIM, "max_hidden": DIM, "max_head_dim": 16}
        flags = dict.fromkeys(options, True)
        config = EngineConfig(lanes, tokens=tokens, mxfp4=mxfp4, **sizes, **flags)
        self.config = config
        self.active = active = active or tokens
        self.unit = VectorUnit(config)
        self.clock = Clock()
        self.stall, self.size = stall, size
        self.random = random.Random(seed)
        self.pick = np.random.default_rng(seed)
        self.rope = self.pick.integers(-(1 << 15), 1 << 15, (active, 2, HEAD_DIM // 2))
        self.x = self.pick.integers(-(1 << 20), 1 << 20, (active, DIM))
        self.matrices = [*LAYER, *LAYER, LOGITS]
        formats = [Format.MXINT8, Format.MXFP4] if mxfp4 else [Format.MXINT8]
        self.formats = [self.random.choice(formats) for _ in self.matrices]
        self.inputs = [self.values(active, item[1]) for item in self.matrices]
        size_of = (active, LAYER[0][1])
        largest = VECTOR.maximum if size >= ACCUMULATOR.bits - 1 else 1 << 20
        self.biases = self.pick.integers(-largest, largest, sum(BIASED.values()))
        self.gains = self.pick.integers(0, GAIN.maximum + 1, 2 * HEAD_DIM)
        self.attended = [
            (self.values(*size_of), self.pick.integers(1 << 16, 1 << 17, size_of),
             self.pick.integers(-15, 32, size_of)) for _ in range(2)
        ]  # fmt: skip
        self.found: Streams = {
            name: [[] for _ in range(active)] for name in ("vector", "kv", "logit")
        }
        self.finished = [[0] * active for _ in range(2)]
        # Complete residual vectors in the order in which they were: (number, token row).
        self.complete: list[tuple[int, int]] = []
        self.sums: dict[tuple[int, int], int] = {}
        self.saturated = 0
        self.logit_cycles: list[int] = []

    def values(self, *size: int) -> Integers:
        """Accumulators of all sizes up to ``size`` bits, with their extremes."""
        scale = 2.0 ** self.pick.integers(8, self.size, size)
        values = np.floor(self.pick.uniform(-1, 1, size) * scale).astype(np.int64)
        if self.size >= ACCUMULATOR.bits - 1:
            values[:, :2] = ACCUMULATOR.minimum, ACCUMULATOR.maximum
        return values

    def golden(self) -> tuple[Streams, Tally]:
        """What leaves the unit, in order; square sums as a by-product."""
        found: Streams = {"vector": [], "kv": [], "logit": []}
        tally = Tally()
        for row in range(self.active):
            streams: dict[str, list[Any]] = {name: [] for name in found}
            self.golden_row(row, streams, tally)
            for name, values in streams.items():
                found[name].append(values)
        return found, tally

    def golden_row(self, row: int, found: dict[str, list[Any]], tally: Tally) -> None:
        number_of_x = 0

        def deliver(values: Integers, buffer: int) -> None:
            last = len(values) - 1
            found["vector"] += [(int(v), buffer, int(i == last)) for i, v in enumerate(values)]

        def replace(values: Integers) -> tuple[int, int]:
            nonlocal number_of_x
            deliver(values, 0)
            total = self.sums[number_of_x, row] = square_sum(quantise(values))
            number_of_x += 1
            mantissa, k = rsqrt(total + EPSILON)
            return mantissa, k - RSQRT_SHIFT

        x, rope = self.x[row], self.rope[row]
        norm = replace(x)
        attended = iter(self.attended)
        for number, (item, rows) in enumerate(zip(self.matrices, self.inputs, strict=True)):
            kind, count, normed, fraction, out_shift = item
            mantissa, shift = norm if normed else (UNIT_MANTISSA, -ACCUMULATOR_SHIFT)
            y = scale_output(rows[row], mantissa, fraction + shift, tally)
            if kind in BIASED:
                y = self.golden_options(kind, y, tally)
                if kind is Destination.VALUE:
                    narrow = vector.narrow(y, out_shift, tally)
                else:
                    narrow = vector.rotate(y, rope[0], rope[1], out_shift, tally)
                base = None if kind is Destination.QUERY else kv_base(number)
                found["kv"] += [(int(kind), i, int(v), base) for i, v in enumerate(narrow)]
            if kind is Destination.VALUE:
                results, mantissas, shifts = (part[row] for part in next(attended))
                deliver(scale_output(results, mantissas, shifts, tally), 1)
            elif kind is Destination.RESIDUAL:
                x = saturate(x + y, VECTOR, tally)
                norm = replace(x)
            elif kind is Destination.SWIGLU:
                deliver(vector.swiglu(y, tally), 1)
            elif kind is Destination.LOGITS:
                found["logit"] += [(int(v), i, int(i == count - 1)) for i, v in enumerate(y)]

    def golden_options(self, kind: Destination, rows: Integers, tally: Tally) -> Integers:
        """Rows with biases, and of heads that are normalised."""
        if self.config.qkv_bias:
            first = sum(count for other, count in BIASED.items() if other < kind)
            rows = vector.add_bias(rows, self.biases[first:][: len(rows)], tally)
        if not self.config.qk_norm or kind is Destination.VALUE:
            return rows
        gains = self.gains[HEAD_DIM if kind is Destination.KEY else 0 :][:HEAD_DIM]
        return vector.normalise_heads(rows, gains, EPSILON, tally)

    def fill_tables(self) -> Process:
        unit = self.unit
        for write, table in ((unit.bias_write, self.biases), (unit.gain_write, self.gains)):
            yield write.eq(1)
            for index, value in enumerate(table):
                yield unit.table_index.eq(index)
                yield unit.table_value.eq(int(value))
                yield
            yield write.eq(0)

    def embed(self) -> Process:
        unit = self.unit
        yield from pulse(unit.embed_start)
        for row in range(self.active):
            yield unit.embed_row.eq(row)
            for index, value in enumerate(self.x[row]):
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
        while min(self.finished[buffer]) < count:
            assert self.clock.cycle < 40000, self.finished
            yield

    def commands(self) -> Process:
        """As the sequencer: none behind attention before that is done."""
        command = self.unit.command
        fields = [command.destination, command.rows, command.norm, command.fraction]
        fields += [command.out_shift, command.kv_base, command.format, command.bias]
        fields += [command.head_norm]
        h = 0
        for number, (kind, rows, norm, fraction, out_shift) in enumerate(self.matrices):
            place, form = kv_base(number), int(self.formats[number])
            normed = self.config.qk_norm and kind in (Destination.QUERY, Destination.KEY)
            options = int(self.config.qkv_bias and kind in BIASED), int(normed)
            values = (int(kind), rows, norm, fraction, out_shift, place, form, *options)
            if kind is Destination.QUERY:
                yield from pulse(self.unit.bias_start)
            yield from Sender(command, fields, [values], self.stall / 2, seed=number).process()
            h += kind in (Destination.VALUE, Destination.SWIGLU)
            if kind is Destination.VALUE:
                yield
                yield from self.wait_until_quiet()
                yield from self.attend(*self.attended[number // len(LAYER)])
                yield from self.wait_for_vectors(1, h)

    def wait_until_quiet(self) -> Process:
        while not (yield self.unit.quiet):
            assert self.clock.cycle < 40000, self.finished
            yield
        assert all(len(row) % 64 == 0 for row in self.found["kv"])

    def attend(self, *columns: Integers) -> Process:
        """Two key/value heads, the token rows of each one behind the other."""
        sink, count = self.unit.attention, columns[0].shape[1]
        order = [
            (row, index)
            for half in (range(count // 2), range(count // 2, count))
            for row in range(self.active)
            for index in half
        ]
        for row, index in order:
            while self.random.random() < self.stall:
                yield sink.valid.eq(0)
                yield
            signals = (sink.accumulator, sink.mantissa, sink.shift)
            for signal, column in zip(signals, columns, strict=True):
                yield signal.eq(int(column[row, index]))
            yield sink.row.eq(row)
            yield sink.last.eq(int(index == count - 1))
            yield sink.valid.eq(1)
            yield
            for _ in range(ROW_CYCLES - 1 if self.config.slow_rows else 0):
                yield sink.valid.eq(0)
                yield
        yield sink.valid.eq(0)

    def entries(self, number: int) -> list[int]:
        """A matrix as the lanes deliver it; what nobody uses is anything."""
        config, bits, rows = self.config, ACCUMULATOR.bits, self.inputs[number]
        together = rows_together(config, self.formats[number])
        together = together if config.tokens == 1 else max(2, together)
        words = []
        for start in range(0, rows.shape[1], together):
            word = self.random.getrandbits(bits * entry_rows(config) * config.tokens)
            for i in range(min(together, rows.shape[1] - start)):
                for t in range(self.active):
                    place = bits * (i * config.tokens + t)
                    word &= ~(((1 << bits) - 1) << place)
                    word |= (int(rows[t, start + i]) & ((1 << bits) - 1)) << place
            words.append(word)
        return words

    def rows(self) -> Process:
        """As the lanes: no rows before the vector that they are computed from."""
        sink = self.unit.rows
        x, h = 1, 0
        for number, item in enumerate(self.matrices):
            residual = item[0] is Destination.RESIDUAL
            yield from self.wait_for_vectors(int(residual), h if residual else x)
            words = self.entries(number)
            yield from Sender(sink, [sink.accumulators], words, self.stall, number).process()
            x += residual
            h += item[0] in (Destination.VALUE, Destination.SWIGLU)

    def surroundings(self) -> Process:
        """Rotary tables, room in the cache writer, and square sums of complete vectors."""
        yield "passive"
        unit = self.unit
        yield unit.last_row.eq(self.active - 1)
        yield unit.head_dim.eq(HEAD_DIM)
        yield unit.norm.epsilon.eq(EPSILON)
        yield unit.head_epsilon.eq(EPSILON)
        told = 0
        while True:
            pair, row = (yield unit.pair), (yield unit.pair_row)
            if pair < HEAD_DIM // 2 and row < self.active:
                yield unit.cosine.eq(int(self.rope[row, 0, pair]))
                yield unit.sine.eq(int(self.rope[row, 1, pair]))
            yield unit.kv_room.eq(int(self.random.random() >= self.stall))
            yield unit.norm.square_sum_valid.eq(0)
            if told < len(self.complete) and self.random.random() < 0.1:
                vector_row = self.complete[told][1]
                yield unit.norm.square_sums[vector_row].eq(self.sums[self.complete[told]])
                yield unit.norm.square_sum_valid.eq(1 << vector_row)
                told += 1
            yield

    def watch(self) -> Process:
        yield "passive"
        unit = self.unit
        while True:
            self.saturated += yield unit.saturated
            if rows := (yield unit.vector_valid):
                value, buffer = (yield unit.vector_value), (yield unit.vector_buffer)
                row, last = (1, 2, 4, 8).index(rows), (yield unit.vector_last)
                self.found["vector"][row].append((value, buffer, last))
                if last and not buffer:
                    self.complete.append((self.finished[0][row], row))
                self.finished[buffer][row] += last
            if (yield unit.kv_valid):
                kind, index = (yield unit.kv_kind), (yield unit.kv_index)
                bases = {Destination.KEY: unit.key_base, Destination.VALUE: unit.value_base}
                base = (yield bases[kind]) if kind in bases else None
                row = yield unit.kv_row
                self.found["kv"][row].append((kind, index, (yield unit.kv_data), base))
            if (yield unit.logit_valid):
                self.logit_cycles.append(self.clock.cycle)
                logit = (yield unit.logit_value), (yield unit.logit_index)
                self.found["logit"][(yield unit.logit_row)].append(
                    (*logit, (yield unit.logit_last))
                )
            yield

    def check(self) -> int:
        expected, tally = self.golden()

        def main() -> Process:
            yield
            yield from self.fill_tables()
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
