"""Ethernet of a simulated system: frames, byte by byte, to and from the harness."""

from typing import Any

from liteeth.common import eth_phy_description
from litex.build.generic_platform import Pins, Subsignal
from litex.gen import LiteXModule
from litex.soc.interconnect.stream import Endpoint

from jalsoc.ethernet import add_etherbone
from jalsoc.sim.links import IP_ADDRESS, MAC_ADDRESS

IO = [
    (
        "ethernet",
        0,
        Subsignal("source_valid", Pins(1)),
        Subsignal("source_data", Pins(8)),
        Subsignal("sink_valid", Pins(1)),
        Subsignal("sink_data", Pins(8)),
    ),
]
"""``source`` comes out of the system, ``sink`` goes in; a frame ends where valid does."""


class PhyModel(LiteXModule):
    """A byte per cycle each way, without a word of the other side: what GMII is.

    After LiteEth's ``LiteEthPHYModel``, but with preamble and check sequence, as on a board.

    Interface: ``sink``, ``source``. Latency: one cycle in, none out. Throughput: a byte per cycle.
    """

    dw = 8

    def __init__(self, pads: Any) -> None:
        self.sink = Endpoint(eth_phy_description(8))
        self.source = Endpoint(eth_phy_description(8))

        # # #

        self.comb += [
            pads.source_valid.eq(self.sink.valid),
            pads.source_data.eq(self.sink.data),
            self.sink.ready.eq(1),
            self.source.last.eq(self.source.valid & ~pads.sink_valid),
        ]
        self.sync += [
            self.source.valid.eq(pads.sink_valid),
            self.source.data.eq(pads.sink_data),
        ]


def connect(soc: Any, platform: Any) -> None:
    """Adds Ethernet with Etherbone to a system."""
    platform.add_extension(IO)
    phy = PhyModel(platform.request("ethernet"))
    add_etherbone(soc, phy, MAC_ADDRESS, IP_ADDRESS, domain=None)
