"""Base-2 logarithm of a positive integer, one per cycle."""

from litex.gen import LiteXModule
from migen import Signal

from jalgateware.contract.formats import LOG2
from jalgateware.contract.tables import LOG2_TABLE
from jalgateware.units.interpolate import InterpolatedTable
from jalgateware.units.normalise import Normaliser
from jalgateware.units.pipeline import delayed
from jalgateware.units.reset import spare_reset


class Log2(LiteXModule):
    """Logarithm: exponent, plus a table for the mantissa.

    ``result = log2(value)``

    Interface: ``value`` (``bits``, > 0) -> ``result`` {LOG2}; no valid. The result for 0 is of no
    use.
    Latency: ``LATENCY`` cycles. Throughput: one per cycle.
    Overflow: none.
    Golden model: :func:`jalgateware.golden.functions.log2`.
    """

    LATENCY = Normaliser.LATENCY + InterpolatedTable.LATENCY + 1

    def __init__(self, bits: int) -> None:
        self.value = Signal(bits)
        self.result = Signal((LOG2.bits, True))

        # # #

        fraction_bits = LOG2_TABLE.fraction_bits
        self.normaliser = normaliser = Normaliser(bits, LOG2_TABLE.index_bits + fraction_bits)
        self.table = table = InterpolatedTable(LOG2_TABLE)
        self.comb += [
            normaliser.value.eq(self.value),
            table.index.eq(normaliser.fraction[fraction_bits:]),
            table.fraction.eq(normaliser.fraction[:fraction_bits]),
        ]
        # Just below a power of two the table rounds up to 1.0: an addition, not a concatenation.
        exponent = delayed(self, normaliser.exponent, InterpolatedTable.LATENCY)
        self.sync += self.result.eq((exponent << LOG2.fraction) + table.value)
        spare_reset(self)
