"""From finished rows to their use: scaling, then residual, SwiGLU, rotary, cache or sampler."""

from litex.gen import LiteXModule
from litex.soc.interconnect import stream
from migen import READ_FIRST, Array, Cat, If, Memory, Mux, Signal

from jalgateware.contract.config import EngineConfig
from jalgateware.contract.formats import (
    ACCUMULATOR,
    GUARD_BITS,
    KV,
    MANTISSA,
    VECTOR,
)
from jalgateware.contract.isa import FIELDS, Destination, Format
from jalgateware.units.fifo import NEVER_COLLIDES
from jalgateware.units.lanes import entry_rows
from jalgateware.units.norm import Norm
from jalgateware.units.pipeline import delayed, fits
from jalgateware.units.rotary import Rotary
from jalgateware.units.scaler import SHIFT_BITS, Scaler
from jalgateware.units.swiglu import SwiGlu

ATTENTION = max(Destination) + 1
"""Tag of attention results on their way through the scaler."""

TAG_BITS = 3
INDEX_BITS = FIELDS["rows"][1]
ACCUMULATOR_SHIFT = VECTOR.fraction + GUARD_BITS
"""Fraction bits that the scaler expects of an accumulator without shift."""

COMMANDS = 8
"""Matrices whose rows have not all arrived yet."""


def command_layout() -> list[tuple[str, int]]:
    """Fields of an instruction that the vector unit needs."""
    names = ("destination", "norm", "format", "fraction", "out_shift", "rows", "kv_base")
    return [(name, FIELDS[name][1]) for name in names]


class VectorUnit(LiteXModule):
    """Takes rows from the lanes and heads from attention to where the instruction sends them.

    Rows of a matrix come in pairs: both elements of the first token row, both of the next one, and
    so on, then the next pair; with one token row that is one row after the other.

    Interface: ``command``: one matrix, in the order of the lanes' commands; ``rows``
    {accumulators}: entries of finished rows; ``last_row``: the last token row in use;
    ``attention`` {accumulator, mantissa, shift, row, last}: results of all heads; ``embed_*``:
    elements of a new residual vector (valid-only); ``pair``, ``pair_row`` -> ``cosine``, ``sine``;
    ``head_dim``, ``epsilon``: constant for a model; ``norm``: see
    :class:`~jalgateware.units.norm.Norm`; ``kv_room``: the cache writer takes rows. Leaves:
    ``vector_*`` {value, row, buffer, last, valid}: elements for the quantisers; ``key_base``,
    ``value_base`` and ``kv_*`` {data, index, row, valid} with ``kv_kind`` {Destination}: rows of
    queries, keys and values; ``logit_*``. ``row`` is the token row. ``quiet``: nothing is on its
    way. Latency: ``Scaler.LATENCY`` plus the unit's. Throughput: one element per cycle. Overflow:
    saturates; ``saturated`` counts per cycle. Golden model: ``Machine._deliver`` in
    :mod:`jalgateware.golden.machine`.
    """

    def __init__(self, config: EngineConfig) -> None:
        self._inputs(config)
        self._outputs(config)
        self.norm = Norm(config.tokens)
        self.comb += self.norm.last_row.eq(self.last_row)
        self.scaler = Scaler()
        self._drain(config)
        self._tags()
        self._residual(config)
        self._activate()
        self._rotate(config)
        self._finish()

    def _inputs(self, config: EngineConfig) -> None:
        self.command = stream.Endpoint(command_layout())
        width = ACCUMULATOR.bits * entry_rows(config) * config.tokens
        self.rows = stream.Endpoint([("accumulators", width)])
        self.last_row = Signal(max=max(2, config.tokens))
        self.attention = stream.Endpoint(
            [
                ("accumulator", (ACCUMULATOR.bits, True)),
                ("mantissa", MANTISSA.bits),
                ("shift", (7, True)),
                ("row", len(self.last_row)),
            ]
        )
        self.embed_start = Signal()
        self.embed_value = Signal((VECTOR.bits, True))
        self.embed_index = Signal(max=config.max_dim)
        self.embed_row = Signal.like(self.last_row)
        self.embed_last = Signal()
        self.embed_valid = Signal()
        self.cosine = Signal((16, True))
        self.sine = Signal((16, True))
        self.head_dim = Signal(max=config.max_head_dim + 1)
        self.kv_room = Signal()

    def _outputs(self, config: EngineConfig) -> None:
        self.pair = Signal(max=max(2, config.max_head_dim // 2))
        self.pair_row = Signal.like(self.last_row)
        self.vector_value = Signal((VECTOR.bits, True))
        self.vector_row = Signal.like(self.last_row)
        self.vector_buffer = Signal()
        self.vector_last = Signal()
        self.vector_valid = Signal()
        self.key_base = Signal(FIELDS["kv_base"][1], reset_less=True)
        self.value_base = Signal(FIELDS["kv_base"][1], reset_less=True)
        self.kv_kind = Signal(TAG_BITS)
        self.kv_data = Signal((KV.bits, True))
        self.kv_index = Signal(INDEX_BITS)
        self.kv_row = Signal.like(self.last_row)
        self.kv_valid = Signal()
        self.logit_value = Signal((VECTOR.bits, True))
        self.logit_index = Signal(INDEX_BITS)
        self.logit_row = Signal.like(self.last_row)
        self.logit_last = Signal()
        self.logit_valid = Signal()
        self.saturated = Signal(3)
        self.quiet = Signal()

    def _drain(self, config: EngineConfig) -> None:
        """Decides what enters the scaler: attention results as they come, else the next row."""
        self.queue = queue = stream.SyncFIFO(self.command.description, COMMANDS)
        self.comb += self.command.connect(queue.sink)
        self.active, self.kind = Signal(), Signal(TAG_BITS)
        norm, fraction = Signal(), Signal(FIELDS["fraction"][1])
        self.out_shift = Signal(FIELDS["out_shift"][1])
        last_index, packed = Signal(INDEX_BITS), Signal()
        go, last = Signal(), Signal()
        attention = self.attention
        self._walk(config, go, last, packed)
        self.comb += [
            attention.ready.eq(1),
            last.eq(self._index == last_index),
            go.eq(
                self.active
                & self.rows.valid
                & ~attention.valid
                & (self.norm.valid | ~norm)
                & self.kv_room
            ),
            queue.source.ready.eq(~self.active),
        ]
        # Earlier rows may still need 1/rms when the lanes begin with a matrix that replaces x.
        taken = queue.source.valid & queue.source.ready
        self.comb += self.norm.invalidate.eq(
            self.embed_start | (taken & (queue.source.destination == Destination.RESIDUAL))
        )
        # One register each: a layer's keys are still on their way when its values begin.
        places = ((Destination.KEY, self.key_base), (Destination.VALUE, self.value_base))
        for kind, base in places:
            self.sync += If(
                taken & (queue.source.destination == kind),
                base.eq(queue.source.kv_base),
            )
        self.sync += If(
            taken,
            self.active.eq(1),
            self.kind.eq(queue.source.destination),
            norm.eq(queue.source.norm),
            packed.eq(queue.source.format == Format.MXFP4),
            fraction.eq(queue.source.fraction),
            self.out_shift.eq(queue.source.out_shift),
            last_index.eq(queue.source.rows - 1),
            self._index.eq(0),
            self._lane.eq(0),
        )
        self._enter(config, go, last, norm, fraction)

    def _walk(self, config: EngineConfig, go: Signal, last: Signal, packed: Signal) -> None:
        """Which element of an entry is next: row ``_index``, the ``_lane``-th of its entry."""
        most, tokens = entry_rows(config), config.tokens
        self._index, self._lane = Signal(INDEX_BITS), Signal(max=max(2, most))
        self._row = row = Signal.like(self.last_row)
        index, lane = self._index, self._lane
        plain = config.rows_parallel if tokens == 1 else max(2, config.rows_parallel)
        final = Signal.like(lane)
        self.comb += final.eq(Mux(packed, most - 1, plain - 1) if config.mxfp4 else plain - 1)
        entry_end, row_end, matrix_end = Signal(), Signal(), Signal()
        if tokens == 1:
            self.comb += [row_end.eq(1), entry_end.eq(last | (lane == final))]
            step = [index.eq(index + 1), lane.eq(lane + 1)]
        else:
            # The second row of a pair, or a row without a second one.
            second, last_row = Signal(), Signal()
            self.comb += [
                second.eq(lane[0] | last),
                last_row.eq(row == self.last_row),
                row_end.eq(second & last_row),
                entry_end.eq(row_end & (last | (lane == final))),
            ]
            step = [
                If(~second | last_row, index.eq(index + 1), lane.eq(lane + 1)).Else(
                    index[0].eq(0), lane[0].eq(0)
                ),
                If(second, row.eq(row + 1), If(last_row, row.eq(0))),
            ]
        self.comb += [
            matrix_end.eq(last & row_end),
            self.rows.ready.eq(go & entry_end),
        ]
        self.sync += If(
            go,
            *step,
            If(entry_end, lane.eq(0)),
            If(matrix_end, self.active.eq(0)),
        )

    def _enter(
        self, config: EngineConfig, go: Signal, last: Signal, norm: Signal, fraction: Signal
    ) -> None:
        """The scaler's operands: of the row whose turn it is, or of attention."""
        tokens, scaler, attention = config.tokens, self.scaler, self.attention
        parts = [
            self.rows.accumulators[ACCUMULATOR.bits * i : ACCUMULATOR.bits * (i + 1)]
            for i in range(entry_rows(config) * tokens)
        ]
        rows = []
        for i in range(entry_rows(config)):
            chosen = Signal(ACCUMULATOR.bits)
            self.comb += chosen.eq(Array(parts[tokens * i : tokens * (i + 1)])[self._row])
            rows.append(chosen)
        # The operands are registered: row FIFO and norm are far apart.
        self.enter, self.enter_kind = Signal(), Signal(TAG_BITS)
        self.enter_index, self.enter_last = Signal(INDEX_BITS), Signal()
        self.enter_row = Signal.like(self.last_row)
        row_shift, attention_shift = Signal((SHIFT_BITS, True)), Signal((SHIFT_BITS, True))
        self.comb += [
            If(norm, row_shift.eq(fraction + self.norm.shifts[self._row])).Else(
                row_shift.eq(fraction - ACCUMULATOR_SHIFT)
            ),
            attention_shift.eq(attention.shift),
        ]
        self.sync += [
            self.enter.eq(go | attention.valid),
            self.enter_kind.eq(Mux(attention.valid, ATTENTION, self.kind)),
            self.enter_index.eq(self._index),
            self.enter_row.eq(Mux(attention.valid, attention.row, self._row)),
            self.enter_last.eq(Mux(attention.valid, attention.last, last)),
            If(
                attention.valid,
                scaler.accumulator.eq(attention.accumulator),
                scaler.mantissa.eq(attention.mantissa),
                scaler.shift.eq(attention_shift),
            ).Else(
                scaler.accumulator.eq(Array(rows)[self._lane]),
                scaler.mantissa.eq(
                    Mux(norm, self.norm.mantissas[self._row], 1 << MANTISSA.fraction)
                ),
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
        self.tag_row_early = delayed(self, self.enter_row, wait - 1)
        self.tag_row = delayed(self, self.tag_row_early, 1)
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
        bits = (config.max_dim - 1).bit_length()
        depth = config.max_dim if config.tokens == 1 else config.tokens << bits
        memory = Memory(VECTOR.bits, depth)
        memory.attr = {NEVER_COLLIDES}
        write = memory.get_port(write_capable=True, mode=READ_FIRST)
        read = memory.get_port(mode=READ_FIRST)
        self.specials += memory, write, read
        valid = self._is(Destination.RESIDUAL)
        total = Signal((VECTOR.bits + 1, True))
        old = Signal((VECTOR.bits, True))
        self.comb += [
            read.adr.eq(Cat(self.tag_early[:bits], self.tag_row_early)),
            old.eq(read.dat_r),
        ]
        over = ~fits(total, VECTOR.bits)
        self.x_valid, self.x_last = Signal(), Signal()
        self.x_value = Signal((VECTOR.bits, True))
        self.x_saturated = Signal()
        index, self.x_row = Signal(max=config.max_dim), Signal.like(self.last_row)
        added, was_valid = delayed(self, self.tag_index, 1), delayed(self, valid, 1)
        self.sync += [
            total.eq(self.scaler.result + old),
            self.x_valid.eq(was_valid | self.embed_valid),
            self.x_last.eq(Mux(self.embed_valid, self.embed_last, delayed(self, self.tag_last, 1))),
            self.x_saturated.eq(was_valid & over),
            index.eq(Mux(self.embed_valid, self.embed_index, added)),
            self.x_row.eq(Mux(self.embed_valid, self.embed_row, delayed(self, self.tag_row, 1))),
            self.x_value.eq(total),
            If(over, self.x_value.eq(Mux(total[-1], VECTOR.minimum, VECTOR.maximum))),
            If(self.embed_valid, self.x_value.eq(self.embed_value)),
        ]
        self.comb += [
            write.adr.eq(Cat(index, self.x_row)),
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
        swiglu_row = delayed(self, self.tag_row, SwiGlu.LATENCY)
        # The three sources never meet: each waits for the vector that the one before completes.
        self.sync += [
            self.vector_valid.eq(self.x_valid | swiglu.result_valid | self.attended),
            self.vector_buffer.eq(~self.x_valid),
            If(
                self.x_valid,
                self.vector_value.eq(self.x_value),
                self.vector_row.eq(self.x_row),
                self.vector_last.eq(self.x_last),
            )
            .Elif(
                swiglu.result_valid,
                self.vector_value.eq(swiglu.result),
                self.vector_row.eq(swiglu_row),
                self.vector_last.eq(self.swiglu_last),
            )
            .Else(
                self.vector_value.eq(self.scaler.result),
                self.vector_row.eq(self.tag_row),
                self.vector_last.eq(self.tag_last),
            ),
        ]

    def _rotate(self, config: EngineConfig) -> None:
        """Queries, keys and values, narrowed; and where the next rows go in the cache."""
        self.rotary = rotary = Rotary(config.max_head_dim, len(self.last_row))
        valid = self._is(Destination.QUERY, Destination.KEY, Destination.VALUE)
        kind = Signal(TAG_BITS)
        self.sync += If(valid, kind.eq(self.tag_kind))
        self.comb += [
            rotary.value.eq(self.scaler.result),
            rotary.index.eq(self.tag_index),
            rotary.row.eq(self.tag_row),
            rotary.last_row.eq(self.last_row),
            rotary.rotate.eq(self.tag_kind != Destination.VALUE),
            rotary.shift.eq(self.tag_shift),
            rotary.valid.eq(valid),
            rotary.head_dim.eq(self.head_dim),
            rotary.cosine.eq(self.cosine),
            rotary.sine.eq(self.sine),
            self.pair.eq(rotary.pair),
            self.pair_row.eq(self.tag_row),
            self.kv_data.eq(rotary.result),
            self.kv_index.eq(rotary.result_index),
            self.kv_row.eq(rotary.result_row),
            self.kv_valid.eq(rotary.result_valid),
            # The kind changes no sooner than two rows behind the last row of the kind before.
            self.kv_kind.eq(delayed(self, kind, Rotary.LATENCY - 1)),
            self.logit_value.eq(self.scaler.result),
            self.logit_index.eq(self.tag_index),
            self.logit_row.eq(self.tag_row),
            self.logit_last.eq(self.tag_last),
            self.logit_valid.eq(self._is(Destination.LOGITS)),
        ]

    def _finish(self) -> None:
        """Counts what saturated, and tells when the last row has arrived where it goes."""
        self.comb += self.saturated.eq(
            self.scaler.saturated + self.x_saturated + self.swiglu.saturated + self.rotary.saturated
        )
        way = 1 + Scaler.LATENCY + Rotary.LATENCY + 3
        left = Signal(max=way + 1)
        self.sync += [
            If(left != 0, left.eq(left - 1)),
            If(self.active | self.attention.valid, left.eq(way)),
        ]
        self.sync += self.quiet.eq(
            ~(self.command.valid | self.queue.source.valid | self.active) & (left == 0)
        )
