"""Sigmoid of a vector element, one per cycle."""

from litex.gen import LiteXModule
from migen import If, Mux, Signal

from jalgateware.contract.formats import SIGMOID, VECTOR
from jalgateware.contract.tables import SIGMOID_RANGE_BITS, SIGMOID_TABLE
from jalgateware.units.interpolate import InterpolatedTable
from jalgateware.units.pipeline import delayed
from jalgateware.units.reset import spare_reset


class Sigmoid(LiteXModule):
    """Sigmoid from a table of its positive half; 1 from 16 up.

    ``result = 1 / (1 + exp(-value))``

    Interface: ``value`` {VECTOR}, ``valid_in`` -> ``result`` {SIGMOID, 0 to 65536},
    ``valid_out``; valid-only.
    Latency: ``LATENCY`` cycles. Throughput: one per cycle.
    Overflow: none.
    Golden model: :func:`jalgateware.golden.functions.sigmoid`.
    """

    LATENCY = 2 + InterpolatedTable.LATENCY

    def __init__(self) -> None:
        self.value = Signal((VECTOR.bits, True))
        self.valid_in = Signal()
        self.result = Signal(SIGMOID.bits)
        self.valid_out = Signal()

        # # #

        # Stage 1: magnitude; as an unsigned number it holds that of the most negative value, too.
        magnitude, negative = Signal(VECTOR.bits), Signal()
        self.sync += [
            magnitude.eq(Mux(self.value < 0, -self.value, self.value)),
            negative.eq(self.value < 0),
        ]
        # Stages 2 to 5: table.
        fraction_bits = SIGMOID_TABLE.fraction_bits
        range_bits = SIGMOID_RANGE_BITS + VECTOR.fraction
        self.table = table = InterpolatedTable(SIGMOID_TABLE)
        self.comb += [
            table.index.eq(magnitude[fraction_bits:range_bits]),
            table.fraction.eq(magnitude[:fraction_bits]),
        ]
        outside = delayed(self, magnitude[range_bits:] != 0, InterpolatedTable.LATENCY)
        mirror = delayed(self, negative, InterpolatedTable.LATENCY)
        # Stage 6: beyond the table's range, and sigmoid(-x) = 1 - sigmoid(x).
        one = 1 << SIGMOID.fraction
        self.sync += [
            self.result.eq(table.value),
            If(mirror, self.result.eq(one - table.value)),
            If(outside, self.result.eq(Mux(mirror, 0, one))),
        ]
        spare_reset(self)
        self.comb += self.valid_out.eq(delayed(self, self.valid_in, self.LATENCY))
