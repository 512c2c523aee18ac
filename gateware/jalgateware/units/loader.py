"""Table look-ups at the start of a token: its embedding row and the position's rotary angles."""

from typing import Any

from litex.gen import LiteXModule
from litex.soc.interconnect import stream
from migen import READ_FIRST, Array, Cat, If, Memory, Mux, Signal, log2_int

from jalgateware.contract.config import EngineConfig
from jalgateware.contract.formats import (
    BLOCK,
    ROTATION,
    SCALE,
    SCALE_BIAS,
    TABLE_ENTRY_BITS,
    TOKEN_BITS,
    VECTOR,
    WEIGHT,
)
from jalgateware.contract.isa import FIELDS
from jalgateware.units.fifo import NEVER_COLLIDES
from jalgateware.units.head_norm import gain_address_bits
from jalgateware.units.pipeline import delayed, registered

SMALLEST_EXPONENT = -9
"""Below it an element times a power of two rounds to 0 in any case."""

LARGEST_EXPONENT = 24
"""Above it an element does not fit a VECTOR; the exponent is clamped."""


class Dequantiser(LiteXModule):
    """An MXINT8 element as VECTOR: ``round(element * 2**clip(scale - 127 - 6 + 16, -9, 24))``.

    Interface: ``element`` (8 bits signed), ``scale`` {SCALE} -> ``value`` {VECTOR}; valid-only.
    Latency: ``LATENCY`` cycles. Throughput: one per cycle. Overflow: none within the clamped
    exponents. Golden model: ``Machine._embedding`` in :mod:`jalgateware.golden.machine`.
    """

    LATENCY = 3

    def __init__(self) -> None:
        self.element = Signal((WEIGHT.bits, True))
        self.scale = Signal(SCALE.bits)
        self.value = Signal((VECTOR.bits, True))

        # # #

        # Stage 1: left shift above the smallest exponent, with a rounding bit (1..34).
        zero = SCALE_BIAS + WEIGHT.fraction - VECTOR.fraction + SMALLEST_EXPONENT - 1
        most = LARGEST_EXPONENT - SMALLEST_EXPONENT + 1
        amount, element = Signal(max=most + 1), Signal((WEIGHT.bits, True))
        self.sync += [
            amount.eq(self.scale - zero),
            If(self.scale < zero + 1, amount.eq(1)),
            If(self.scale > zero + most, amount.eq(most)),
            element.eq(self.element),
        ]
        # Stage 2: shift; stage 3: drop what lies below the rounding bit and round.
        wide = Signal((WEIGHT.bits + most, True))
        kept = Signal((WEIGHT.bits + most + SMALLEST_EXPONENT, True))
        self.comb += kept.eq(wide >> -SMALLEST_EXPONENT)
        self.sync += [wide.eq(element << amount), self.value.eq((kept + 1) >> 1)]


def table_entries(config: EngineConfig) -> int:
    """Entries of the largest table that BIASES or GAINS may bring."""
    biases = config.bias_rows if config.qkv_bias else 0
    return max(biases, 1 << gain_address_bits(config) if config.qk_norm else 0)


def table_words(config: EngineConfig) -> int:
    """Engine words of as many entries."""
    return table_entries(config) * TABLE_ENTRY_BITS // config.word_bits


class Loader(LiteXModule):
    """Executes EMBED, ROPE, BIASES and GAINS: unpacks their words, one element per cycle.

    Words of EMBED and ROPE come token row by token row.

    Interface: ``start_embed`` with ``tokens``, ``blocks``; ``start_rope`` with ``words``,
    ``head_dim``; ``last_row``: the last token row in use; ``busy``; ``sink`` {data}: the
    instruction's words, for EMBED a word of scales before the words of each block; EMBED's elements
    leave as ``value`` {VECTOR}, ``index``, ``row``, ``last``, ``valid`` (valid-only); ROPE's stay
    in a table: ``pair``, ``pair_row`` -> ``cosine``, ``sine`` {ROTATION} one cycle later. With
    ``start_table`` and ``words``, the entries of BIASES and GAINS leave as ``table_value`` (two
    elements), ``table_index``, ``table_valid`` (valid-only). Latency:
    ``Dequantiser.LATENCY`` + 2 cycles from a word to its first element. Throughput: one element per
    cycle. Overflow: none. Golden model: ``Machine._embedding``, ``Machine._rotation`` in
    :mod:`jalgateware.golden.machine`.
    """

    def __init__(self, config: EngineConfig) -> None:
        self.start_embed = Signal()
        self.start_rope = Signal()
        self.start_table = Signal()
        self.tokens = [Signal(TOKEN_BITS) for _ in range(config.tokens)]
        self.last_row = Signal(max=max(2, config.tokens))
        self.blocks = Signal(FIELDS["blocks"][1])
        self.words = Signal(max(8, table_words(config).bit_length()))
        self.head_dim = Signal(max=config.max_head_dim + 1)
        self.busy = Signal()
        self.sink = stream.Endpoint([("data", config.word_bits)])
        self.value = Signal((VECTOR.bits, True))
        self.index = Signal(max=config.max_dim)
        self.row = Signal.like(self.last_row)
        self.last = Signal()
        self.valid = Signal()
        self.pair = Signal(max=max(2, config.max_head_dim // 2))
        self.pair_row = Signal.like(self.last_row)
        self.cosine = Signal((ROTATION.bits, True))
        self.sine = Signal((ROTATION.bits, True))
        self.table_index = Signal(max=max(2, table_entries(config)))
        self.table_value = Signal(TABLE_ENTRY_BITS)
        self.table_valid = Signal()

        # # #

        self._table = Signal()

        self._unpack(config)

    def _unpack(self, config: EngineConfig) -> None:
        """Takes words and shifts their elements out, row by row."""
        embed, need_scale = Signal(), Signal()
        word, left = Signal(config.word_bits), Signal(max=max(BLOCK, config.kv_lanes) + 1)
        taken, load, load_scale = Signal(), Signal(), Signal()
        chunks, more = Signal(max(9, len(self.words))), Signal()
        # Whether a word that is taken now finds the one before it gone in the next cycle.
        room = Signal(reset=1)
        scale, member = Signal(SCALE.bits), Signal(max=config.lanes)
        words_left = Signal(max=max(2, config.words_per_block + 1))
        # The token row whose words come, and that whose elements leave.
        row, begin, word_last = Signal.like(self.last_row), Signal(), Signal()
        self._leaving, block_end, row_end = Signal.like(row), Signal(), Signal()
        chosen = delayed(self, begin, 1)
        ready, elements = delayed(self, chosen, 1), Signal.like(left)
        # Words come from afar: they are used a cycle behind their hand-over, with what held then.
        data, place = registered(self, self.sink.data, 1), delayed(self, member, 1)
        ends, here = delayed(self, row_end, 1), delayed(self, row, 1)
        scales = Array([data[8 * i : 8 * i + 8] for i in range(config.lanes)])
        self.comb += [
            self.sink.ready.eq(room & more),
            taken.eq(self.sink.valid & self.sink.ready),
            elements.eq(Mux(embed, min(config.lanes, BLOCK), config.kv_lanes)),
            block_end.eq(~embed | (words_left == 1)),
            row_end.eq(block_end & (chunks == 1)),
        ]
        last, valid = (left == 1) & word_last, left != 0
        # Of a row but the last one, the next has begun by then.
        more_rows = more | load | begin | chosen | ready
        self.sync += [
            If(last & ~more_rows, self.busy.eq(0)),
            load.eq(taken & ~need_scale),
            load_scale.eq(taken & need_scale),
            room.eq(left <= 3),
            If(left != 0, left.eq(left - 1), word.eq(Mux(embed, word >> 8, word >> 16))),
            If(load_scale, scale.eq(scales[place])),
            If(
                load,
                word.eq(self._part(config, data, place, embed)),
                left.eq(elements),
                room.eq(elements <= 2),
                word_last.eq(ends),
                self._leaving.eq(here),
            ),
            If(taken & need_scale, need_scale.eq(0), words_left.eq(config.words_per_block)),
            If(
                taken & ~need_scale,
                room.eq(elements <= 1),
                words_left.eq(words_left - 1),
                If(
                    block_end,
                    chunks.eq(chunks - 1),
                    need_scale.eq(embed & (chunks != 1)),
                    member.eq(member + config.rows_parallel),
                ),
                If(
                    row_end,
                    more.eq(0),
                    If((row != self.last_row) & ~self._table, begin.eq(1), row.eq(row + 1)),
                ),
            ),
            If(begin, begin.eq(0)),
            If(
                ready,
                more.eq(1),
                need_scale.eq(embed),
                chunks.eq(Mux(embed, self.blocks, self.words)),
                member.eq(self._first_member(config, row)),
            ),
            If(
                self.start_embed | self.start_rope | self.start_table,
                embed.eq(self.start_embed),
                self._table.eq(self.start_table),
                row.eq(0),
                begin.eq(1),
                self.busy.eq(1),
            ),
        ]
        self._deliver(config, embed & valid, word, scale, last)
        self._store(config, ~embed & valid, word, last)

    def _part(self, config: EngineConfig, data: Signal, place: Signal, embed: Signal) -> Any:
        """Expression: a block's part of the word, which its place among bundled rows gives."""
        if config.lanes <= BLOCK:
            return data
        parts = [data[8 * BLOCK * i :] for i in range(config.rows_parallel)]
        return Mux(embed, Array(parts)[place[: log2_int(config.rows_parallel)]], data)

    def _first_member(self, config: EngineConfig, row: Signal) -> Any:
        """Place within its group of the first block of the token's row, modulo lanes.

        It is that of the row two cycles ago: which token, and its product.
        """
        bundle_bits = log2_int(config.rows_parallel)
        lane_bits = log2_int(config.lanes)
        product = Signal(lane_bits, reset_less=True)
        token = Signal(bundle_bits + lane_bits, reset_less=True)
        self.sync += [
            token.eq(Array(self.tokens)[row]),
            product.eq(token[bundle_bits:] * self.blocks[:lane_bits]),
        ]
        if not bundle_bits:
            return product
        bundled = delayed(self, token[:bundle_bits], 1)
        return Cat(bundled, product[: lane_bits - bundle_bits])

    def _deliver(
        self, config: EngineConfig, valid: Signal, word: Signal, scale: Signal, last: Signal
    ) -> None:
        self.dequantiser = dequantiser = Dequantiser()
        index = Signal(max=config.max_dim)
        self.sync += [
            If(valid, index.eq(index + 1)),
            If((valid & last) | self.start_embed, index.eq(0)),
        ]
        wait = Dequantiser.LATENCY
        self.comb += [
            dequantiser.element.eq(word[:8]),
            dequantiser.scale.eq(scale),
            self.value.eq(dequantiser.value),
            self.valid.eq(delayed(self, valid, wait)),
            self.index.eq(delayed(self, index, wait)),
            self.row.eq(delayed(self, self._leaving, wait)),
            self.last.eq(delayed(self, last, wait)),
        ]

    def _store(self, config: EngineConfig, valid: Signal, word: Signal, last: Signal) -> None:
        """Rotary table: cosine and sine of a pair in one entry; or another table's entries."""
        pairs = max(2, config.max_head_dim // 2)
        depth = pairs if config.tokens == 1 else config.tokens << (pairs - 1).bit_length()
        table = Memory(2 * ROTATION.bits, depth)
        table.attr = {NEVER_COLLIDES}
        write = table.get_port(write_capable=True, mode=READ_FIRST)
        read = table.get_port(mode=READ_FIRST)
        self.specials += table, write, read
        most = max(2 * config.max_head_dim, 2 * config.kv_lanes, 2 * table_entries(config))
        position = Signal(max=most)
        cosine = Signal(ROTATION.bits)
        self.sync += [
            If(valid, position.eq(position + 1), cosine.eq(word[: ROTATION.bits])),
            If((valid & last) | self.start_rope | self.start_table, position.eq(0)),
        ]
        self.comb += [
            write.adr.eq(Cat(position[1 : 1 + len(self.pair)], self._leaving)),
            write.dat_w.eq(Cat(cosine, word[: ROTATION.bits])),
            write.we.eq(valid & position[0] & (position < self.head_dim) & ~self._table),
            self.table_index.eq(position >> 1),
            self.table_value.eq(write.dat_w),
            self.table_valid.eq(valid & position[0] & self._table),
            read.adr.eq(Cat(self.pair, self.pair_row)),
            self.cosine.eq(read.dat_r[: ROTATION.bits]),
            self.sine.eq(read.dat_r[ROTATION.bits :]),
        ]
