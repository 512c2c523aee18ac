"""FIFOs of data words: in block RAM, and in distributed RAM for a writer who counts."""

from litex.gen import LiteXModule
from litex.soc.interconnect import stream
from migen import READ_FIRST, If, Memory, Signal

NEVER_COLLIDES = ("no_rw_check", 1)
"""Attribute of a memory that is never read where it is being written.

Yosys then adds no bypass logic, which would cost a LUT and two flip-flops per bit.
"""


class BlockFifo(LiteXModule):
    """First in, first out, in block RAM with a register behind it, as block RAM answers late.

    Interface: ``sink`` {data} -> ``source`` {data}, valid/ready; ``level``: words in the RAM, up to
    two more are behind it; ``empty``: none anywhere.
    Latency: ``LATENCY`` cycles. Throughput: one word per cycle.
    Overflow: ``sink`` is not ready while ``depth`` words are in the RAM.
    """

    LATENCY = 3

    def __init__(self, width: int, depth: int) -> None:
        if depth < 4 or depth & (depth - 1):
            raise ValueError(f"depth is a power of two from 4, not {depth}")
        self.sink = stream.Endpoint([("data", width)])
        self.source = stream.Endpoint([("data", width)])
        self.level = Signal(max=depth + 1)
        self.empty = Signal()

        # # #

        memory = Memory(width, depth)
        memory.attr = {NEVER_COLLIDES}
        write = memory.get_port(write_capable=True, mode=READ_FIRST)
        read = memory.get_port(has_re=True, mode=READ_FIRST)
        self.specials += memory, write, read

        # A word moves from the RAM's output to the register, and from the RAM to its output.
        # That words are waiting is known from a register, as the RAM may be far away.
        put, get, move = Signal(), Signal(), Signal()
        waiting, answered = Signal(), Signal()
        self.comb += [
            self.sink.ready.eq(~self.level[-1]),
            put.eq(self.sink.valid & self.sink.ready),
            move.eq(~self.source.valid | self.source.ready),
            get.eq(waiting & (~answered | move)),
            self.empty.eq(~(waiting | answered | self.source.valid)),
            write.we.eq(put),
            write.dat_w.eq(self.sink.data),
            read.re.eq(get),
        ]
        self.source.data.reset_less = True
        self.sync += [
            If(put, write.adr.eq(write.adr + 1)),
            If(get, read.adr.eq(read.adr + 1)),
            If(put & ~get, self.level.eq(self.level + 1), waiting.eq(1)),
            If(get & ~put, self.level.eq(self.level - 1), waiting.eq(self.level != 1)),
            If(move, self.source.valid.eq(answered), self.source.data.eq(read.dat_r)),
            If(move, answered.eq(0)),
            If(get, answered.eq(1)),
        ]


class CountedFifo(LiteXModule):
    """First in, first out, in distributed RAM, for a writer who knows that there is room.

    Nothing but ``sink.valid`` decides on a write, so that signal may come from afar.

    Interface: ``sink`` {data}: valid-only -> ``source`` {data}: valid/ready; ``level``.
    Latency: 1 cycle. Throughput: one word per cycle.
    Overflow: the writer's fault; no more than ``depth`` words may be there.
    """

    def __init__(self, width: int, depth: int) -> None:
        self.sink = stream.Endpoint([("data", width)])
        self.source = stream.Endpoint([("data", width)])
        self.level = Signal(max=depth + 1)

        # # #

        memory = Memory(width, depth)
        write, read = memory.get_port(write_capable=True), memory.get_port(async_read=True)
        self.specials += memory, write, read
        put, get = Signal(), Signal()
        self.comb += [
            put.eq(self.sink.valid),
            get.eq(self.source.valid & self.source.ready),
            write.we.eq(put),
            write.dat_w.eq(self.sink.data),
            self.source.data.eq(read.dat_r),
        ]
        self.sync += [
            If(put, write.adr.eq(write.adr + 1)),
            If(get, read.adr.eq(read.adr + 1)),
            If(put & ~get, self.level.eq(self.level + 1), self.source.valid.eq(1)),
            If(get & ~put, self.level.eq(self.level - 1), self.source.valid.eq(self.level != 1)),
        ]
