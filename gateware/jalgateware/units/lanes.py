"""Matrix times vector: the MXINT8 lanes that eat the weight tape at one word per cycle."""

from litex.gen import LiteXModule
from litex.soc.interconnect import stream
from migen import Array, Cat, If, Signal, log2_int

from jalgateware.contract.config import EngineConfig
from jalgateware.contract.formats import (
    ACCUMULATOR,
    ACTIVATION_SHIFT_BITS,
    BLOCK,
    BLOCK_DOT,
    SCALE_BIAS,
    TERM,
    TERM_SHIFT_LIMIT,
    VECTOR,
    WEIGHT,
)
from jalgateware.contract.isa import FIELDS
from jalgateware.units.pipeline import delayed, moved_left, registered_sum

UNDERFLOW = TERM_SHIFT_LIMIT + 2
"""Right shifts of a block's dot product (at most 2**19) by this much and more round to 0."""

ALIGN_OFFSET = SCALE_BIAS + WEIGHT.fraction + VECTOR.fraction
"""Scale byte + activation shift + accumulator fraction, less the left shift of a dot product."""


def command_layout() -> list[tuple[str, int]]:
    """Fields of an instruction that the lanes need."""
    return [(name, FIELDS[name][1]) for name in ("rows", "blocks", "source", "fraction")]


class BlockDot(LiteXModule):
    """Exact dot product of one block's weights and activations.

    ``dot = sum(weight[i] * activation[i])`` over 32 elements, which arrive in one or more words.

    Interface: ``weights``, ``activations`` (words of int8), ``valid``, ``first``, ``last`` (word of
    a block) -> ``dot`` {BLOCK_DOT} with ``dot_valid``; valid-only. Latency: ``latency`` cycles from
    the last word. Throughput: one word per cycle. Overflow: none, 21 bits hold every sum. Golden
    model: the matmul in :func:`jalgateware.golden.blocks.dot_rows`.
    """

    def __init__(self, lanes: int) -> None:
        self.weights = Signal(8 * lanes)
        self.activations = Signal(8 * lanes)
        self.valid = Signal()
        self.first = Signal()
        self.last = Signal()
        self.dot = Signal((BLOCK_DOT.bits, True))
        self.dot_valid = Signal()

        # # #

        products = []
        for i in range(lanes):
            weight = Signal((8, True))
            activation = Signal((8, True))
            product = Signal((16, True))
            self.comb += weight.eq(self.weights[8 * i : 8 * i + 8])
            self.comb += activation.eq(self.activations[8 * i : 8 * i + 8])
            self.sync += product.eq(weight * activation)
            products.append(product)
        total, depth = registered_sum(self, products)
        valid = delayed(self, self.valid, 1 + depth)
        first = delayed(self, self.first, 1 + depth)
        last = delayed(self, self.last, 1 + depth)
        kept = Signal((BLOCK_DOT.bits, True))
        self.comb += If(~first, kept.eq(self.dot))
        self.sync += [
            self.dot_valid.eq(valid & last),
            If(valid, self.dot.eq(total + kept)),
        ]
        self.latency = 2 + depth


class Aligner(LiteXModule):
    """Brings a block's dot product to the accumulator's binary point.

    ``term = floor(dot * 2**(exponent - ALIGN_OFFSET) + 1/2)``, saturated to TERM.

    Interface: ``dot`` {BLOCK_DOT}, ``exponent`` (10 bits: scale byte + activation shift + fraction)
    -> ``term`` {TERM}; valid-only, ``valid`` -> ``term_valid``. Latency: ``LATENCY`` cycles.
    Throughput: one per cycle. Overflow: saturates; ``saturated`` is high with the term. Golden
    model: :func:`jalgateware.golden.blocks.align`.
    """

    LATENCY = 4

    def __init__(self) -> None:
        self.dot = Signal((BLOCK_DOT.bits, True))
        self.exponent = Signal(10)
        self.valid = Signal()
        self.term = Signal((TERM.bits, True))
        self.term_valid = Signal()
        self.saturated = Signal()

        # # #

        # Stage 1: the left shift, relative to the smallest that matters, within 0..40.
        smallest, largest = ALIGN_OFFSET - UNDERFLOW, ALIGN_OFFSET + TERM_SHIFT_LIMIT
        amount = Signal(6)
        over = Signal()
        dot = Signal((BLOCK_DOT.bits, True))
        self.sync += [
            over.eq((self.exponent > largest) & (self.dot != 0)),
            amount.eq(self.exponent - smallest),
            If(self.exponent < smallest, amount.eq(0)),
            dot.eq(self.dot),
        ]
        # Stages 2 and 3: barrel shifter, coarse then fine. One fraction bit stays for the rounding.
        wide = BLOCK_DOT.bits + 40
        coarse = Signal((wide, True))
        fine = Signal((wide - UNDERFLOW + 1, True))
        low = delayed(self, amount[:3], 1)
        self.sync += coarse.eq(Array([moved_left(dot, 8 * i, wide) for i in range(6)])[amount[3:]])
        self.sync += fine.eq(
            Array([moved_left(coarse, i, wide)[UNDERFLOW - 1 :] for i in range(8)])[low]
        )
        # Stage 4: round and saturate.
        is_over = delayed(self, over, 2)
        negative = delayed(self, dot[-1], 2)
        self.sync += [
            self.term.eq((fine + 1) >> 1),
            If(is_over & negative, self.term.eq(TERM.minimum)),
            If(is_over & ~negative, self.term.eq(TERM.maximum)),
            self.term_valid.eq(delayed(self, self.valid, 3)),
            self.saturated.eq(is_over & delayed(self, self.valid, 3)),
        ]


class Lanes(LiteXModule):
    """Streams a matrix off the tape and multiplies it with an activation buffer.

    ``row = sum over blocks of align(dot(weights, activations))``, rows in tape order.

    Interface: ``command`` {rows, blocks, source, fraction}: one matrix; ``sink`` {data}: tape
    words, scales first in each group; ``buffer``, ``address`` -> ``activations``, ``shift`` one
    cycle later (activation buffer read port); ``ready_blocks``: blocks of the selected buffer that
    are valid already (the lanes wait for each block on its own); ``source`` {accumulators:
    rows_parallel ACCUMULATORs}: finished rows. When ``source`` stalls, the lanes stop at the start
    of a row; ``ROW_FIFO`` rows are in flight at most. Latency: ``latency`` cycles from a row's last
    word to ``source``. Throughput: one tape word per cycle. Overflow: terms saturate (``saturated``
    counts them per cycle), the accumulator cannot overflow. Golden model:
    :func:`jalgateware.golden.blocks.dot_rows`.
    """

    ROW_FIFO = 16

    def __init__(self, config: EngineConfig) -> None:
        bundle, width = config.rows_parallel, min(config.lanes, BLOCK)
        self.command = stream.Endpoint(command_layout())
        self.sink = stream.Endpoint([("data", config.word_bits)])
        self.buffer = Signal()
        self.address = Signal(max=max(config.max_dim, config.max_hidden) // width)
        self.activations = Signal(8 * width)
        self.shift = Signal(ACTIVATION_SHIFT_BITS)
        self.ready_blocks = Signal(FIELDS["blocks"][1])
        self.source = stream.Endpoint([("accumulators", ACCUMULATOR.bits * bundle)])
        self.saturated = Signal(max=bundle + 1)
        self.busy = Signal()
        self.stall_weights = Signal()
        self.stall_vector = Signal()

        # # #

        self._issue(config)

        # Operands are registered once more: block RAM outputs are slow.
        data = delayed(self, self.data0, 1)
        activations = delayed(self, self.activations, 1)
        exponents = []
        for i in range(bundle):
            exponent = Signal(10)
            scale = self.scale0[8 * i : 8 * i + 8]
            self.sync += exponent.eq(scale + self.shift + self.fraction0)
            exponents.append(exponent)
        flags = delayed(self, self.flags0, 1)

        rows = [
            self._row(i, data[8 * width * i : 8 * width * (i + 1)], activations, exponent, flags)
            for i, exponent in enumerate(exponents)
        ]
        accumulators = [row[0] for row in rows]
        finished = rows[0][1]
        self.comb += self.saturated.eq(sum(row[2] for row in rows))

        self.fifo = fifo = stream.SyncFIFO(self.source.description, self.ROW_FIFO)
        self.comb += [
            fifo.sink.valid.eq(finished),
            fifo.sink.accumulators.eq(Cat(*accumulators)),
            fifo.source.connect(self.source),
        ]
        popped = Signal()
        self.comb += popped.eq(self.source.valid & self.source.ready)
        self.sync += self.in_flight.eq(self.in_flight + self.row_started - popped)

    def _row(
        self,
        i: int,
        weights: Signal,
        activations: Signal,
        exponent: Signal,
        flags: Signal,
    ) -> tuple[Signal, Signal, Signal]:
        """One of the rows that share a word: (accumulator, finished, saturated)."""
        dot = BlockDot(len(activations) // 8)
        aligner = Aligner()
        self.add_module(f"dot{i}", dot)
        self.add_module(f"aligner{i}", aligner)
        later = delayed(self, flags, dot.latency)
        self.comb += [
            dot.weights.eq(weights),
            dot.activations.eq(activations),
            Cat(dot.valid, dot.first, dot.last).eq(flags[:3]),
            aligner.dot.eq(dot.dot),
            aligner.valid.eq(dot.dot_valid),
            aligner.exponent.eq(delayed(self, exponent, dot.latency)),
        ]
        row_flags = delayed(self, later[3:5], aligner.LATENCY)
        accumulator = Signal((ACCUMULATOR.bits, True))
        kept = Signal((ACCUMULATOR.bits, True))
        self.comb += If(~row_flags[0], kept.eq(accumulator))
        self.sync += If(aligner.term_valid, accumulator.eq(kept + aligner.term))
        self.latency = 2 + dot.latency + aligner.LATENCY + 2
        return accumulator, delayed(self, aligner.term_valid & row_flags[1], 1), aligner.saturated

    def _issue(self, config: EngineConfig) -> None:
        """Walks the matrix: which word is next, and may it go.

        Sets ``data0``, ``scale0`` and ``flags0`` {valid, first and last word of a block, first and
        last block of a row} one cycle behind a word's hand-over, together with the activations.
        """
        bundle, words = config.rows_parallel, config.words_per_block
        command = self.command
        bundles = Signal(len(command.rows))
        block, word = Signal(len(command.blocks)), Signal(max=max(2, words))
        group_words, need_scale = Signal(max=BLOCK), Signal()
        scales = Signal(config.word_bits)
        blocks, fraction = Signal(len(command.blocks)), Signal(len(command.fraction))
        self.fraction0 = Signal.like(fraction)
        self.in_flight, self.row_started = Signal(max=self.ROW_FIFO + 1), Signal()
        may_start, fire, fire_scale = Signal(), Signal(), Signal()
        last_word, last_block, last_bundle = Signal(), Signal(), Signal()
        self.data0, self.scale0, self.flags0 = (
            Signal(config.word_bits),
            Signal(8 * bundle),
            Signal(5),
        )
        first_word = (word == 0) & (block == 0)
        self.comb += [
            may_start.eq(
                (block < self.ready_blocks) & ((self.in_flight != self.ROW_FIFO) | ~first_word)
            ),
            self.sink.ready.eq(self.busy & (need_scale | may_start)),
            fire_scale.eq(self.busy & need_scale & self.sink.valid),
            fire.eq(self.busy & ~need_scale & may_start & self.sink.valid),
            self.row_started.eq(fire & first_word),
            last_word.eq(word == words - 1),
            last_block.eq(block == blocks - 1),
            last_bundle.eq(bundles == 0),
            self.stall_weights.eq(self.busy & ~self.sink.valid),
            self.stall_vector.eq(self.busy & self.sink.valid & ~need_scale & ~may_start),
        ]
        done = Signal()
        self.comb += done.eq(fire & last_word & last_block & last_bundle)
        self.comb += command.ready.eq(~self.busy | done)
        self.sync += [
            self.flags0.eq(Cat(fire, word == 0, last_word, block == 0, last_block)),
            self.data0.eq(self.sink.data),
            self.scale0.eq(scales[: 8 * bundle]),
            self.fraction0.eq(fraction),
            If(fire_scale, scales.eq(self.sink.data), need_scale.eq(0)),
            If(
                fire,
                group_words.eq(group_words + 1),
                If(group_words == BLOCK - 1, need_scale.eq(1)),
                word.eq(word + 1),
                self.address.eq(self.address + 1),
                If(
                    last_word,
                    word.eq(0),
                    scales.eq(scales[8 * bundle :]),
                    block.eq(block + 1),
                    If(
                        last_block,
                        block.eq(0),
                        self.address.eq(0),
                        bundles.eq(bundles - 1),
                    ),
                ),
            ),
            If(done, self.busy.eq(0)),
            If(
                command.valid & command.ready,
                self.busy.eq(1),
                need_scale.eq(1),
                group_words.eq(0),
                word.eq(0),
                block.eq(0),
                self.address.eq(0),
                self.buffer.eq(command.source),
                fraction.eq(command.fraction),
                blocks.eq(command.blocks),
                bundles.eq((command.rows - 1) >> log2_int(bundle)),
            ),
        ]
