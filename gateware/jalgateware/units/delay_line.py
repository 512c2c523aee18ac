"""A long delay that takes no flip-flops."""

from litex.gen import LiteXModule
from migen import If, Memory, Signal

from jalgateware.units.reset import spare_reset


class DelayLine(LiteXModule):
    """Gives each word back a fixed number of cycles later: ``output[t] = input[t - cycles]``.

    For payloads of pipelines; what comes out in the first ``cycles`` cycles is of no use.

    Interface: ``input`` (bits) -> ``output`` (bits); one word per cycle, no valid.
    Latency: ``cycles``. Throughput: one per cycle.
    Overflow: none.
    Golden model: none needed.
    """

    def __init__(self, bits: int, cycles: int) -> None:
        if cycles < 3:
            raise ValueError(f"a delay line is for 3 cycles and more, not {cycles}")
        self.input = Signal(bits)
        self.output = Signal(bits)

        # # #

        # A ring in distributed RAM: a word goes to the output register when it is overwritten.
        depth = cycles - 1
        place = Signal(max=depth)
        ring = Memory(bits, depth)
        write, read = ring.get_port(write_capable=True), ring.get_port(async_read=True)
        self.specials += ring, write, read
        self.comb += [
            write.adr.eq(place),
            write.dat_w.eq(self.input),
            write.we.eq(1),
            read.adr.eq(place),
        ]
        self.sync += [
            self.output.eq(read.dat_r),
            place.eq(place + 1),
            If(place == depth - 1, place.eq(0)),
        ]
        spare_reset(self)
