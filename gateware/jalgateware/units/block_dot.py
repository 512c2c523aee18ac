"""Dot products of blocks: exact, then aligned to the accumulator's binary point."""

from litex.gen import LiteXModule
from migen import Array, Cat, If, Mux, Replicate, Signal

from jalgateware.contract.formats import (
    BLOCK_DOT,
    E2M1_DOUBLED,
    SCALE_BIAS,
    TERM,
    TERM_SHIFT_LIMIT,
    VECTOR,
    WEIGHT,
    WEIGHT_FP4,
)
from jalgateware.units.pipeline import delayed, moved_left, registered_sum

UNDERFLOW = TERM_SHIFT_LIMIT + 2
"""Right shifts of a block's dot product (at most 2**19) by this much and more round to 0."""

ALIGN_OFFSET = SCALE_BIAS + WEIGHT.fraction + VECTOR.fraction
"""Scale byte + activation shift + accumulator fraction, less the left shift of a dot product."""

PACKED_BITS = 18
"""Multiplier operand: a weight in MXINT8, or two in MXFP4, ``FIELD`` bits apart."""

PRODUCT_STAGES = 2
"""Registers behind a multiplier."""

FIELD = 13
"""Bits of a product of a doubled E2M1 element (at most 12) and an activation, and one more."""


class Packer(LiteXModule):
    """A byte of weights as a multiplier's operand: one MXINT8 element, or two of MXFP4.

    ``operand = int8`` or ``low + high * 2**13``, both doubled E2M1 elements.

    Interface: ``byte`` (MXINT8), ``low``, ``high`` (E2M1 codes of the same column in two rows),
    ``packed`` (MXFP4) -> ``operand``; combinational.
    """

    def __init__(self) -> None:
        self.byte = Signal(8)
        self.low = Signal(4)
        self.high = Signal(4)
        self.packed = Signal()
        self.operand = Signal(PACKED_BITS)

        # # #

        # A negative lower element borrows one from the upper one.
        low, high, upper = (Signal(WEIGHT_FP4.bits) for _ in range(3))
        mask = (1 << WEIGHT_FP4.bits) - 1
        both = Signal(PACKED_BITS)
        codes = [value & mask for value in (*E2M1_DOUBLED, *(-size for size in E2M1_DOUBLED))]
        self.comb += [
            low.eq(Array(codes)[self.low]),
            high.eq(Array(codes)[self.high]),
            upper.eq(high - low[-1]),
            both.eq(Cat(low, Replicate(low[-1], FIELD - WEIGHT_FP4.bits), upper)),
            self.operand.eq(
                Mux(
                    self.packed,
                    both,
                    Cat(self.byte, Replicate(self.byte[-1], PACKED_BITS - len(self.byte))),
                )
            ),
        ]


class BlockDot(LiteXModule):
    """Exact dot product of one block's weights and activations, or of two blocks at once.

    ``dot = sum(weight[i] * activation[i])`` over 32 elements, which arrive in one or more words.

    Interface: ``operands`` (a word of int8, or of :class:`Packer`'s operands where the lanes take
    MXFP4), ``activations`` (a word of int8), ``packed``, ``valid``, ``first``, ``last`` (word of a
    block) -> ``dot`` {BLOCK_DOT} with ``dot_valid``, and ``high``, the dot product of the upper
    elements; valid-only. Latency: ``latency`` cycles from the last word. Throughput: one word per
    cycle. Overflow: none, 21 bits hold every sum. Golden model: the matmul in
    :func:`jalgateware.golden.blocks.dot_rows`.
    """

    def __init__(self, columns: int, mxfp4: bool) -> None:
        bits = PACKED_BITS if mxfp4 else WEIGHT.bits
        self.operands = Signal(bits * columns)
        self.activations = Signal(8 * columns)
        self.packed = Signal()
        self.valid = Signal()
        self.first = Signal()
        self.last = Signal()
        self.dot = Signal((BLOCK_DOT.bits, True))
        self.high = Signal((BLOCK_DOT.bits, True))
        self.dot_valid = Signal()

        # # #

        packed = delayed(self, self.packed, PRODUCT_STAGES)
        products, uppers, borrows = [], [], []
        for i in range(columns):
            product = self._product(i, bits)
            if not mxfp4:
                products.append(product)
                continue
            lower, upper = Signal((16, True)), Signal((FIELD, True))
            sign = product[FIELD - 1]
            self.comb += [
                lower.eq(
                    Cat(
                        product[:FIELD], Mux(packed, Replicate(sign, 3), product[FIELD : FIELD + 3])
                    )
                ),
                upper.eq(product[FIELD:]),
            ]
            products.append(lower)
            uppers.append(upper)
            borrows.append(Cat(sign, 0))
        total, depth = registered_sum(self, products)
        wait = PRODUCT_STAGES + depth
        valid = delayed(self, self.valid, wait)
        first = delayed(self, self.first, wait)
        last = delayed(self, self.last, wait)
        kept = Signal((BLOCK_DOT.bits, True))
        self.comb += If(~first, kept.eq(self.dot))
        self.sync += [
            self.dot_valid.eq(valid & last),
            If(valid, self.dot.eq(total + kept)),
        ]
        if mxfp4:
            # What negative lower products borrowed is given back.
            upper_total, _ = registered_sum(self, uppers)
            borrowed, _ = registered_sum(self, [_two_bits(self, item) for item in borrows])
            upper_kept = Signal((BLOCK_DOT.bits, True))
            self.comb += If(~first, upper_kept.eq(self.high))
            self.sync += If(valid, self.high.eq(upper_total + borrowed + upper_kept))
        self.latency = wait + 1

    def _product(self, i: int, bits: int) -> Signal:
        """Product of one element, ``PRODUCT_STAGES`` behind it."""
        operand, activation = Signal((bits, True)), Signal((8, True))
        # Two registers: the first one fits into the multiplier, as nothing resets it, and stays
        # there, wherever the adders are.
        first, product = (Signal((bits + 8, True), reset_less=True) for _ in range(2))
        self.comb += [
            operand.eq(self.operands[bits * i : bits * (i + 1)]),
            activation.eq(self.activations[8 * i : 8 * i + 8]),
        ]
        self.sync += [first.eq(operand * activation), product.eq(first)]
        return product


def _two_bits(module: LiteXModule, value: Cat) -> Signal:
    """A bit as a signed number."""
    signal = Signal((2, True))
    module.comb += signal.eq(value)
    return signal


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
        self.term = Signal((TERM.bits, True), reset_less=True)
        self.term_valid = Signal()
        self.saturated = Signal()

        # # #

        # Stage 1: the left shift, relative to the smallest that matters, within 0..40.
        smallest, largest = ALIGN_OFFSET - UNDERFLOW, ALIGN_OFFSET + TERM_SHIFT_LIMIT
        amount = Signal(6)
        over = Signal()
        dot = Signal((BLOCK_DOT.bits, True), reset_less=True)
        self.sync += [
            over.eq((self.exponent > largest) & (self.dot != 0)),
            amount.eq(self.exponent - smallest),
            If(self.exponent < smallest, amount.eq(0)),
            dot.eq(self.dot),
        ]
        # Stages 2 and 3: barrel shifter, coarse then fine. One fraction bit stays for the rounding.
        wide = BLOCK_DOT.bits + 40
        coarse = Signal((wide, True), reset_less=True)
        fine = Signal((wide - UNDERFLOW + 1, True), reset_less=True)
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
