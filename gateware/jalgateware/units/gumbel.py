"""Gumbel noise from uniform integers, one per cycle."""

from litex.gen import LiteXModule
from migen import Cat, Mux, Signal

from jalgateware.contract.formats import LOG2
from jalgateware.contract.tables import GUMBEL_CORRECTION, LN2_LOG2
from jalgateware.units.delay_line import DelayLine
from jalgateware.units.interpolate import InterpolatedTable
from jalgateware.units.log2 import Log2
from jalgateware.units.pipeline import delayed
from jalgateware.units.reset import spare_reset

UNIFORM_BITS = 32

SCALE_BITS = UNIFORM_BITS + 1
"""u = (2 h + 1) / 2**33 for the uniform integer h."""


class Gumbel(LiteXModule):
    """Noise whose largest value picks from a softmax distribution, in units of log2.

    ``noise = -log2(-ln u)``, u = (uniform + 1/2) / 2**32

    Below 1/2 this is two logarithms. From 1/2 up, where the inner one loses its precision, it is
    ``-log2(z) - log2(-ln(1 - z) / z)`` with z = 1 - u, the second part from a table.

    Interface: ``uniform`` (32 bits) -> ``noise`` {LOG2}; no valid.
    Latency: ``LATENCY`` cycles. Throughput: one per cycle.
    Overflow: none; noise is between -4.52 and 33.
    Golden model: :func:`jalgateware.golden.sampler.gumbel`.
    """

    LATENCY = 2 * Log2.LATENCY + 3

    def __init__(self) -> None:
        self.uniform = Signal(UNIFORM_BITS)
        self.noise = Signal((LOG2.bits, True))

        # # #

        # The smaller of u and z = 1 - u, times 2**33: 2 h + 1 or 2**33 - (2 h + 1) = 2 (~h) + 1.
        near_one, lower = self.uniform[-1], self.uniform[:-1]
        operand = Signal(UNIFORM_BITS)
        self.sync += operand.eq(Cat(1, Mux(near_one, ~lower, lower)))
        self.inner = inner = Log2(UNIFORM_BITS)
        self.comb += inner.value.eq(operand)
        # Its negated logarithm: positive, at most 33.
        bits = (SCALE_BITS << LOG2.fraction).bit_length()
        magnitude = Signal(bits)
        self.sync += magnitude.eq((SCALE_BITS << LOG2.fraction) - inner.result)
        # From 1/2 up: subtract the correction.
        self.correction = correction = InterpolatedTable(GUMBEL_CORRECTION)
        fraction_bits = GUMBEL_CORRECTION.fraction_bits
        index_from = UNIFORM_BITS - GUMBEL_CORRECTION.index_bits
        self.comb += [
            correction.index.eq(operand[index_from:]),
            correction.fraction.eq(operand[index_from - fraction_bits : index_from]),
        ]
        ahead = Log2.LATENCY + 1 - InterpolatedTable.LATENCY
        corrected = Signal(bits)
        self.sync += corrected.eq(magnitude - delayed(self, correction.value, ahead))
        # Below 1/2: logarithm of the logarithm, which is in units of 2**-16, and of ln 2.
        self.outer = outer = Log2(bits)
        self.comb += outer.value.eq(magnitude)
        small, large = Signal.like(self.noise), Signal.like(self.noise)
        self.comb += small.eq(LN2_LOG2 + (LOG2.fraction << LOG2.fraction) - outer.result)
        # The shorter way waits for the longer one.
        self.wait = wait = DelayLine(bits, Log2.LATENCY - 1)
        self.comb += [wait.input.eq(corrected), large.eq(wait.output)]
        self.sync += self.noise.eq(Mux(delayed(self, near_one, self.LATENCY - 1), large, small))
        spare_reset(self)
