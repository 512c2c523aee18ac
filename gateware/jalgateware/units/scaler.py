"""Output scaler: from an accumulator to a vector element."""

from typing import Any

from litex.gen import LiteXModule
from migen import Array, Cat, If, Mux, Signal

from jalgateware.contract.formats import (
    ACCUMULATOR,
    GUARD_BITS,
    MANTISSA,
    SCALED,
    SCALER_LEFT_LIMIT,
    VECTOR,
)
from jalgateware.units.pipeline import delayed, fits, held, moved_left, moved_right, registered

SCALER_RIGHT_LIMIT = ACCUMULATOR.bits - 1
"""Largest right shift; larger ones act like it."""

SHIFT_BITS = 8
"""Width of the signed shift."""

AMOUNT_BITS = 6
"""Of the barrel shifter's amount: exactly SCALER_LEFT_LIMIT + SCALER_RIGHT_LIMIT + 1 steps."""
assert 1 << AMOUNT_BITS == SCALER_LEFT_LIMIT + SCALER_RIGHT_LIMIT + 1


class Scaler(LiteXModule):
    """Multiplies an accumulator by a mantissa and a power of two.

    ``y = sat(round(sat(round(x / 2**shift)) * mantissa / 2**18))`` with shift clamped to -16..47.

    Interface: ``accumulator`` {ACCUMULATOR}, ``mantissa`` {MANTISSA}, ``shift`` (8 bits, signed),
    ``valid`` -> ``result`` {VECTOR}, ``result_valid``; valid-only. Latency: ``LATENCY`` cycles.
    Throughput: one per cycle. Overflow: saturates; ``saturated`` is high with such a result. Golden
    model: :func:`jalgateware.golden.blocks.scale_output`.

    A ``slow`` one takes ``SLOW_LATENCY`` cycles, while its operands must stay; a result stays for
    ``SLOW_STAYS`` cycles behind the next operands.
    """

    LATENCY = 8
    SLOW_LATENCY, SLOW_STAYS = 20, 5

    def __init__(self, slow: bool = False) -> None:
        self.latency = self.SLOW_LATENCY if slow else self.LATENCY
        self.accumulator = Signal((ACCUMULATOR.bits, True))
        self.mantissa = Signal(MANTISSA.bits)
        self.shift = Signal((SHIFT_BITS, True))
        self.valid = Signal()
        self.result = Signal((VECTOR.bits, True), reset_less=True)
        self.result_valid = Signal()
        self.saturated = Signal()

        # # #

        shifted = self._shift_slowly() if slow else self._shift()
        self._multiply(shifted, slow)

    def _amount(self) -> tuple[Signal, Signal]:
        """The shift as 0..63 to the right, of the accumulator moved left by 16 and a rounding bit.

        Compared by its bits: LiteX writes negative constants to Verilog without a sign.
        """
        amount = Signal(AMOUNT_BITS)
        moved = Signal((SHIFT_BITS + 1, True))
        extended = Signal((ACCUMULATOR.bits + SCALER_LEFT_LIMIT + 1, True))
        self.comb += [
            moved.eq(self.shift + SCALER_LEFT_LIMIT),
            amount.eq(moved),
            If(moved[AMOUNT_BITS:] != 0, amount.eq(Mux(moved[-1], 0, (1 << AMOUNT_BITS) - 1))),
            extended.eq(moved_left(self.accumulator, SCALER_LEFT_LIMIT + 1, len(extended))),
        ]
        return amount, extended

    def _shift(self) -> Signal:
        """Stage 1: the shift; stages 2 and 3: barrel shifter in steps of 8, then of 1."""
        amount, extended = (registered(self, value, 1) for value in self._amount())
        coarse, fine = Signal.like(extended), Signal.like(extended)
        low = delayed(self, amount[:3], 1)
        self.sync += [
            coarse.eq(Array([moved_right(extended, 8 * i) for i in range(8)])[amount[3:]]),
            fine.eq(Array([moved_right(coarse, i) for i in range(8)])[low]),
        ]
        return fine

    def _shift_slowly(self) -> Signal:
        """Steps of 8, then of 1, one in each cycle: fourteen at most."""
        amount, extended = self._amount()
        coarse, fine = Signal(3), Signal(3)
        shifted = Signal.like(extended, reset_less=True)
        self.sync += (
            If(
                self.valid,
                shifted.eq(extended),
                Cat(fine, coarse).eq(amount),
            )
            .Elif(
                coarse != 0,
                shifted.eq(moved_right(shifted, 8)),
                coarse.eq(coarse - 1),
            )
            .Elif(
                fine != 0,
                shifted.eq(moved_right(shifted, 1)),
                fine.eq(fine - 1),
            )
        )
        return shifted

    def _multiply(self, fine: Signal, slow: bool) -> None:
        """Behind the shifter: round, saturate to SCALED, multiply, saturate to VECTOR."""
        # Stage 4: round; stage 5: saturate to SCALED.
        rounded = Signal((len(fine) + 1, True), reset_less=True)
        scaled = Signal((SCALED.bits, True), reset_less=True)
        clipped = Signal()
        self.sync += rounded.eq((fine + 1) >> 1)
        self._clip(rounded, scaled, clipped, SCALED.maximum, SCALED.minimum)
        # Stages 6 and 7: product of a signed upper and an unsigned lower part, and rounding.
        mantissa = Signal((MANTISSA.bits + 1, True))
        self.comb += mantissa.eq(held(self, self.mantissa, 5, slow))
        cut = MANTISSA.bits
        lower, upper = Signal((cut + 1, True)), Signal((SCALED.bits - cut, True))
        low_product = Signal((2 * cut + 2, True), reset_less=True)
        high_product = Signal((SCALED.bits + 1, True), reset_less=True)
        product = Signal((SCALED.bits + MANTISSA.bits + 1, True), reset_less=True)
        drop = MANTISSA.fraction + GUARD_BITS
        high_part = Signal.like(product)
        self.comb += [
            lower.eq(scaled[:cut]),
            upper.eq(scaled[cut:]),
            high_part.eq(moved_left(high_product, cut, len(product))),
        ]
        self.sync += [
            low_product.eq(lower * mantissa),
            high_product.eq(upper * mantissa),
            product.eq(high_part + low_product + (1 << (drop - 1))),
        ]
        # Stage 8: drop the fraction and saturate to VECTOR.
        shifted = Signal((len(product) - drop, True))
        over = Signal()
        self.comb += shifted.eq(product[drop:])
        self._clip(shifted, self.result, over, VECTOR.maximum, VECTOR.minimum)
        self.comb += [
            self.result_valid.eq(self._late(slow)),
            self.saturated.eq(self.result_valid & (over | held(self, clipped, 3, slow))),
        ]

    def _late(self, slow: bool) -> Any:
        """``valid`` as it was ``latency`` cycles ago; of slow rows, there is one at a time."""
        if not slow:
            return delayed(self, self.valid, self.latency)
        late, left = Signal(), Signal(max=self.latency + 1)
        self.sync += [
            late.eq(left == 2),
            If(self.valid, left.eq(self.latency)).Elif(left != 0, left.eq(left - 1)),
        ]
        return late

    def _clip(
        self, value: Signal, result: Signal, clipped: Signal, maximum: int, minimum: int
    ) -> None:
        """Registered saturation of ``value`` to the width of ``result``."""
        self.sync += [
            clipped.eq(0),
            result.eq(value),
            If(
                ~fits(value, len(result)),
                clipped.eq(1),
                result.eq(Mux(value[-1], minimum, maximum)),
            ),
        ]
