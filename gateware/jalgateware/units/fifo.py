"""A FIFO in block RAM."""

from litex.gen import LiteXModule
from litex.soc.interconnect import stream
from migen import READ_FIRST, If, Memory, Signal

NEVER_COLLIDES = ("no_rw_check", 1)
"""Attribute of a memory that is never read where it is being written: yosys then adds no bypass logic, which
would cost a LUT and two flip-flops per bit."""


class BlockFifo(LiteXModule):
    """First in, first out, in block RAM.

    Interface: ``sink`` {data} -> ``source`` {data}, valid/ready; ``level``: words in the RAM, without the one at ``source``.
    Latency: 2 cycles. Throughput: one word per cycle.
    Overflow: ``sink`` is not ready when ``depth`` words are in the RAM.
    Cost: about 60 LUTs and the RAM.
    """

    LATENCY = 2

    def __init__(self, width: int, depth: int) -> None:
        if depth < 4 or depth & (depth - 1):
            raise ValueError(f"depth is a power of two from 4, not {depth}")
        self.sink = stream.Endpoint([("data", width)])
        self.source = stream.Endpoint([("data", width)])
        self.level = Signal(max=depth + 1)

        # # #

        memory = Memory(width, depth)
        memory.attr = {NEVER_COLLIDES}
        write = memory.get_port(write_capable=True, mode=READ_FIRST)
        read = memory.get_port(has_re=True, mode=READ_FIRST)
        self.specials += memory, write, read

        put, get = Signal(), Signal()
        full, empty = Signal(), Signal()
        self.comb += [
            full.eq(self.level[-1]),
            empty.eq(self.level == 0),
            self.sink.ready.eq(~full),
            put.eq(self.sink.valid & ~full),
            get.eq(~empty & (~self.source.valid | self.source.ready)),
            write.we.eq(put),
            write.dat_w.eq(self.sink.data),
            read.re.eq(get),
            self.source.data.eq(read.dat_r),
        ]
        self.sync += [
            If(put, write.adr.eq(write.adr + 1)),
            If(get, read.adr.eq(read.adr + 1)),
            If(put & ~get, self.level.eq(self.level + 1)),
            If(get & ~put, self.level.eq(self.level - 1)),
            If(self.source.ready, self.source.valid.eq(0)),
            If(get, self.source.valid.eq(1)),
        ]
