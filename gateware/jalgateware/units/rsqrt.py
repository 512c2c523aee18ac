"""Reciprocal square root of a positive integer, one per cycle."""

from litex.gen import LiteXModule
from migen import Cat, Signal

from jalgateware.contract.formats import MANTISSA, SQUARE_SUM_BITS
from jalgateware.contract.tables import RSQRT
from jalgateware.units.interpolate import InterpolatedTable
from jalgateware.units.normalise import Normaliser, SlowNormaliser
from jalgateware.units.pipeline import delayed, held
from jalgateware.units.reset import spare_reset


class ReciprocalRoot(LiteXModule):
    """Mantissa and exponent of the reciprocal square root of a positive integer.

    ``1 / sqrt(value) = mantissa * 2**-16 * 2**-(k + 1)``, k = floor(log2(value) / 2)

    Interface: ``value`` (SQUARE_SUM_BITS, > 0), ``valid_in`` -> ``mantissa`` {MANTISSA},
    ``k`` (6 bits), ``valid_out``; valid-only. The result for 0 is of no use.
    Latency: ``LATENCY`` cycles. Throughput: one per cycle.
    Overflow: none; the mantissa of a power of four is 2**17 - 1.
    Golden model: :func:`jalgateware.golden.functions.rsqrt`.

    A ``slow`` one takes one value at a time, for ``SLOW_LATENCY`` cycles at most.
    """

    LATENCY = Normaliser.LATENCY + InterpolatedTable.LATENCY
    SLOW_LATENCY = SQUARE_SUM_BITS + 1 + InterpolatedTable.LATENCY

    def __init__(self, slow: bool = False) -> None:
        self.value = Signal(SQUARE_SUM_BITS)
        self.valid_in = Signal()
        self.mantissa = Signal(MANTISSA.bits)
        self.k = Signal(6)
        self.valid_out = Signal()

        # # #

        fraction_bits = RSQRT.fraction_bits
        # The exponent's parity is the table index's highest bit.
        kept = RSQRT.index_bits - 1 + fraction_bits
        normaliser = (SlowNormaliser if slow else Normaliser)(SQUARE_SUM_BITS, kept)
        self.normaliser = normaliser
        self.table = table = InterpolatedTable(RSQRT)
        self.comb += [
            normaliser.value.eq(self.value),
            table.index.eq(Cat(normaliser.fraction[fraction_bits:], normaliser.exponent[0])),
            table.fraction.eq(normaliser.fraction[:fraction_bits]),
            self.mantissa.eq(table.value),
            self.k.eq(held(self, normaliser.exponent[1:], InterpolatedTable.LATENCY, slow)),
        ]
        spare_reset(self)
        if slow:
            self.comb += normaliser.valid_in.eq(self.valid_in)
            valid = delayed(self, normaliser.valid_out, InterpolatedTable.LATENCY)
        else:
            valid = delayed(self, self.valid_in, self.LATENCY)
        self.comb += self.valid_out.eq(valid)
