"""Hash of a 32-bit integer, one per cycle."""

from litex.gen import LiteXModule
from migen import Signal

from jalgateware.contract.sampling import HASH_MULTIPLIERS, HASH_SHIFTS
from jalgateware.units.reset import spare_reset

HALF = 16
"""Operands are cut in halves for the 18 x 18 bit multipliers."""


class Hash32(LiteXModule):
    """Chris Wellons' "lowbias32": x ^= x >> 16; x *= A; x ^= x >> 15; x *= B; x ^= x >> 16.

    Interface: ``value`` (32 bits) -> ``result`` (32 bits); no valid.
    Latency: ``LATENCY`` cycles. Throughput: one per cycle.
    Overflow: products wrap, as the hash demands.
    Golden model: :func:`jalgateware.golden.sampler.hash32`.
    """

    LATENCY = 7

    def __init__(self) -> None:
        self.value = Signal(32)
        self.result = Signal(32)

        # # #

        x = self.value
        for shift, multiplier in zip(HASH_SHIFTS, HASH_MULTIPLIERS, strict=False):
            mixed = Signal(32)
            self.sync += mixed.eq(x ^ (x >> shift))
            x = self._multiply(mixed, multiplier)
        self.sync += self.result.eq(x ^ (x >> HASH_SHIFTS[-1]))
        spare_reset(self)

    def _multiply(self, x: Signal, factor: int) -> Signal:
        """Lower 32 bits of a product, two cycles later."""
        mask = (1 << HALF) - 1
        low, high = x[:HALF], x[HALF:]
        bottom, left, right = Signal(2 * HALF), Signal(HALF), Signal(HALF)
        product = Signal(2 * HALF)
        self.sync += [
            bottom.eq(low * (factor & mask)),
            left.eq(low * (factor >> HALF)),
            right.eq(high * (factor & mask)),
            product[:HALF].eq(bottom[:HALF]),
            product[HALF:].eq(bottom[HALF:] + left + right),
        ]
        return product
