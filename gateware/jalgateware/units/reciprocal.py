"""Reciprocal of a positive integer, one per cycle."""

from litex.gen import LiteXModule
from migen import Signal

from jalgateware.contract.formats import MANTISSA, SUM_BITS
from jalgateware.contract.tables import RECIPROCAL
from jalgateware.units.interpolate import InterpolatedTable
from jalgateware.units.normalise import Normaliser
from jalgateware.units.pipeline import delayed
from jalgateware.units.reset import spare_reset


class Reciprocal(LiteXModule):
    """Mantissa and exponent of the reciprocal of a positive integer.

    ``1 / value = mantissa * 2**-16 * 2**-(exponent + 1)``, exponent = floor(log2(value))

    Interface: ``value`` (SUM_BITS, > 0), ``valid_in`` -> ``mantissa`` {MANTISSA},
    ``exponent`` (5 bits), ``valid_out``; valid-only. The result for 0 is of no use.
    Latency: ``LATENCY`` cycles. Throughput: one per cycle.
    Overflow: none; the mantissa of a power of two is 2**17 - 1.
    Golden model: :func:`jalgateware.golden.functions.reciprocal`.
    """

    LATENCY = Normaliser.LATENCY + InterpolatedTable.LATENCY

    def __init__(self) -> None:
        self.value = Signal(SUM_BITS)
        self.valid_in = Signal()
        self.mantissa = Signal(MANTISSA.bits)
        self.exponent = Signal(max=SUM_BITS)
        self.valid_out = Signal()

        # # #

        fraction_bits = RECIPROCAL.fraction_bits
        self.normaliser = normaliser = Normaliser(SUM_BITS, RECIPROCAL.index_bits + fraction_bits)
        self.table = table = InterpolatedTable(RECIPROCAL)
        self.comb += [
            normaliser.value.eq(self.value),
            table.index.eq(normaliser.fraction[fraction_bits:]),
            table.fraction.eq(normaliser.fraction[:fraction_bits]),
            self.mantissa.eq(table.value),
            self.exponent.eq(delayed(self, normaliser.exponent, InterpolatedTable.LATENCY)),
        ]
        spare_reset(self)
        self.comb += self.valid_out.eq(delayed(self, self.valid_in, self.LATENCY))
