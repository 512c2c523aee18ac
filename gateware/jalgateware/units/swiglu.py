"""SwiGLU on rows that alternate gate and up."""

from litex.gen import LiteXModule
from migen import If, Mux, Signal

from jalgateware.contract.formats import SIGMOID, VECTOR
from jalgateware.units.pipeline import delayed, fits, held, moved_left
from jalgateware.units.rotary import LOW, WideProduct
from jalgateware.units.sigmoid import Sigmoid


class SwiGlu(LiteXModule):
    """``silu(gate) * up``, where silu(g) = g * sigmoid(g).

    Interface: ``value`` {VECTOR}, ``odd`` (low: gate, high: the up row behind it), ``valid``; rows
    in order, valid-only, at most one per cycle -> ``result`` {VECTOR}, ``result_valid``, one per
    pair. Latency: ``LATENCY`` cycles from the up row. Throughput: one pair per two cycles.
    Overflow: saturates; ``saturated`` is high with such a result. Golden model:
    :func:`jalgateware.golden.vector.swiglu`.

    A ``slow`` one wants each row to stay for ``LATENCY`` cycles.
    """

    LATENCY = Sigmoid.LATENCY + WideProduct.LATENCY + 1 + 4

    def __init__(self, slow: bool = False) -> None:
        self.value = Signal((VECTOR.bits, True))
        self.odd = Signal()
        self.valid = Signal()
        self.result = Signal((VECTOR.bits, True))
        self.result_valid = Signal()
        self.saturated = Signal()

        # # #

        gate = Signal.like(self.value)
        self.sync += If(self.valid & ~self.odd, gate.eq(self.value))
        self.sigmoid = sigmoid = Sigmoid()
        # Both rows enter together, when the up row arrives.
        start = self.valid & self.odd
        self.comb += [sigmoid.value.eq(gate), sigmoid.valid_in.eq(start)]
        self.activate = activate = WideProduct()
        self.comb += [
            activate.a.eq(held(self, gate, Sigmoid.LATENCY, slow)),
            activate.b.eq(sigmoid.result),
        ]
        activated = Signal((VECTOR.bits, True), reset_less=True)
        # |g * sigmoid(g)| <= |g|: no saturation here.
        self.sync += activated.eq(
            (activate.product + (1 << (SIGMOID.fraction - 1))) >> SIGMOID.fraction
        )
        before = Sigmoid.LATENCY + WideProduct.LATENCY + 1
        up = held(self, self.value, before, slow)
        # 32 x 32 bits from two 32 x 18 bit products: up = upper * 2**17 + lower.
        upper = Signal((VECTOR.bits - LOW, True))
        self.comb += upper.eq(up[LOW:])
        low, high = WideProduct(), WideProduct()
        self.low, self.high = low, high
        self.comb += [
            low.a.eq(activated),
            low.b.eq(up[:LOW]),
            high.a.eq(activated),
            high.b.eq(upper),
        ]
        product = Signal((2 * VECTOR.bits + 2, True), reset_less=True)
        high_part = Signal.like(product)
        rounded = Signal((len(product) - VECTOR.fraction, True))
        over = Signal()
        self.comb += [
            rounded.eq(product[VECTOR.fraction :]),
            over.eq(~fits(rounded, VECTOR.bits)),
            high_part.eq(moved_left(high.product, LOW, len(product))),
        ]
        valid = delayed(self, start, before + WideProduct.LATENCY + 1)
        self.sync += [
            product.eq(high_part + low.product + (1 << (VECTOR.fraction - 1))),
            self.result.eq(rounded),
            If(over, self.result.eq(Mux(rounded[-1], VECTOR.minimum, VECTOR.maximum))),
            self.result_valid.eq(valid),
            self.saturated.eq(valid & over),
        ]
