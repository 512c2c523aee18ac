"""Matrix times vectors: the lanes that eat the weight tape at one word per cycle."""

from typing import Any

from litex.gen import LiteXModule
from litex.soc.interconnect import stream
from migen import Cat, If, Mux, Signal, log2_int

from jalgateware.contract.config import EngineConfig
from jalgateware.contract.formats import (
    ACCUMULATOR,
    ACTIVATION_SHIFT_BITS,
    BLOCK,
    TERM,
    WEIGHT,
    WEIGHT_FP4,
)
from jalgateware.contract.isa import FIELDS, Format
from jalgateware.units.block_dot import Aligner, BlockDot, Packer
from jalgateware.units.fifo import CountedFifo
from jalgateware.units.pipeline import delayed, registered

FP4_EXPONENT = WEIGHT.fraction - WEIGHT_FP4.fraction
"""By how much more an MXFP4 dot product counts than an MXINT8 one."""


def command_layout() -> list[tuple[str, int]]:
    """Fields of an instruction that the lanes need."""
    return [(name, FIELDS[name][1]) for name in ("rows", "blocks", "source", "fraction", "format")]


def entry_rows(config: EngineConfig) -> int:
    """Matrix rows that leave the lanes together, at most.

    Several token rows leave as pairs of matrix rows, because rotary embedding and SwiGLU need both
    rows of a pair for one token before those of the next.
    """
    together = config.rows_parallel << config.mxfp4
    return together if config.tokens == 1 else max(2, together)


OPERAND_STAGES = 2
"""Registers of an operand, from the word or from block RAM to the multiplier."""


class Lanes(LiteXModule):
    """Streams a matrix off the tape and multiplies it with the activations of all token rows.

    ``row = sum over blocks of align(dot(weights, activations))``, rows in tape order.

    Interface: ``command`` {rows, blocks, source, fraction, format}: one matrix; ``sink`` {data}:
    tape words, scales first in each group; ``buffer``, ``address`` -> ``activations``, ``shifts``
    (one per token row) one cycle later (activation buffer read port); ``level``: blocks of the
    selected buffer that are valid in all token rows (the lanes wait for each block on its own);
    ``active``: token rows in use; ``source`` {accumulators: ``entry_rows`` x
    ``tokens`` ACCUMULATORs, the token rows of a matrix row side by side}: finished rows. When
    ``source`` stalls, the lanes stop at the start of a row; ``ROW_FIFO`` entries are in flight at
    most. Latency: ``latency`` cycles from a row's last word to ``source``. Throughput: one tape
    word per cycle, and a cycle between matrices. Overflow: terms saturate (``saturated`` counts
    them per cycle), the accumulator cannot overflow. Golden model:
    :func:`jalgateware.golden.blocks.dot_rows`.
    """

    ROW_FIFO = 16

    def __init__(self, config: EngineConfig) -> None:
        columns, tokens = min(config.lanes, BLOCK), config.tokens
        self.command = stream.Endpoint(command_layout())
        self.sink = stream.Endpoint([("data", config.word_bits)])
        self.buffer = Signal()
        self.address = Signal(max=max(config.max_dim, config.max_hidden) // columns)
        self.activations = [Signal(8 * columns) for _ in range(tokens)]
        self.shifts = [Signal(ACTIVATION_SHIFT_BITS) for _ in range(tokens)]
        self.level = Signal(FIELDS["blocks"][1])
        self.active = Signal(tokens, reset=1)
        width = ACCUMULATOR.bits * entry_rows(config) * tokens
        self.source = stream.Endpoint([("accumulators", width)])
        self.saturated = Signal(max=entry_rows(config) * tokens + 1)
        self.busy = Signal()
        self.stall_weights = Signal()
        self.stall_vector = Signal()

        # # #

        self._config = config
        self._pairs = tokens > 1 and config.rows_parallel == 1
        self._issue(config)
        # Operands are registered twice more: block RAM outputs are slow, and the second register
        # fits into the multiplier.
        flags = delayed(self, self.flags0, OPERAND_STAGES)
        operands = self._operands(config, columns)
        self._aligners = [self._token(t, operands, flags, columns) for t in range(tokens)]
        dot_latency = self._dot_latency
        later = delayed(self, flags, dot_latency + Aligner.LATENCY)
        self.latency = 1 + OPERAND_STAGES + dot_latency + Aligner.LATENCY + 2
        valid = later[0] & later[2]
        first, push, parity, packed = later[3], later[5], later[6], later[7]
        accumulators = [
            self._accumulate(row, t, valid, first, parity, packed)
            for row in range(entry_rows(config))
            for t in range(tokens)
        ]
        self.fifo = fifo = CountedFifo(len(self.source.accumulators), self.ROW_FIFO)
        self.comb += [
            fifo.sink.valid.eq(delayed(self, valid & push, 1)),
            fifo.sink.data.eq(Cat(*accumulators)),
            self.source.valid.eq(fifo.source.valid),
            self.source.accumulators.eq(fifo.source.data),
            fifo.source.ready.eq(self.source.ready),
            self.saturated.eq(
                sum(
                    aligner.saturated & self.active[t] & (packed if high else 1)
                    for t, aligners in enumerate(self._aligners)
                    for (_, high), aligner in aligners.items()
                )
            ),
        ]
        # A cycle behind: who takes rows decides late.
        popped = Signal()
        self.sync += popped.eq(self.source.valid & self.source.ready)
        self.sync += self.in_flight.eq(self.in_flight + self.row_started - popped)

    def _operands(self, config: EngineConfig, columns: int) -> list[Signal]:
        """Multiplier operands of each part of the word, ``OPERAND_STAGES`` behind the word."""
        parts = [
            self.data0[8 * columns * i : 8 * columns * (i + 1)] for i in range(config.rows_parallel)
        ]
        if not config.mxfp4:
            return [registered(self, part, OPERAND_STAGES) for part in parts]
        operands = []
        for part in parts:
            # In MXFP4 the lower half of a part is a row, the upper half the row behind it.
            half = 4 * columns
            packed = []
            for c in range(columns):
                packer = Packer()
                self.submodules += packer
                self.comb += [
                    packer.byte.eq(part[8 * c : 8 * c + 8]),
                    packer.low.eq(part[4 * c : 4 * c + 4]),
                    packer.high.eq(part[half + 4 * c : half + 4 * c + 4]),
                    packer.packed.eq(self.flags0[7]),
                ]
                packed.append(packer.operand)
            operands.append(registered(self, Cat(*packed), OPERAND_STAGES))
        return operands

    def _token(
        self, t: int, operands: list[Signal], flags: Signal, columns: int
    ) -> dict[tuple[int, int], Aligner]:
        """Dot products of a token row: aligners by (part of the word, upper element)."""
        activations = registered(self, self.activations[t], OPERAND_STAGES)
        aligners = {}
        for i, operand in enumerate(operands):
            dot = BlockDot(columns, self._config.mxfp4)
            self.add_module(f"dot{i}_{t}", dot)
            self.comb += [
                dot.operands.eq(operand),
                dot.activations.eq(activations),
                dot.packed.eq(flags[7]),
                Cat(dot.valid, dot.first, dot.last).eq(flags[:3]),
            ]
            self._dot_latency = dot.latency
            for high in range(1 + self._config.mxfp4):
                aligner = Aligner()
                self.add_module(f"aligner{i}_{t}_{high}", aligner)
                self.comb += [
                    aligner.dot.eq(dot.high if high else dot.dot),
                    aligner.valid.eq(dot.dot_valid),
                    aligner.exponent.eq(
                        self._exponent(i, high, t, dot.latency + OPERAND_STAGES - 1)
                    ),
                ]
                aligners[i, high] = aligner
        return aligners

    def _exponent(self, i: int, high: int, t: int, latency: int) -> Signal:
        """Scale byte, activation shift and accumulator fraction, with the block's dot product."""
        mxfp4, packed = self._config.mxfp4, delayed(self, self.flags0[7], 1)
        scales = [self.scale1[8 * k : 8 * k + 8] for k in range(len(self.scale1) // 8)]
        scale = Mux(packed, scales[2 * i + high], scales[i]) if mxfp4 else scales[i]
        chosen = Signal(8)
        self.comb += chosen.eq(scale)
        exponent = Signal(10)
        shift = delayed(self, self.shifts[t], latency)
        fraction = delayed(self, self.fraction0, latency)
        self.sync += exponent.eq(delayed(self, chosen, latency - 1) + shift + fraction)
        return exponent

    def _accumulate(
        self, row: int, t: int, valid: Signal, first: Signal, parity: Signal, packed: Signal
    ) -> Signal:
        """The accumulator of a matrix row of the entry and a token row."""
        aligners, term, enable = self._aligners[t], Signal((TERM.bits, True)), Signal()
        # In MXINT8 pairs of rows share the one part of a word; other rows have a part each.
        plain = aligners.get((0 if self._pairs else row, 0))
        if plain:
            here = (parity == row) if self._pairs else 1
            self.comb += [term.eq(plain.term), enable.eq(valid & here)]
        if self._config.mxfp4:
            wide = aligners[row // 2, row % 2]
            self.comb += If(packed, term.eq(wide.term), enable.eq(valid))
        accumulator = Signal((ACCUMULATOR.bits, True))
        kept = Signal((ACCUMULATOR.bits, True))
        self.comb += If(~first, kept.eq(accumulator))
        self.sync += If(enable, accumulator.eq(kept + term))
        return accumulator

    def _issue(self, config: EngineConfig) -> None:
        """Walks the matrix: which word is next, and may it go.

        Sets ``data0``, ``fraction0`` and ``flags0`` {valid, first and last word of a block, first
        and last block of a row, last word of an entry, second row of a pair, MXFP4} one cycle
        behind a word's hand-over, together with the activations; ``scale1`` two cycles behind it.
        """
        words, command = config.words_per_block, self.command
        # Of the matrix: rows of blocks that are left, blocks of a row, format and binary point.
        self._bundles = Signal(len(command.rows))
        self._packed, self._fraction = Signal(), Signal(len(command.fraction) + 1)
        # Where the next word stands in its block and its group, and whether it has scales.
        self._word, self._parity = Signal(max=max(2, words)), Signal()
        self._group_word, self._need_scale = Signal(max=BLOCK), Signal()
        self.in_flight, self.row_started = Signal(max=self.ROW_FIFO + 1), Signal()
        self._block, self._next_block = Signal.like(self.level), Signal.like(self.level, reset=1)
        block, ready, room = self._block, Signal(), Signal()
        may_start, fire, fire_scale = Signal(), Signal(), Signal()
        last_word, entry = Signal(), Signal()
        # Registered with what they compare.
        self._first_block, self._last_block, self._last_bundle = Signal(), Signal(), Signal()
        self._final_block = Signal(len(command.blocks))
        last_block, last_bundle = self._last_block, self._last_bundle
        parity, packed, need_scale = self._parity, self._packed, self._need_scale
        done = Signal()
        self._first_word = first_word = Signal()
        self.comb += [
            may_start.eq(ready & (room | ~first_word)),
            self.sink.ready.eq(self.busy & (need_scale | may_start)),
            fire_scale.eq(self.busy & need_scale & self.sink.valid),
            fire.eq(self.busy & ~need_scale & may_start & self.sink.valid),
            self.row_started.eq(fire & first_word),
            last_word.eq(self._word == words - 1),
            entry.eq(last_block & ((parity | packed | last_bundle) if self._pairs else 1)),
            self.stall_weights.eq(self.busy & ~self.sink.valid),
            self.stall_vector.eq(self.busy & self.sink.valid & ~need_scale & ~may_start),
            done.eq(fire & last_word & last_block & last_bundle),
            command.ready.eq(~self.busy),
        ]
        # Compared ahead, as the answer reaches as far as the fetch unit. Where a matrix begins, its
        # scales pass while the first block is compared.
        self.sync += [
            ready.eq(block < self.level),
            If(fire & last_word & ~last_block, ready.eq(self._next_block < self.level)),
            room.eq(self.in_flight < self.ROW_FIFO - 1),
        ]
        self.data0, self.flags0 = Signal(config.word_bits, reset_less=True), Signal(8)
        self.fraction0 = Signal.like(self._fraction)
        self.sync += [
            self.flags0.eq(
                Cat(
                    *(fire, self._word == 0, last_word, self._first_block),
                    *(last_block, entry, parity, packed),
                )
            ),
            self.data0.eq(self.sink.data),
            self.fraction0.eq(self._fraction),
        ]
        self._advance(config, fire, fire_scale, last_word, last_block)
        self.sync += [If(done, self.busy.eq(0)), If(command.valid & command.ready, *self._begin())]

    def _advance(
        self,
        config: EngineConfig,
        fire: Signal,
        fire_scale: Signal,
        last_word: Signal,
        last_block: Signal,
    ) -> None:
        """To the next word of the matrix."""
        packed, parity = self._packed, self._parity
        group_end = self._group_word == BLOCK - 1
        if config.mxfp4:
            group_end = Mux(packed, self._group_word == BLOCK // 2 - 1, group_end)
        self._scales(config, fire_scale)
        self.sync += [
            If(fire_scale, self._need_scale.eq(0)),
            If(
                fire,
                self._first_word.eq(
                    last_word & last_block & ((parity | packed) if self._pairs else 1)
                ),
                self._group_word.eq(self._group_word + 1),
                If(group_end, self._need_scale.eq(1), self._group_word.eq(0)),
                self._word.eq(self._word + 1),
                self.address.eq(self.address + 1),
                If(
                    last_word,
                    self._word.eq(0),
                    self._block.eq(self._next_block),
                    self._next_block.eq(self._next_block + 1),
                    self._first_block.eq(0),
                    self._last_block.eq(self._next_block == self._final_block),
                    If(
                        last_block,
                        self._block.eq(0),
                        self._next_block.eq(1),
                        self._first_block.eq(1),
                        self._last_block.eq(self._final_block == 0),
                        self.address.eq(0),
                        self._bundles.eq(self._bundles - 1),
                        self._last_bundle.eq(self._bundles == 1),
                        self._parity.eq(~self._parity & ~packed if self._pairs else 0),
                    ),
                ),
            ),
        ]

    def _scales(self, config: EngineConfig, fire_scale: Signal) -> None:
        """The scales that belong to the word, a cycle behind it: many bits that wait for no one."""
        parallel = config.rows_parallel
        together = parallel << config.mxfp4
        scales, taken, block_done = Signal(config.word_bits, reset_less=True), Signal(), Signal()
        self.scale1 = Signal(8 * together, reset_less=True)
        next_scales = scales[8 * parallel :]
        if config.mxfp4:
            # Shifted, not sliced: two lanes have no scale behind the first two.
            next_scales = Mux(self.flags0[7], scales >> (8 * together), next_scales)
        self.comb += block_done.eq(self.flags0[0] & self.flags0[2])
        self.sync += [
            taken.eq(fire_scale),
            self.scale1.eq(scales[: 8 * together]),
            If(block_done, scales.eq(next_scales)),
            If(taken, scales.eq(self.data0)),
        ]

    def _begin(self) -> list[Any]:
        """Statements that take a command."""
        command, mxfp4 = self.command, self._config.mxfp4
        is_packed = (command.format == Format.MXFP4) if mxfp4 else 0
        bits = log2_int(self._config.rows_parallel)
        count = (command.rows - 1) >> bits
        if mxfp4:
            count = Mux(is_packed, (command.rows - 1) >> (bits + 1), count)
        return [
            self.busy.eq(1),
            self._need_scale.eq(1),
            self._group_word.eq(0),
            self._word.eq(0),
            self._block.eq(0),
            self._next_block.eq(1),
            self._parity.eq(0),
            self.address.eq(0),
            self.buffer.eq(command.source),
            self._packed.eq(is_packed),
            self._fraction.eq(command.fraction + Mux(is_packed, FP4_EXPONENT, 0)),
            self._final_block.eq(command.blocks - 1),
            self._first_word.eq(1),
            self._first_block.eq(1),
            self._last_block.eq(command.blocks == 1),
            self._bundles.eq(count),
            self._last_bundle.eq(count == 0),
        ]
