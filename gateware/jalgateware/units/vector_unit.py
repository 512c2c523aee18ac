"""From finished rows to their use: scaling, then residual, SwiGLU, rotary, cache or sampler."""

from functools import reduce
from operator import add
from typing import Any

from litex.gen import LiteXModule
from migen import If, Signal

from jalgateware.contract.config import EngineConfig
from jalgateware.contract.formats import KV, TABLE_ENTRY_BITS, VECTOR
from jalgateware.contract.isa import Destination
from jalgateware.units.biases import Biases
from jalgateware.units.head_norm import HeadNorm
from jalgateware.units.loader import table_entries
from jalgateware.units.norm import Norm
from jalgateware.units.pipeline import delayed, held
from jalgateware.units.residual import Residual
from jalgateware.units.rotary import Rotary
from jalgateware.units.row_entry import ATTENTION, HEAD, INDEX_BITS, TAG_BITS, RowEntry
from jalgateware.units.scaler import Scaler
from jalgateware.units.swiglu import SwiGlu


class VectorUnit(LiteXModule):
    """Takes rows from the lanes and heads from attention to where the instruction sends them.

    Rows of a matrix come in pairs: both elements of the first token row, both of the next one, and
    so on, then the next pair; with one token row that is one row after the other.

    Interface: ``command``: one matrix, in the order of the lanes' commands; ``rows``
    {accumulators}: entries of finished rows; ``last_row``: the last token row in use;
    ``attention`` {accumulator, mantissa, shift, row, last}: results of all heads; ``embed_*``:
    elements of a new residual vector (valid-only); ``pair``, ``pair_row`` -> ``cosine``, ``sine``;
    ``head_dim``, ``epsilon``, ``head_epsilon``: constant for a model; ``norm``: see
    :class:`~jalgateware.units.norm.Norm`; ``kv_room``: the cache writer takes rows;
    ``table_index``, ``table_value`` with ``bias_write`` or ``gain_write``: the layer's tables,
    ``bias_start`` (pulse): other biases come. Leaves:
    ``vector_*`` {value, buffer, last, valid: a bit per token row}: elements for the quantisers;
    ``key_base``, ``value_base`` and ``kv_*`` {data, index, row, valid} with ``kv_kind``
    {Destination}: rows of queries, keys and values; ``logit_*``. ``row`` is the token row.
    ``quiet``: nothing is on its way. Latency: the scaler's plus the unit's. Throughput: one
    element per cycle. Overflow: saturates; ``saturated`` counts per cycle. Golden model:
    ``Machine._deliver`` in :mod:`jalgateware.golden.machine`.
    """

    def __init__(self, config: EngineConfig) -> None:
        self._inputs(config)
        self._outputs(config)
        self._slow = slow = config.slow_rows
        self.norm = Norm(config.tokens, config.qk_norm, slow)
        self.comb += self.norm.last_row.eq(self.last_row)
        self.scaler = Scaler(slow)
        self.residual = Residual(config, INDEX_BITS)
        self.biases = Biases(config) if config.qkv_bias else None
        self.head_norm = HeadNorm(config) if config.qk_norm else None
        self.entry = RowEntry(config, self.norm, self.scaler, self.head_norm)
        self.command, self.rows = self.entry.command, self.entry.rows
        self.attention, self.kv_room = self.entry.attention, self.entry.kv_room
        self.key_base, self.value_base = self.entry.key_base, self.entry.value_base
        self.comb += [
            self.entry.last_row.eq(self.last_row),
            self.entry.embed_start.eq(self.embed_start),
        ]
        self._tags()
        if self.biases:
            self._add_biases(self.biases)
        if self.head_norm:
            self._normalise_heads(self.head_norm)
        self._residual()
        self._activate()
        self._rotate(config)
        self._finish()

    def _inputs(self, config: EngineConfig) -> None:
        self.last_row = Signal(max=max(2, config.tokens))
        self.embed_start = Signal()
        self.embed_value = Signal((VECTOR.bits, True))
        self.embed_index = Signal(max=config.max_dim)
        self.embed_row = Signal.like(self.last_row)
        self.embed_last = Signal()
        self.embed_valid = Signal()
        self.cosine = Signal((16, True))
        self.sine = Signal((16, True))
        self.head_dim = Signal(max=config.max_head_dim + 1)
        self.table_index = Signal(max=max(2, table_entries(config)))
        self.table_value = Signal(TABLE_ENTRY_BITS)
        self.bias_write, self.bias_start = Signal(), Signal()
        self.gain_write = Signal()
        self.head_epsilon = Signal(32)

    def _outputs(self, config: EngineConfig) -> None:
        self.pair = Signal(max=max(2, config.max_head_dim // 2))
        self.pair_row = Signal.like(self.last_row)
        self.vector_value = Signal((VECTOR.bits, True))
        self.vector_buffer = Signal()
        self.vector_last = Signal()
        self.vector_valid = Signal(config.tokens)
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

    def _tags(self) -> None:
        """What belongs to a result, beside it."""
        wait, enter, slow = self.scaler.latency, self.entry.enter, self._slow
        self.tag_kind = held(self, enter.kind, wait, slow)
        self.tag_early, self.tag_row_early = (
            held(self, tag, wait - 2, slow) for tag in (enter.index, enter.row)
        )
        self.tag_index = held(self, self.tag_early, 2, slow)
        self.tag_row = held(self, self.tag_row_early, 2, slow)
        self.tag_last = held(self, enter.last, wait, slow)
        self.tag_shift = held(self, self.entry.enter_shift, wait, slow)
        self.row_value = self.scaler.result

    def _is(self, *kinds: int) -> Signal:
        """The scaler's result is of one of these kinds."""
        chosen = Signal()
        for kind in kinds:
            self.comb += If(self.tag_kind == kind, chosen.eq(self.scaler.result_valid))
        return chosen

    def _add_biases(self, biases: Biases) -> None:
        """Rows that have none pass as they are."""
        self.row_value = biases.result
        early = delayed(self, self.entry.enter.biased, Scaler.LATENCY - Biases.AHEAD)
        self.comb += [
            biases.early_valid.eq(early),
            biases.early_odd.eq(self.tag_early[0]),
            biases.early_row.eq(self.tag_row_early),
            biases.last_row.eq(self.last_row),
            biases.value.eq(self.scaler.result),
            biases.table_index.eq(self.table_index),
            biases.table_value.eq(self.table_value),
            biases.write.eq(self.bias_write),
            biases.start.eq(self.bias_start),
        ]

    def _normalise_heads(self, heads: HeadNorm) -> None:
        """Rows wait until their head is complete, then go through the scaler again."""
        norm = self.norm
        self.comb += [
            heads.value.eq(self.row_value),
            heads.valid.eq(self._is(HEAD)),
            heads.head_dim.eq(self.head_dim),
            heads.last_row.eq(self.last_row),
            heads.epsilon.eq(self.head_epsilon),
            norm.head_sum.eq(heads.sum),
            norm.head_sum_valid.eq(heads.sum_valid),
            heads.mantissa.eq(norm.root.mantissa),
            heads.k.eq(norm.root.k),
            heads.root_valid.eq(norm.head_valid),
            heads.table_index.eq(self.table_index),
            heads.table_value.eq(self.table_value),
            heads.write.eq(self.gain_write),
        ]

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
        self.swiglu = swiglu = SwiGlu(self._slow)
        self.attended = self._is(ATTENTION)
        self.comb += [
            swiglu.value.eq(self.scaler.result),
            swiglu.odd.eq(self.tag_index[0]),
            swiglu.valid.eq(self._is(Destination.SWIGLU)),
        ]
        if self._slow:
            self.swiglu_last, swiglu_row = Signal(), Signal.like(self.last_row)
            self.sync += If(
                self.scaler.result_valid,
                self.swiglu_last.eq(self.tag_last),
                swiglu_row.eq(self.tag_row),
            )
        else:
            self.swiglu_last, swiglu_row = (
                delayed(self, tag, SwiGlu.LATENCY) for tag in (self.tag_last, self.tag_row)
            )
        residual = self.residual
        # The three sources never meet: each waits for the vector that the one before completes.
        valid, row = Signal(), Signal.like(self.last_row)
        self.comb += [
            valid.eq(residual.valid | swiglu.result_valid | self.attended),
            If(residual.valid, row.eq(residual.token))
            .Elif(swiglu.result_valid, row.eq(swiglu_row))
            .Else(row.eq(self.tag_row)),
        ]
        self.sync += [
            *[self.vector_valid[t].eq(valid & (row == t)) for t in range(len(self.vector_valid))],
            self.vector_buffer.eq(~residual.valid),
            If(
                residual.valid,
                self.vector_value.eq(residual.value),
                self.vector_last.eq(residual.last),
            )
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
        self.rotary = rotary = Rotary(config.max_head_dim, len(self.last_row), self._slow)
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
            self.kv_kind.eq(held(self, kind, Rotary.LATENCY - 1, self._slow)),
            self.logit_value.eq(self.scaler.result),
            self.logit_index.eq(self.tag_index),
            self.logit_row.eq(self.tag_row),
            self.logit_last.eq(self.tag_last),
            self.logit_valid.eq(self._is(Destination.LOGITS)),
        ]

    def _finish(self) -> None:
        """Counts what saturated, and tells when the last row has arrived where it goes."""
        units: list[Any] = [self.scaler, self.residual, self.swiglu, self.rotary]
        units += [self.biases] if self.biases else []
        self.comb += self.saturated.eq(reduce(add, [unit.saturated for unit in units]))
        way = 1 + self.scaler.latency + Rotary.LATENCY + Rotary.SLOW_GAP * self._slow + 3
        left = Signal(max=way + 1)
        self.sync += [
            If(left != 0, left.eq(left - 1)),
            If(self.entry.active | self.attention.valid, left.eq(way)),
        ]
        self.sync += self.quiet.eq(~(self.entry.waiting | self.entry.active) & (left == 0))
