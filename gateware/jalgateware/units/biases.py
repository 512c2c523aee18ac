"""Biases of the rows of queries, keys and values."""

from litex.gen import LiteXModule
from migen import READ_FIRST, Cat, If, Memory, Mux, Signal

from jalgateware.contract.config import EngineConfig
from jalgateware.contract.formats import TABLE_ENTRY_BITS, VECTOR
from jalgateware.units.fifo import NEVER_COLLIDES
from jalgateware.units.pipeline import delayed, fits


class Biases(LiteXModule):
    """Adds the next bias to each row that has one, and 0 to the others.

    ``result = sat(value + bias)``

    Interface: ``early_valid``, ``early_odd``, ``early_row``: a row that has a bias will be here in
    ``AHEAD`` cycles, in pairs, each for all token rows up to ``last_row``; ``value`` {VECTOR} ->
    ``result`` {VECTOR} in the same cycle. ``write``, ``table_index``, ``table_value`` {VECTOR}: the
    table, not while rows take from it; ``start`` (pulse): the next bias is the first one. Latency:
    none. Throughput: one row per cycle. Overflow: saturates; ``saturated`` is high in the cycle
    behind such a row. Golden model: :func:`jalgateware.golden.vector.add_bias`.
    """

    AHEAD = 2

    def __init__(self, config: EngineConfig) -> None:
        bits = (config.bias_rows - 1).bit_length()
        self.early_valid, self.early_odd = Signal(), Signal()
        self.early_row = Signal(max=max(2, config.tokens))
        self.last_row = Signal.like(self.early_row)
        self.value = Signal((VECTOR.bits, True))
        self.result = Signal((VECTOR.bits, True))
        self.saturated = Signal()
        self.write = Signal()
        self.table_index = Signal(bits)
        self.table_value = Signal(TABLE_ENTRY_BITS)
        self.start = Signal()

        # # #

        memory = Memory(TABLE_ENTRY_BITS, 1 << bits)
        memory.attr = {NEVER_COLLIDES}
        write = memory.get_port(write_capable=True, mode=READ_FIRST)
        read = memory.get_port(mode=READ_FIRST)
        self.specials += memory, write, read
        pairs = Signal(bits - 1)
        self.comb += [
            write.adr.eq(self.table_index),
            write.dat_w.eq(self.table_value),
            write.we.eq(self.write),
            read.adr.eq(Cat(self.early_odd, pairs)),
        ]
        bias, total = Signal((VECTOR.bits, True)), Signal((VECTOR.bits + 1, True))
        over, here = Signal(), delayed(self, self.early_valid, self.AHEAD)
        pair_end = self.early_odd & (self.early_row == self.last_row)
        self.sync += [
            If(self.early_valid & pair_end, pairs.eq(pairs + 1)),
            If(self.start, pairs.eq(0)),
            bias.eq(0),
            If(delayed(self, self.early_valid, 1), bias.eq(read.dat_r)),
            self.saturated.eq(over & here),
        ]
        self.comb += [
            total.eq(self.value + bias),
            over.eq(~fits(total, VECTOR.bits)),
            self.result.eq(total),
            If(over, self.result.eq(Mux(total[-1], VECTOR.minimum, VECTOR.maximum))),
        ]
