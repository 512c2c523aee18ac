"""Rotary embedding of adjacent rows, and narrowing of rows to 16 bits."""

from litex.gen import LiteXModule
from migen import Cat, If, Mux, Signal

from jalgateware.contract.formats import KV, ROTATION, VECTOR
from jalgateware.contract.isa import FIELDS
from jalgateware.units.pipeline import delayed, each, fits, held

LOW = 17
"""Bits of a VECTOR in the lower partial product."""


class WideProduct(LiteXModule):
    """Signed 32 x 18 bit product from two 18 x 18 bit multipliers.

    Interface: ``a`` {VECTOR}, ``b`` (18 bits signed) -> ``product`` (50 bits signed); valid-only.
    Latency: ``LATENCY`` cycles. Throughput: one per cycle. Overflow: none.
    Golden model: integer multiplication.
    """

    LATENCY = 2

    def __init__(self) -> None:
        self.a = Signal((VECTOR.bits, True))
        self.b = Signal((18, True))
        self.product = Signal((VECTOR.bits + 18, True), reset_less=True)

        # # #

        lower, upper = Signal((LOW + 1, True)), Signal((VECTOR.bits - LOW, True))
        low_product = Signal((LOW + 1 + 18, True), reset_less=True)
        high_product = Signal((VECTOR.bits - LOW + 18, True), reset_less=True)
        self.comb += [lower.eq(self.a[:LOW]), upper.eq(self.a[LOW:])]
        self.sync += [
            low_product.eq(lower * self.b),
            high_product.eq(upper * self.b),
            self.product.eq((high_product << LOW) + low_product),
        ]


class Rotary(LiteXModule):
    """Rotates adjacent rows by the position's angle and narrows them to KV; or narrows only.

    ``(x0 c - x1 s, x0 s + x1 c)`` for an even row x0 and the odd row x1 behind it, then
    ``sat(round(y / 2**(14 + shift)))``. With ``rotate`` low rows pass through: ``sat(round(x /
    2**shift))``.

    Interface: ``value`` {VECTOR}, ``index`` (row), ``row`` (token row), ``rotate``, ``shift`` (5
    bits), ``valid``: pairs of rows in order, each for all token rows up to ``last_row``,
    valid-only, at most one element per cycle; ``pair`` -> ``cosine``, ``sine`` {ROTATION} one
    cycle later (rotary table of the token row's position, indexed by row within its head / 2);
    ``head_dim`` -> ``result`` {KV}, ``result_index``, ``result_row``, ``result_valid``. Latency:
    ``LATENCY`` cycles, for the first row of a pair counted from the second one; the second row
    follows one cycle behind the first. Throughput: one element per cycle. Overflow: saturates;
    ``saturated`` is high with such a result. Golden model:
    :func:`jalgateware.golden.vector.rotate`, :func:`jalgateware.golden.vector.narrow`.

    A ``slow`` one wants each row to stay for ``LATENCY`` cycles behind its valid; the second row
    of a pair follows ``SLOW_GAP`` cycles behind the first.
    """

    LATENCY = 8
    SLOW_GAP = 7

    def __init__(self, max_head_dim: int, row_bits: int = 1, slow: bool = False) -> None:
        rows_bits = FIELDS["rows"][1]
        self.value = Signal((VECTOR.bits, True))
        self.index = Signal(rows_bits)
        self.row, self.last_row = Signal(row_bits), Signal(row_bits)
        self.rotate = Signal()
        self.shift = Signal(FIELDS["out_shift"][1])
        self.valid = Signal()
        self.head_dim = Signal(max=max_head_dim + 1)
        self.pair = Signal(max=max(2, max_head_dim // 2))
        self.cosine = Signal((ROTATION.bits, True))
        self.sine = Signal((ROTATION.bits, True))
        self.result = Signal((KV.bits, True))
        self.result_index = Signal(rows_bits)
        self.result_row = Signal(row_bits)
        self.result_valid = Signal()
        self.saturated = Signal()

        # # #

        self._look_up(max_head_dim)
        self._turn(rows_bits + row_bits, slow)

    def _turn(self, index_bits: int, slow: bool) -> None:
        """A pair takes two turns through the multipliers: first row's result, then the second's."""
        # Stage 1: rows behind the table look-up; an odd row meets the even row before it.
        value, even = (Signal((VECTOR.bits, True), reset_less=True) for _ in range(2))
        valid, odd, rotate = Signal(), Signal(), Signal()
        index, shift = Signal(index_bits), Signal.like(self.shift)
        take = [
            value.eq(self.value),
            odd.eq(self.index[0]),
            rotate.eq(self.rotate),
            index.eq(Cat(self.index, self.row)),
            shift.eq(self.shift),
        ]
        self.sync += [
            valid.eq(self.valid),
            If(self.valid & ~self.index[0], even.eq(self.value)),
        ]
        if slow:
            self.comb += take
        else:
            self.sync += If(self.valid, *take)
        # The angle that was read for the even row is the odd row's, too: block RAM outputs are
        # slow.
        cosine, sine = (Signal((ROTATION.bits, True), reset_less=True) for _ in range(2))
        self.sync += If(valid & ~odd, cosine.eq(self.cosine), sine.eq(self.sine))
        second, go_first = Signal(), Signal()
        self.comb += go_first.eq(valid & (odd | ~rotate))
        self.comb += second.eq(delayed(self, go_first & rotate, self.SLOW_GAP if slow else 1))
        # What the second turn needs, while the next row arrives.
        kept = operands = [value, even, index, shift]
        if not slow:
            kept = [Signal.like(signal, reset_less=True) for signal in operands]
            self.sync += If(go_first, *each(kept, operands))
        kept_odd, kept_even, kept_index, kept_shift = kept
        left, right = WideProduct(), WideProduct()
        self.left, self.right = left, right
        one = 1 << ROTATION.fraction
        a0, a1 = (Signal((VECTOR.bits, True), reset_less=True) for _ in range(2))
        b0, b1 = (Signal((18, True), reset_less=True) for _ in range(2))
        stage_valid, stage_index = Signal(), Signal(index_bits)
        stage_shift = Signal.like(shift)
        # Stage 2: operands of both products.
        self.sync += [
            stage_valid.eq(go_first | second),
        ]
        operate = [
            If(
                second,
                a0.eq(kept_even),
                b0.eq(sine),
                a1.eq(kept_odd),
                b1.eq(cosine),
                stage_index.eq(kept_index),
                stage_shift.eq(kept_shift),
            )
            .Elif(
                rotate,
                a0.eq(even),
                b0.eq(cosine),
                a1.eq(value),
                b1.eq(-sine),
                stage_index.eq(index - 1),
                stage_shift.eq(shift),
            )
            .Else(
                a0.eq(value),
                b0.eq(one),
                a1.eq(0),
                b1.eq(0),
                stage_index.eq(index),
                stage_shift.eq(shift),
            ),
        ]
        self.sync += If(go_first | second, *operate) if slow else operate
        self.comb += [left.a.eq(a0), left.b.eq(b0), right.a.eq(a1), right.b.eq(b1)]
        later = held(self, stage_shift, WideProduct.LATENCY + 1, slow)
        stage_index = held(self, stage_index, 5, slow)
        self._narrow(left.product, right.product, stage_valid, stage_index, later, slow)

    def _look_up(self, max_head_dim: int) -> None:
        """Position within the head: both rows of a pair use the same angle."""
        within = Signal(max=max_head_dim)
        self.sync += If(
            self.valid & (self.row == self.last_row),
            within.eq(within + 1),
            If(within == self.head_dim - 1, within.eq(0)),
            If(self.index == 0, within.eq(1)),
        )
        self.comb += self.pair.eq(Mux(self.index[1:] == 0, 0, within >> 1))

    def _narrow(
        self,
        left: Signal,
        right: Signal,
        valid: Signal,
        index: Signal,
        later: Signal,
        slow: bool,
    ) -> None:
        """Stage 5: sum; 6 to 8: shift by 14 + shift with a rounding bit, round, saturate."""
        total = Signal((VECTOR.bits + 19, True), reset_less=True)
        shifted = Signal((VECTOR.bits + 19 - ROTATION.fraction + 1, True), reset_less=True)
        rounded = Signal((len(shifted), True), reset_less=True)
        self.sync += [
            total.eq(left + right),
            shifted.eq((total >> (ROTATION.fraction - 1)) >> later),
            rounded.eq((shifted + 1) >> 1),
            self.result.eq(rounded),
            self.saturated.eq(0),
            If(
                ~fits(rounded, KV.bits),
                self.result.eq(Mux(rounded[-1], KV.minimum, KV.maximum)),
                self.saturated.eq(delayed(self, valid, 5)),
            ),
            self.result_valid.eq(delayed(self, valid, 5)),
        ]
        taken = Cat(self.result_index, self.result_row).eq(index)
        if slow:
            self.comb += taken
        else:
            self.sync += taken
