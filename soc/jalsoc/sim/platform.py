"""The platform that a simulated system runs on: a clock and a byte stream."""

from typing import Any

from litex.build.generic_platform import Pins, Subsignal
from litex.build.sim import SimPlatform
from litex.gen import LiteXModule
from migen import ClockDomain, If, Signal

IO = [
    ("sys_clk", 0, Pins(1)),
    (
        "serial",
        0,
        Subsignal("source_valid", Pins(1)),
        Subsignal("source_ready", Pins(1)),
        Subsignal("source_data", Pins(8)),
        Subsignal("sink_valid", Pins(1)),
        Subsignal("sink_ready", Pins(1)),
        Subsignal("sink_data", Pins(8)),
    ),
]
"""The harness drives these: ``source`` comes out of the system, ``sink`` goes in."""


def simulation_platform() -> Any:
    """A platform with these pins."""
    return SimPlatform("SIM", list(IO), name="sim")


class SimulationCrg(LiteXModule):
    """The one clock, with a reset for its first cycles.

    Interface: ``rst`` resets the whole system for as long as it is 1.
    """

    RESET_CYCLES = 8

    def __init__(self, clock: Signal) -> None:
        self.rst = Signal()
        self.cd_sys = ClockDomain()
        self.cd_por = ClockDomain(reset_less=True)

        # # #

        left = Signal(max=self.RESET_CYCLES + 1, reset=self.RESET_CYCLES)
        self.comb += [
            self.cd_sys.clk.eq(clock),
            self.cd_por.clk.eq(clock),
            self.cd_sys.rst.eq((left != 0) | self.rst),
        ]
        self.sync.por += If(left != 0, left.eq(left - 1))
