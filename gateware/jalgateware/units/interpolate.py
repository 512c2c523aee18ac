"""Table with linear interpolation, one look-up per cycle."""

from litex.gen import LiteXModule
from migen import READ_FIRST, Cat, Memory, Signal

from jalgateware.contract.tables import Table
from jalgateware.units.pipeline import delayed
from jalgateware.units.reset import spare_reset


class InterpolatedTable(LiteXModule):
    """Looks a function up in one of the contract's tables.

    ``value = base[index] +- round(delta[index] * fraction / 2**fraction_bits)``

    Interface: ``index`` (table.index_bits), ``fraction`` (table.fraction_bits) -> ``value``
    (table.base_bits + 1, unsigned); no valid.
    Latency: ``LATENCY`` cycles. Throughput: one per cycle.
    Overflow: none.
    Golden model: :func:`jalgateware.golden.functions.interpolate`.
    """

    LATENCY = 4

    def __init__(self, table: Table) -> None:
        self.index = Signal(table.index_bits)
        self.fraction = Signal(table.fraction_bits)
        self.value = Signal(table.base_bits + 1)

        # # #

        # Stages 1 and 2: ROM with base and delta side by side. A block RAM answers late: with a
        # multiplier behind it the clock is 75 MHz. So its output is registered once more, and
        # READ_FIRST puts the first register at the output, where it becomes part of the RAM.
        entries = [
            base | delta << table.base_bits
            for base, delta in zip(table.base, table.delta, strict=True)
        ]
        rom = Memory(table.base_bits + table.delta_bits, len(entries), init=entries)
        port = rom.get_port(mode=READ_FIRST)
        self.specials += rom, port
        base, delta = Signal(table.base_bits), Signal(table.delta_bits)
        self.comb += port.adr.eq(self.index)
        self.sync += Cat(base, delta).eq(port.dat_r)
        # Stage 3: product.
        product = Signal(table.delta_bits + table.fraction_bits)
        self.sync += product.eq(delta * delayed(self, self.fraction, 2))
        # Stage 4: the rounded step is added or subtracted.
        step = Signal(table.delta_bits + 1)
        half = 1 << (table.fraction_bits - 1)
        self.comb += step.eq((product + half) >> table.fraction_bits)
        origin = delayed(self, base, 1)
        self.sync += self.value.eq(origin + step if table.rising else origin - step)
        spare_reset(self)
