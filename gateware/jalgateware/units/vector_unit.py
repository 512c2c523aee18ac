"""From finished rows to their use: scaling, then residual, SwiGLU, rotary, cache or sampler."""

from functools import reduce
from operator import add

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
from jalgateware.units.biases import Biases
from jalgateware.units.fifo import NEVER_COLLIDES
from jalgateware.units.head_norm import HeadNorm
from jalgateware.units.lanes import entry_rows
from jalgateware.units.norm import Norm
from jalgateware.units.pipeline import delayed, fits
from jalgateware.units.residual import Residual
from jalgateware.units.rotary import Rotary
from jalgateware.units.scaler import SHIFT_BITS, Scaler
from jalgateware.units.swiglu import SwiGlu

ATTENTION = max(Destination) + 1
"""Tag of attention results on their way through the scaler."""

HEAD = ATTENTION + 1
"""Tag of rows whose head is normalised before they go where their instruction sends them."""

TAG_BITS = 3
INDEX_BITS = FIELDS["rows"][1]
ACCUMULATOR_SHIFT = VECTOR.fraction + GUARD_BITS
"""Fraction bits that the scaler expects of an accumulator without shift."""

COMMANDS = 8
"""Matrices whose rows have not all arrived yet."""


def command_layout() -> list[tuple[str, int]]:
    """Fields of an instruction that the vector unit needs."""
    names = ("destination", "norm", "format", "fraction", "out_shift", "rows", "kv_base")
    return [(name, FIELDS[name][1]) for name in (*names, "bias", "head_norm")]


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
        self.norm = Norm(config.tokens, heads=config.qk_norm)
        self.comb += self.norm.last_row.eq(self.last_row)
        self.scaler = Scaler()
        self.residual = Residual(config, INDEX_BITS)
        self.biases = Biases(config) if config.qkv_bias else None
        self.head_norm = HeadNorm(config) if config.qk_norm else None
        self.leave, self.head_room = Signal(), Signal(reset=1)
        self._drain(config)
        self._tags()
        if self.head_norm:
            self._normalise_heads(self.head_norm, config)
        self._residual()
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
        self.draining = Signal()
        self.bias, self.heads = Signal(), Signal()
        norm, fraction = Signal(), Signal(FIELDS["fraction"][1])
        self.out_shift = Signal(FIELDS["out_shift"][1])
        rows, packed = Signal(INDEX_BITS), Signal()
        self.go = go = Signal()
        last = Signal()
        attention = self.attention
        self._walk(config, go, last, packed)
        self.comb += [
            attention.ready.eq(1),
            last.eq(self._index == rows - 1),
            go.eq(
                self.active
                & self.rows.valid
                & ~(attention.valid | self.leave)
                & (self.norm.valid | ~norm)
                & self.kv_room
                & (self.head_room | ~self.heads)
            ),
            queue.source.ready.eq(~(self.active | self.draining)),
        ]
        # Earlier rows may still need 1/rms when the lanes begin with a matrix that replaces x.
        self.taken = taken = Signal()
        self.comb += taken.eq(queue.source.valid & queue.source.ready)
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
            self.bias.eq(queue.source.bias),
            self.heads.eq(queue.source.head_norm),
            norm.eq(queue.source.norm),
            packed.eq(queue.source.format == Format.MXFP4),
            fraction.eq(queue.source.fraction),
            self.out_shift.eq(queue.source.out_shift),
            rows.eq(queue.source.rows),
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
            If(matrix_end, self.active.eq(0), self.draining.eq(self.heads)),
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
        self.enter_biased = Signal()
        self.sync += [
            self.enter.eq(go | attention.valid),
            self.enter_kind.eq(Mux(attention.valid, ATTENTION, self.kind)),
            self.enter_index.eq(self._index),
            self.enter_row.eq(Mux(attention.valid, attention.row, self._row)),
            self.enter_last.eq(Mux(attention.valid, attention.last, last)),
            self.enter_biased.eq(go & self.bias),
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
        if self.head_norm:
            self._enter_again(self.head_norm)
        self.comb += scaler.valid.eq(self.enter)

    def _enter_again(self, heads: HeadNorm) -> None:
        """Rows whose head is normalised go through the scaler twice."""
        scaler = self.scaler
        self.sync += [
            If(self.go & self.heads, self.enter_kind.eq(HEAD)),
            If(
                heads.leave,
                self.enter.eq(1),
                self.enter_kind.eq(self.kind),
                self.enter_index.eq(heads.leave_index),
                self.enter_row.eq(heads.leave_row),
                scaler.accumulator.eq(heads.leave_value),
                scaler.mantissa.eq(heads.factor),
                scaler.shift.eq(heads.shift),
            ),
        ]

    def _tags(self) -> None:
        """What belongs to a result, beside it."""
        wait = Scaler.LATENCY
        self.tag_kind = delayed(self, self.enter_kind, wait)
        earlier, row_earlier = (
            delayed(self, tag, wait - 2) for tag in (self.enter_index, self.enter_row)
        )
        self.tag_early = delayed(self, earlier, 1)
        self.tag_index = delayed(self, self.tag_early, 1)
        self.tag_row_early = delayed(self, row_earlier, 1)
        self.tag_row = delayed(self, self.tag_row_early, 1)
        self.tag_last = delayed(self, self.enter_last, wait)
        self.tag_shift = delayed(self, self.out_shift, wait + 1)
        # The results, with biases.
        self.row_value = self.scaler.result
        if self.biases:
            self.row_value = self.biases.result
            self.comb += [
                self.biases.early_valid.eq(delayed(self, self.enter_biased, wait - Biases.AHEAD)),
                self.biases.early_odd.eq(earlier[0]),
                self.biases.early_row.eq(row_earlier),
                self.biases.last_row.eq(self.last_row),
                self.biases.value.eq(self.scaler.result),
            ]

    def _is(self, *kinds: int) -> Signal:
        """The scaler's result is of one of these kinds."""
        chosen = Signal()
        for kind in kinds:
            self.comb += If(self.tag_kind == kind, chosen.eq(self.scaler.result_valid))
        return chosen

    def _normalise_heads(self, heads: HeadNorm, config: EngineConfig) -> None:
        """Rows wait until their head is complete. New ones go first, as the lanes wait for them."""
        norm, take = self.norm, self.kv_room & ~self.go
        if config.kv_lanes == 1:
            # Each row is a word of the cache: fewer rows on their way than ``kv_room`` allows for.
            take = take & ~delayed(self, heads.issue, 1)
        self.comb += [
            heads.admit.eq(self.go & self.heads),
            heads.value.eq(self.row_value),
            heads.valid.eq(self._is(HEAD)),
            heads.take.eq(take),
            heads.start.eq(self.taken),
            heads.key.eq(self.kind == Destination.KEY),
            heads.head_dim.eq(self.head_dim),
            heads.last_row.eq(self.last_row),
            norm.head_sum.eq(heads.sum),
            norm.head_sum_valid.eq(heads.sum_valid),
            heads.mantissa.eq(norm.root.mantissa),
            heads.k.eq(norm.root.k),
            heads.root_valid.eq(norm.head_valid),
            self.leave.eq(heads.leave),
            self.head_room.eq(heads.room),
        ]
        self.sync += If(heads.empty & ~self.active, self.draining.eq(0))

    def _residual(self) -> None:
        """Rows or embeddings to the residual vectors."""
        residual = self.residual
        self.comb += [
            residual.early_index.eq(self.tag_early),
            residual.early_token.eq(self.tag_row_early),
            residual.row.eq(self.scaler.result),
            residual.row_last.eq(self.tag_last),
            residual.row_valid.eq(self._is(Destination.RESIDUAL)),
            residual.embed_value.eq(self.embed_value),
            residual.embed_index.eq(self.embed_index),
            residual.embed_token.eq(self.embed_row),
            residual.embed_last.eq(self.embed_last),
            residual.embed_valid.eq(self.embed_valid),
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
        residual = self.residual
        # The three sources never meet: each waits for the vector that the one before completes.
        self.sync += [
            self.vector_valid.eq(residual.valid | swiglu.result_valid | self.attended),
            self.vector_buffer.eq(~residual.valid),
            If(
                residual.valid,
                self.vector_value.eq(residual.value),
                self.vector_row.eq(residual.token),
                self.vector_last.eq(residual.last),
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
            rotary.value.eq(self.row_value),
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
        units = [self.scaler, self.residual, self.swiglu, self.rotary]
        units += [self.biases] if self.biases else []
        self.comb += self.saturated.eq(reduce(add, [unit.saturated for unit in units]))
        way = 1 + Scaler.LATENCY + Rotary.LATENCY + 2
        left = Signal(max=way + 1)
        self.sync += [
            If(left != 0, left.eq(left - 1)),
            If(self.active | self.draining | self.attention.valid, left.eq(way)),
        ]
        self.comb += self.quiet.eq(
            ~(self.command.valid | self.queue.source.valid | self.active) & (left == 0)
        )
