"""Registers on a bus, so that a master's logic and what it reaches each have a cycle of their own.

The CPU's fetch follows the acknowledgement in the same cycle, and the acknowledgement the arbiter
and the address: without registers that is the longest path of a system.
"""

from litex.gen import LiteXModule
from litex.soc.interconnect import wishbone
from migen import If, Signal


class BusRegister(LiteXModule):
    """Hands a master's accesses on, one by one, request and answer registered.

    Interface: ``master``: the master's bus; ``bus``: the same accesses, as single ones. A reset
    drops the access that is on. Latency: 2 cycles. Throughput: an access per 3 cycles and what it
    takes.
    """

    def __init__(self, master: wishbone.Interface) -> None:
        self.bus = bus = wishbone.Interface.like(master)

        # # #

        answered = Signal()
        self.comb += answered.eq(master.ack | master.err)
        self.sync += [
            master.ack.eq(0),
            master.err.eq(0),
            If(
                bus.cyc,
                If(
                    bus.ack | bus.err,
                    bus.cyc.eq(0),
                    bus.stb.eq(0),
                    master.ack.eq(bus.ack),
                    master.err.eq(bus.err),
                    master.dat_r.eq(bus.dat_r),
                ),
            ).Elif(
                master.cyc & master.stb & ~answered,
                bus.cyc.eq(1),
                bus.stb.eq(1),
                bus.adr.eq(master.adr),
                bus.dat_w.eq(master.dat_w),
                bus.sel.eq(master.sel),
                bus.we.eq(master.we),
            ),
        ]
