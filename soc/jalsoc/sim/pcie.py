"""PCI Express in simulation: in place of the PHY, pins on which packets come and go."""

from typing import Any

from litepcie.common import get_bar_mask, msi_layout, phy_layout
from litex.build.generic_platform import Pins, Subsignal
from litex.gen import LiteXModule
from litex.soc.interconnect import stream
from migen import Signal

from jalgateware.contract import pcie
from jalsoc.pcie import add_pcie

DATA_BITS = 64
"""Width of the streams; the harness knows no other."""


def _io(data_bits: int) -> list[Any]:
    """The pins: ``sink`` goes in, ``source`` and ``msi`` come out."""
    streams = [
        Subsignal(f"{name}_{signal}", Pins(bits))
        for name in ("sink", "source")
        for signal, bits in (
            ("valid", 1),
            ("ready", 1),
            ("last", 1),
            ("dat", data_bits),
            ("be", data_bits // 8),
        )
    ]
    return [("pcie", 0, *streams, Subsignal("msi_valid", Pins(1)), Subsignal("msi_dat", Pins(8)))]


class PciePhyModel(LiteXModule):
    """What LitePCIe expects of a PHY, with packets as they are on the link.

    The harness does what a hard block does: it refuses requests for what is not in BAR 0, and makes
    messages of interrupts. Bus numbers and sizes are fixed, as if configuration were over.

    Interface: ``sink``, ``source``, ``msi`` and sizes as ``S7PCIEPHY`` has them; ``pads``.
    """

    endianness = "big"
    qword_aligned = False

    def __init__(self, pads: Any, data_width: int = DATA_BITS) -> None:
        self.sink = stream.Endpoint(phy_layout(data_width))
        self.source = stream.Endpoint(phy_layout(data_width))
        self.msi = stream.Endpoint(msi_layout())
        self.data_width = data_width
        self.bar0_size = pcie.BAR0_BYTES
        self.bar0_mask = get_bar_mask(pcie.BAR0_BYTES)
        self.id = Signal(16, reset=pcie.SIMULATED.device)
        self.max_request_size = Signal(16, reset=pcie.SIMULATED_READ_REQUEST)
        self.max_payload_size = Signal(16, reset=pcie.SIMULATED_PAYLOAD)

        # # #

        self.comb += [
            self.source.valid.eq(pads.sink_valid),
            self.source.last.eq(pads.sink_last),
            self.source.dat.eq(pads.sink_dat),
            self.source.be.eq(pads.sink_be),
            pads.sink_ready.eq(self.source.ready),
            pads.source_valid.eq(self.sink.valid),
            pads.source_last.eq(self.sink.last),
            pads.source_dat.eq(self.sink.dat),
            pads.source_be.eq(self.sink.be),
            self.sink.ready.eq(pads.source_ready),
            pads.msi_valid.eq(self.msi.valid),
            pads.msi_dat.eq(self.msi.dat),
            self.msi.ready.eq(1),
        ]


def connect(soc: Any, platform: Any) -> None:
    """Adds PCIe to a system, and its pins to the platform."""
    platform.add_extension(_io(DATA_BITS))
    add_pcie(soc, PciePhyModel(platform.request("pcie")))
