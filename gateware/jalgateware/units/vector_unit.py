"""From finished rows to their use: scaling, then residual, SwiGLU, rotary, cache or sampler."""

from litex.gen import LiteXModule
from litex.soc.interconnect import stream
from migen import READ_FIRST, Array, If, Memory, Mux, Signal

from jalgateware.contract.config import EngineConfig
from jalgateware.contract.formats import (
    ACCUMULATOR,
    GUARD_BITS,
    KV,
    MANTISSA,
    SQUARE_SUM_BITS,
    VECTOR,
)
from jalgateware.contract.isa import FIELDS, Destination
from jalgateware.units.fifo import NEVER_COLLIDES
from jalgateware.units.pipeline import delayed, fits
from jalgateware.units.reset import spare_reset
from jalgateware.units.rotary import Rotary
from jalgateware.units.rsqrt import ReciprocalRoot
from jalgateware.units.scaler import SHIFT_BITS, Scaler
from jalgateware.units.swiglu import SwiGlu

ATTENTION = max(Destination) + 1
"""Tag of attention results on their way through the scaler."""

TAG_BITS = 3
INDEX_BITS = FIELDS["rows"][1]
ACCUMULATOR_SHIFT = VECTOR.fraction + GUARD_BITS
"""Fraction bits that the scaler expects of an accumulator without shift."""

RSQRT_SHIFT = 33
"""From rsqrt's exponent to the scaler's shift: 32 (unit of the square sum) + GUARD_BITS - 1."""

COMMANDS = 8
"""Matrices whose rows have not all arrived yet."""


def command_layout() -> list[tuple[str, int]]:
    """Fields of an instruction that the vector unit needs."""
    names = ("destination", "norm", "fraction", "out_shift", "rows", "kv_base")
    return [(name, FIELDS[name][1]) for name in names]


class Norm(LiteXModule):
    """1/rms of the residual vector, held until the vector is replaced.

    Interface: ``square_sum``, ``square_sum_valid``: a complete vector; ``epsilon`` {2**-32 units};
    ``invalidate`` (pulse): the vector is about to change -> ``mantissa`` {MANTISSA}, ``shift``
    (scaler shift but for the accumulator's fraction bits), ``valid``. Latency:
    ``ReciprocalRoot.LATENCY`` + 2 cycles. Throughput: one vector at a time. Overflow: none; epsilon
    is at least 1. Golden model: ``Machine._set_residual`` in :mod:`jalgateware.golden.machine`.
    """

    def __init__(self) -> None:
        self.square_sum = Signal(SQUARE_SUM_BITS)
        self.square_sum_valid = Signal()
        self.epsilon = Signal(32)
        self.invalidate = Signal()
        self.mantissa = Signal(MANTISSA.bits)
        self.shift = Signal((SHIFT_BITS, True))
        self.valid = Signal()

        # # #

        self.root = root = ReciprocalRoot()
        self.sync += [
            root.value.eq(self.square_sum + self.epsilon),
            root.valid_in.eq(self.square_sum_valid),
            If(
                root.valid_out,
                self.mantissa.eq(root.mantissa),
                self.shift.eq(root.k - RSQRT_SHIFT),
                self.valid.eq(1),
            ),
            If(self.invalidate, self.valid.eq(0)),
        ]
        spare_reset(self, self.valid, root.valid_in)


class VectorUnit(LiteXModule):
    """Takes rows from the lanes and heads from attention to where the instruction sends them.

    Interface: ``command``: one matrix, in the order of the lanes' commands; ``rows``
    {accumulators}: bundles of finished rows; ``attention`` {accumulator, mantissa, shift, last}:
    results of all heads; ``embed_*``: elements of a new residual vector (valid-only); ``pair`` ->
    ``cosine``, ``sine``; ``head_dim``, ``epsilon``: constant for a model; ``norm``: see
    :class:`Norm`; ``kv_room``: the cache writer takes rows. Leaves: ``vector_*`` {value, buffer,
    last, valid}: elements for the quantiser; ``kv_begin``, ``kv_base`` and ``kv_*`` {data, index,
    valid} with ``kv_kind`` {Destination}: rows of queries, keys and values; ``logit_*``. ``quiet``:
    nothing is on its way. Latency: ``Scaler.LATENCY`` plus the unit's. Throughput: one element per
    cycle. Overflow: saturates; ``saturated`` counts per cycle. Golden model: ``Machine._deliver``
    in :mod:`jalgateware.golden.machine`.
    """

    def __init__(self, config: EngineConfig) -> None:
        self.command = stream.Endpoint(command_layout())
        self.rows = stream.Endpoint([("accumulators", ACCUMULATOR.bits * config.rows_parallel)])
        self.attention = stream.Endpoint(
            [
                ("accumulator", (ACCUMULATOR.bits, True)),
                ("mantissa", MANTISSA.bits),
                ("shift", (7, True)),
            ]
        )
        self.embed_start = Signal()
        self.embed_value = Signal((VECTOR.bits, True))
        self.embed_index = Signal(max=config.max_dim)
        self.embed_last = Signal()
        self.embed_valid = Signal()
        self.pair = Signal(max=max(2, config.max_head_dim // 2))
        self.cosine = Signal((16, True))
        self.sine = Signal((16, True))
        self.head_dim = Signal(max=config.max_head_dim + 1)
        self.kv_room = Signal()
        self.vector_value = Signal((VECTOR.bits, True))
        self.vector_buffer = Signal()
        self.vector_last = Signal()
        self.vector_valid = Signal()
        self.kv_begin = Signal()
        self.kv_base = Signal(FIELDS["kv_base"][1])
        self.kv_kind = Signal(TAG_BITS)
        self.kv_data = Signal((KV.bits, True))
        self.kv_index = Signal(INDEX_BITS)
        self.kv_valid = Signal()
        self.logit_value = Signal((VECTOR.bits, True))
        self.logit_index = Signal(INDEX_BITS)
        self.logit_last = Signal()
        self.logit_valid = Signal()
        self.saturated = Signal(3)
        self.quiet = Signal()

        # # #

        self.norm = Norm()
        self.scaler = Scaler()
        self._drain(config)
        self._tags()
        self._residual(config)
        self._activate()
        self._rotate(config)
        self._finish()

    def _drain(self, config: EngineConfig) -> None:
        """Feeds the scaler: attention results as they come, else rows of the current command."""
        bundle = config.rows_parallel
        self.queue = queue = stream.SyncFIFO(self.command.description, COMMANDS)
        self.comb += self.command.connect(queue.sink)
        self.active, self.kind = Signal(), Signal(TAG_BITS)
        norm, fraction = Signal(), Signal(FIELDS["fraction"][1])
        self.out_shift = Signal(FIELDS["out_shift"][1])
        index, rows, lane = Signal(INDEX_BITS), Signal(INDEX_BITS), Signal(max=max(2, bundle))
        go, last = Signal(), Signal()
        attention = self.attention
        self.comb += [
            attention.ready.eq(1),
            last.eq(index == rows - 1),
            go.eq(
                self.active
                & self.rows.valid
                & ~attention.valid
                & (self.norm.valid | ~norm)
                & self.kv_room
            ),
            self.rows.ready.eq(go & (last | (lane == bundle - 1))),
            queue.source.ready.eq(~self.active),
        ]
        # Earlier rows may still need 1/rms when the lanes begin with a matrix that replaces x.
        taken = queue.source.valid & queue.source.ready
        self.comb += self.norm.invalidate.eq(
            self.embed_start | (taken & (queue.source.destination == Destination.RESIDUAL))
        )
        # One register each: a layer's keys are still on their way when its values begin.
        key_base, value_base = (Signal(FIELDS["kv_base"][1]) for _ in range(2))
        for kind, base in ((Destination.KEY, key_base), (Destination.VALUE, value_base)):
            self.sync += If(
                taken & (queue.source.destination == kind),
                base.eq(queue.source.kv_base),
            )
        self.comb += self.kv_base.eq(Mux(self.kv_kind == Destination.VALUE, value_base, key_base))
        self.sync += [
            If(
                go,
                index.eq(index + 1),
                lane.eq(lane + 1),
                If(lane == bundle - 1, lane.eq(0)),
                If(last, self.active.eq(0)),
            ),
            If(
                taken,
                self.active.eq(1),
                self.kind.eq(queue.source.destination),
                norm.eq(queue.source.norm),
                fraction.eq(queue.source.fraction),
                self.out_shift.eq(queue.source.out_shift),
                rows.eq(queue.source.rows),
                index.eq(0),
                lane.eq(0),
            ),
        ]
        scaler = self.scaler
        parts = [
            self.rows.accumulators[ACCUMULATOR.bits * i : ACCUMULATOR.bits * (i + 1)]
            for i in range(bundle)
        ]
        # The scaler's operands are registered: row FIFO and norm are far apart.
        self.enter, self.enter_kind = Signal(), Signal(TAG_BITS)
        self.enter_index, self.enter_last = Signal(INDEX_BITS), Signal()
        row_shift, attention_shift = Signal((SHIFT_BITS, True)), Signal((SHIFT_BITS, True))
        self.comb += [
            If(norm, row_shift.eq(fraction + self.norm.shift)).Else(
                row_shift.eq(fraction - ACCUMULATOR_SHIFT)
            ),
            attention_shift.eq(attention.shift),
        ]
        self.sync += [
            self.enter.eq(go | attention.valid),
            self.enter_kind.eq(Mux(attention.valid, ATTENTION, self.kind)),
            self.enter_index.eq(index),
            self.enter_last.eq(Mux(attention.valid, attention.last, last)),
            If(
                attention.valid,
                scaler.accumulator.eq(attention.accumulator),
                scaler.mantissa.eq(attention.mantissa),
                scaler.shift.eq(attention_shift),
            ).Else(
                scaler.accumulator.eq(Array(parts)[lane]),
                scaler.mantissa.eq(Mux(norm, self.norm.mantissa, 1 << MANTISSA.fraction)),
                scaler.shift.eq(row_shift),
            ),
        ]
        self.comb += scaler.valid.eq(self.enter)

    def _tags(self) -> None:
        """What belongs to a result, beside it."""
        wait = Scaler.LATENCY
        self.tag_kind = delayed(self, self.enter_kind, wait)
        self.tag_early = delayed(self, self.enter_index, wait - 1)
        self.tag_index = delayed(self, self.tag_early, 1)
        self.tag_last = delayed(self, self.enter_last, wait)
        self.tag_shift = delayed(self, self.out_shift, wait + 1)

    def _is(self, *kinds: int) -> Signal:
        """The scaler's result is of one of these kinds."""
        chosen = Signal()
        for kind in kinds:
            self.comb += If(self.tag_kind == kind, chosen.eq(self.scaler.result_valid))
        return chosen

    def _residual(self, config: EngineConfig) -> None:
        """X += row, saturated; or x = embedding. The new element goes on to the quantiser."""
        memory = Memory(VECTOR.bits, config.max_dim)
        memory.attr = {NEVER_COLLIDES}
        write = memory.get_port(write_capable=True, mode=READ_FIRST)
        read = memory.get_port(mode=READ_FIRST)
        self.specials += memory, write, read
        valid = self._is(Destination.RESIDUAL)
        total = Signal((VECTOR.bits + 1, True))
        old = Signal((VECTOR.bits, True))
        self.comb += [read.adr.eq(self.tag_early), old.eq(read.dat_r)]
        over = ~fits(total, VECTOR.bits)
        self.x_valid, self.x_last = Signal(), Signal()
        self.x_value = Signal((VECTOR.bits, True))
        self.x_saturated = Signal()
        index = Signal(max=config.max_dim)
        added, was_valid = delayed(self, self.tag_index, 1), delayed(self, valid, 1)
        self.sync += [
            total.eq(self.scaler.result + old),
            self.x_valid.eq(was_valid | self.embed_valid),
            self.x_last.eq(Mux(self.embed_valid, self.embed_last, delayed(self, self.tag_last, 1))),
            self.x_saturated.eq(was_valid & over),
            index.eq(Mux(self.embed_valid, self.embed_index, added)),
            self.x_value.eq(total),
            If(over, self.x_value.eq(Mux(total[-1], VECTOR.minimum, VECTOR.maximum))),
            If(self.embed_valid, self.x_value.eq(self.embed_value)),
        ]
        self.comb += [
            write.adr.eq(index),
            write.dat_w.eq(self.x_value),
            write.we.eq(self.x_valid),
        ]

    def _activate(self) -> None:
        """Elements for buffer H: SwiGLU of row pairs, or attention's results as they are."""
        self.swiglu = swiglu = SwiGlu()
        valid = self._is(Destination.SWIGLU)
        self.attended = self._is(ATTENTION)
        self.comb += [
            swiglu.value.eq(self.scaler.result),
            swiglu.odd.eq(self.tag_index[0]),
            swiglu.valid.eq(valid),
        ]
        self.swiglu_last = delayed(self, self.tag_last, SwiGlu.LATENCY)
        # The three sources never meet: each waits for the vector that the one before completes.
        self.sync += [
            self.vector_valid.eq(self.x_valid | swiglu.result_valid | self.attended),
            self.vector_buffer.eq(~self.x_valid),
            If(self.x_valid, self.vector_value.eq(self.x_value), self.vector_last.eq(self.x_last))
            .Elif(
                swiglu.result_valid,
                self.vector_value.eq(swiglu.result),
                self.vector_last.eq(self.swiglu_last),
            )
            .Else(
                self.vector_value.eq(self.scaler.result),
                self.vector_last.eq(self.tag_last),
            ),
        ]

    def _rotate(self, config: EngineConfig) -> None:
        """Queries, keys and values, narrowed; and where the next rows go in the cache."""
        self.rotary = rotary = Rotary(config.max_head_dim)
        valid = self._is(Destination.QUERY, Destination.KEY, Destination.VALUE)
        kind = Signal(TAG_BITS)
        self.sync += If(valid, kind.eq(self.tag_kind))
        self.comb += [
            rotary.value.eq(self.scaler.result),
            rotary.index.eq(self.tag_index),
            rotary.rotate.eq(self.tag_kind != Destination.VALUE),
            rotary.shift.eq(self.tag_shift),
            rotary.valid.eq(valid),
            rotary.head_dim.eq(self.head_dim),
            rotary.cosine.eq(self.cosine),
            rotary.sine.eq(self.sine),
            self.pair.eq(rotary.pair),
            self.kv_data.eq(rotary.result),
            self.kv_index.eq(rotary.result_index),
            self.kv_valid.eq(rotary.result_valid),
            # The kind changes no sooner than two rows behind the last row of the kind before.
            self.kv_kind.eq(delayed(self, kind, Rotary.LATENCY - 1)),
            self.kv_begin.eq(
                rotary.result_valid
                & (rotary.result_index == 0)
                & (self.kv_kind != Destination.QUERY)
            ),
            self.logit_value.eq(self.scaler.result),
            self.logit_index.eq(self.tag_index),
            self.logit_last.eq(self.tag_last),
            self.logit_valid.eq(self._is(Destination.LOGITS)),
        ]

    def _finish(self) -> None:
        """Counts what saturated, and tells when the last row has arrived where it goes."""
        self.comb += self.saturated.eq(
            self.scaler.saturated + self.x_saturated + self.swiglu.saturated + self.rotary.saturated
        )
        way = 1 + Scaler.LATENCY + Rotary.LATENCY + 2
        left = Signal(max=way + 1)
        self.sync += [
            If(left != 0, left.eq(left - 1)),
            If(self.active | self.attention.valid, left.eq(way)),
        ]
        self.comb += self.quiet.eq(
            ~(self.command.valid | self.queue.source.valid | self.active) & (left == 0)
        )
