"""What enters the output scaler, in which order: rows from the lanes, heads again, attention."""

from litex.gen import LiteXModule
from litex.soc.interconnect import stream
from migen import Array, Cat, If, Mux, Signal

from jalgateware.contract.config import ROW_CYCLES, EngineConfig
from jalgateware.contract.formats import ACCUMULATOR, GUARD_BITS, MANTISSA, VECTOR
from jalgateware.contract.isa import FIELDS, Destination, Format
from jalgateware.units.head_norm import HeadNorm
from jalgateware.units.lanes import entry_rows
from jalgateware.units.norm import Norm
from jalgateware.units.pipeline import delayed
from jalgateware.units.scaler import SHIFT_BITS, Scaler

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


class RowEntry(LiteXModule):
    """Feeds the scaler: attention's results as they come, then heads' second turn, then rows.

    Rows of a matrix come in pairs: both elements of the first token row, both of the next one, and
    so on, then the next pair; with one token row that is one row after the other. A matrix whose
    heads are normalised ends when its last head has had its second turn.

    Interface: ``command``, ``rows``, ``attention``, ``last_row``, ``kv_room``: as
    :class:`~jalgateware.units.vector_unit.VectorUnit` has them. ``norm``, ``scaler``, ``heads``:
    units that it reads and feeds. ``embed_start`` (pulse): residual vectors are about to be
    replaced. Leaves, beside the scaler's operands: ``enter`` {kind, index, row, last, biased}.
    ``out_shift``, ``key_base``, ``value_base``: of the matrix that is on, or was the last;
    ``enter_shift``: of the row that enters, a cycle behind ``out_shift``.
    ``active``: one is on; ``waiting``: others are to come. Latency: 1 cycle. Throughput: one
    element per cycle, but a logit every second cycle where it is more than a word of DRAM. Slow
    rows enter ``ROW_CYCLES`` cycles behind each other and behind attention's results, and stay.
    Overflow: none.
    """

    def __init__(
        self, config: EngineConfig, norm: Norm, scaler: Scaler, heads: HeadNorm | None
    ) -> None:
        # In a tuple: as attributes they would be submodules here as well.
        self._units = norm, scaler
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
        self.kv_room = Signal()
        self.key_base = Signal(FIELDS["kv_base"][1], reset_less=True)
        self.value_base = Signal(FIELDS["kv_base"][1], reset_less=True)
        self.kind, self.out_shift = Signal(TAG_BITS), Signal(FIELDS["out_shift"][1])
        self.enter_shift = Signal.like(self.out_shift)
        self.active, self.waiting = Signal(), Signal()
        self.enter = stream.Endpoint(
            [("kind", TAG_BITS), ("index", INDEX_BITS), ("row", len(self.last_row)), ("biased", 1)]
        )

        # # #

        # A matrix' rows enter, then its heads' second turn is awaited.
        self._entering, self._draining = Signal(), Signal()
        self._go, self._taken = Signal(), Signal()
        self._bias, self._normed = Signal(), Signal()
        self._leave, self._head_room = Signal(), Signal(reset=1)
        self._drain(config)
        if heads:
            self._enter_again(heads, config)

    def _drain(self, config: EngineConfig) -> None:
        """Decides what enters the scaler: attention results as they come, else the next row."""
        self.queue = queue = stream.SyncFIFO(self.command.description, COMMANDS)
        self.comb += self.command.connect(queue.sink)
        norm, fraction = Signal(), Signal(FIELDS["fraction"][1])
        last_index, before_last = Signal(INDEX_BITS), Signal(INDEX_BITS)
        packed = Signal()
        go, taken, last = self._go, self._taken, Signal()
        attention = self.attention
        self._walk(config, go, last, packed)
        # Compared ahead: whether the next row is the matrix' last one, and, where it is the first
        # of its pair for another token row, whether that is.
        next_last, again_last = Signal(), Signal()
        pause = Signal()
        if config.slow_rows:
            left = Signal(max=ROW_CYCLES)
            self.comb += pause.eq(left != 0)
            self.sync += [
                If(left != 0, left.eq(left - 1)),
                If(go | attention.valid, left.eq(ROW_CYCLES - 1)),
            ]
        elif config.logits and config.kv_lanes == 1:
            # Two words of DRAM each.
            self.sync += pause.eq(go & (self.kind == Destination.LOGITS))
        self.comb += [
            next_last.eq(self._index == before_last),
            again_last.eq(Cat(0, self._index[1:]) == last_index),
        ]
        self.sync += If(go, last.eq(Mux(self._again, again_last, next_last)))
        self.comb += [
            attention.ready.eq(1),
            go.eq(
                self._entering
                & self.rows.valid
                & ~(attention.valid | self._leave)
                & (self._units[0].valid | ~norm)
                & self.kv_room
                & (self._head_room | ~self._normed)
                & ~pause
            ),
            self.active.eq(self._entering | self._draining),
            self.waiting.eq(self.command.valid | queue.source.valid),
            queue.source.ready.eq(~self.active),
            taken.eq(queue.source.valid & queue.source.ready),
        ]
        # Earlier rows may still need 1/rms when the lanes begin with a matrix that replaces x.
        self.comb += self._units[0].invalidate.eq(
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
            self._entering.eq(1),
            self.kind.eq(queue.source.destination),
            self._bias.eq(queue.source.bias),
            self._normed.eq(queue.source.head_norm),
            norm.eq(queue.source.norm),
            packed.eq(queue.source.format == Format.MXFP4),
            fraction.eq(queue.source.fraction),
            self.out_shift.eq(queue.source.out_shift),
            last_index.eq(queue.source.rows - 1),
            before_last.eq(queue.source.rows - 2),
            last.eq(queue.source.rows == 1),
            self._index.eq(0),
            self._lane.eq(0),
        )
        self._enter(config, go, last, norm, fraction)

    def _walk(self, config: EngineConfig, go: Signal, last: Signal, packed: Signal) -> None:
        """Which element of an entry is next: row ``_index``, the ``_lane``-th of its entry."""
        most, tokens = entry_rows(config), config.tokens
        self._index, self._lane = Signal(INDEX_BITS), Signal(max=max(2, most))
        self._row, self._again = Signal.like(self.last_row), Signal()
        row = self._row
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
                self._again.eq(second & ~last_row),
                entry_end.eq(row_end & (last | (lane == final))),
            ]
            step = [
                If(self._again, index[0].eq(0), lane[0].eq(0)).Else(
                    index.eq(index + 1), lane.eq(lane + 1)
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
            If(matrix_end, self._entering.eq(0), self._draining.eq(self._normed)),
        )

    def _enter(
        self, config: EngineConfig, go: Signal, last: Signal, norm: Signal, fraction: Signal
    ) -> None:
        """The scaler's operands: of the row whose turn it is, or of attention."""
        tokens, scaler, attention = config.tokens, self._units[1], self.attention
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
        row_shift, attention_shift = Signal((SHIFT_BITS, True)), Signal((SHIFT_BITS, True))
        self.comb += [
            If(norm, row_shift.eq(fraction + self._units[0].shifts[self._row])).Else(
                row_shift.eq(fraction - ACCUMULATOR_SHIFT)
            ),
            attention_shift.eq(attention.shift),
        ]
        enter = self.enter
        operands = [
            enter.kind.eq(Mux(attention.valid, ATTENTION, self.kind)),
            enter.index.eq(self._index),
            enter.row.eq(Mux(attention.valid, attention.row, self._row)),
            enter.last.eq(Mux(attention.valid, attention.last, last)),
            enter.biased.eq(go & self._bias),
            self.enter_shift.eq(self.out_shift),
            If(
                attention.valid,
                scaler.accumulator.eq(attention.accumulator),
                scaler.mantissa.eq(attention.mantissa),
                scaler.shift.eq(attention_shift),
            ).Else(
                scaler.accumulator.eq(Array(rows)[self._lane]),
                scaler.mantissa.eq(
                    Mux(norm, self._units[0].mantissas[self._row], 1 << MANTISSA.fraction)
                ),
                scaler.shift.eq(row_shift),
            ),
        ]
        taken = go | attention.valid
        self.sync += [enter.valid.eq(taken), If(taken, *operands) if config.slow_rows else operands]
        self.comb += scaler.valid.eq(enter.valid)

    def _enter_again(self, heads: HeadNorm, config: EngineConfig) -> None:
        """Second turns. New rows go first, as the lanes wait for them, until there is no room."""
        scaler, enter = self._units[1], self.enter
        take = self.kv_room & ~self._go
        if config.kv_lanes == 1:
            # Each row is a word of the cache: fewer rows on their way than ``kv_room`` allows for.
            take = take & ~delayed(self, heads.issue, 1)
        self.comb += [
            heads.admit.eq(self._go & self._normed),
            heads.take.eq(take),
            heads.start.eq(self._taken),
            heads.key.eq(self.kind == Destination.KEY),
            self._leave.eq(heads.leave),
            self._head_room.eq(heads.room),
        ]
        self.sync += [
            If(heads.empty & ~self._entering, self._draining.eq(0)),
            If(self._go & self._normed, enter.kind.eq(HEAD)),
            If(
                heads.leave,
                enter.valid.eq(1),
                enter.kind.eq(self.kind),
                enter.index.eq(heads.leave_index),
                enter.row.eq(heads.leave_row),
                scaler.accumulator.eq(heads.leave_value),
                scaler.mantissa.eq(heads.factor),
                scaler.shift.eq(heads.shift),
            ),
        ]
