"""Leading one of a number and the bits behind it."""

from typing import Any

from litex.gen import LiteXModule
from migen import Array, Cat, Constant, If, Signal

from jalgateware.units.pipeline import delayed
from jalgateware.units.reset import spare_reset

GROUP = 16
"""Bits that the first step tells apart; the next ones know 4 and 1."""


class SlowNormaliser(LiteXModule):
    """As :class:`Normaliser`, a bit in each cycle.

    Interface: ``value`` (bits, > 0), ``valid_in`` -> ``exponent``, ``fraction`` (kept bits),
    ``valid_out`` (pulse); they stay until the next ``valid_in``, which waits for ``valid_out``.
    Latency: up to ``bits`` cycles. Throughput: one at a time.
    Overflow: none.
    Golden model: ``_split`` in :mod:`jalgateware.golden.functions`.
    """

    def __init__(self, bits: int, kept: int) -> None:
        self.value, self.valid_in = Signal(bits), Signal()
        self.exponent = Signal(max=bits)
        self.fraction = Signal(kept)
        self.valid_out = Signal()

        # # #

        shifted, busy = Signal(max(bits, kept + 1), reset_less=True), Signal()
        fill = len(shifted) - bits
        self.sync += [
            If(
                busy & ~shifted[-1],
                shifted.eq(Cat(0, shifted[:-1])),
                self.exponent.eq(self.exponent - 1),
            ),
            If(shifted[-1], busy.eq(0)),
            self.valid_out.eq(busy & shifted[-1]),
            If(
                self.valid_in,
                busy.eq(1),
                shifted.eq(Cat(Constant(0, fill), self.value) if fill else self.value),
                self.exponent.eq(bits - 1),
            ),
        ]
        self.comb += self.fraction.eq(shifted[-1 - kept : -1])
        spare_reset(self, busy, self.valid_out)


class Normaliser(LiteXModule):
    """Splits a positive integer into the power of two below it and the bits behind its leading one.

    ``value = 2**exponent * (1 + fraction / 2**kept)``, further bits dropped.

    Interface: ``value`` (bits, > 0) -> ``exponent``, ``fraction`` (kept bits); no valid.
    The result for 0 is of no use.
    Latency: ``LATENCY`` cycles. Throughput: one per cycle.
    Overflow: none.
    Golden model: ``_split`` in :mod:`jalgateware.golden.functions`.
    """

    LATENCY = 4

    def __init__(self, bits: int, kept: int) -> None:
        self.value = Signal(bits)
        self.exponent = Signal(max=bits)
        self.fraction = Signal(kept)

        # # #

        # Stage 1: which groups hold a one.
        groups = -(-bits // GROUP)
        filled, padded = Signal(groups), Signal(kept + GROUP * groups)
        self.sync += [
            filled.eq(Cat(*[self.value[GROUP * i : GROUP * (i + 1)] != 0 for i in range(groups)])),
            padded.eq(self.value << kept),
        ]
        # Stages 2 to 4 narrow the window in which the leading one stands: 16 bits, 4, 1.
        window, group = self._highest(padded, filled, GROUP, kept)
        nibbles = Signal(GROUP // 4)
        self.comb += nibbles.eq(
            Cat(*[window[kept + 4 * i : kept + 4 * (i + 1)] != 0 for i in range(GROUP // 4)])
        )
        window, nibble = self._highest(window, nibbles, 4, kept)
        window, place = self._highest(window, window[kept:], 1, kept)
        self.comb += [
            self.fraction.eq(window),
            self.exponent.eq(Cat(place, delayed(self, nibble, 1), delayed(self, group, 2))),
        ]
        spare_reset(self)

    def _highest(self, value: Signal, flags: Any, size: int, kept: int) -> tuple[Signal, Signal]:
        """Registers the highest part that has its flag set, and ``kept`` bits below it.

        ``value`` holds ``kept`` bits and above them a part of ``size`` bits for each flag. Also
        returns the part's number.
        """
        count = len(flags)
        number, part = Signal(max=max(2, count)), Signal(max=max(2, count))
        window = Signal(size + kept)
        self.comb += [If(flags[i], number.eq(i)) for i in range(count)]
        self.sync += [
            part.eq(number),
            window.eq(
                Array([value[size * i : size * (i + 1) + kept] for i in range(count)])[number]
            ),
        ]
        return window, part
