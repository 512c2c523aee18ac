"""PCI Express: LitePCIe's endpoint, BAR 0 as the contract has it, and DMA to and from DRAM."""

from typing import Any

from litedram.common import LiteDRAMNativePort
from litedram.frontend.dma import LiteDRAMDMAReader, LiteDRAMDMAWriter
from litepcie.core import LitePCIeEndpoint, LitePCIeMSI
from litepcie.frontend.dma import LitePCIeDMA
from litepcie.frontend.wishbone import LitePCIeWishboneMaster
from litex.gen import LiteXModule
from litex.soc.interconnect import stream, wishbone
from migen import If, ResetInserter

from jalgateware.contract import memory_map, pcie
from jalsoc.pcie_frame import PacketFrame
from jalsoc.pcie_window import DramWindow, Refusal

PENDING_REQUESTS = 8
"""Reads that the DMA has under way at once."""

WINDOW_BIT = pcie.DRAM_WINDOW.size.bit_length() - 1
"""Address bit that tells the halves of BAR 0 apart."""

MAILBOX_BIT = pcie.MAILBOX_WINDOW.origin.bit_length() - 1
"""Address bit that tells the mailbox from registers."""


def add_pcie(soc: Any, phy: Any) -> None:
    """Makes a system reachable by PCIe.

    Adds the modules ``pcie_phy``, ``pcie_endpoint``, ``pcie_mmap``, ``pcie_window``, ``pcie_dma0``,
    ``pcie_dram`` and ``pcie_msi``.

    Args:
        soc: a :class:`jalsoc.soc.JalSoC`, before it is finalised.
        phy: LitePCIe's ``S7PCIEPHY`` with a BAR 0 of ``BAR0_BYTES``, or what looks like it.

    Raises:
        ValueError: the PHY's BAR 0 has another size, or its packets another form.
    """
    if phy.bar0_size != pcie.BAR0_BYTES:
        raise ValueError(f"BAR 0 has {pcie.BAR0_BYTES} bytes, not {phy.bar0_size}")
    if phy.endianness != "big" or not hasattr(phy, "sink"):
        raise ValueError(f"{type(phy).__name__} is none of LitePCIe's PHYs for 7-series FPGAs")
    for name, location in pcie.LOCATIONS.items():
        soc.csr.add(name, location)
    soc.pcie_phy = phy
    soc.pcie_frames = FramedPhy(phy)
    soc.pcie_endpoint = LitePCIeEndpoint(
        soc.pcie_frames, max_pending_requests=PENDING_REQUESTS, endianness=phy.endianness
    )
    _add_bar0(soc, soc.pcie_endpoint)
    _add_dma(soc, phy, soc.pcie_endpoint)
    if hasattr(phy, "cd_pcie"):
        # The PHY crosses between the link's clock and the system's by itself.
        soc.platform.add_false_path_constraints(soc.crg.cd_sys.clk, phy.cd_pcie.clk)


class FramedPhy(LiteXModule):
    """A PHY between whose packets and LitePCIe's endpoint the frames are set right.

    What the endpoint asks of a PHY is the PHY's own, but for the streams.
    """

    def __init__(self, phy: Any) -> None:
        self.data_width, self.bar0_mask = phy.data_width, phy.bar0_mask
        self.id = phy.id
        self.max_request_size, self.max_payload_size = phy.max_request_size, phy.max_payload_size
        self.into = PacketFrame(phy.data_width, pad=True)
        self.out = PacketFrame(phy.data_width, pad=False)
        self.source, self.sink = self.into.source, self.out.sink

        # # #

        self.comb += [phy.source.connect(self.into.sink), self.out.source.connect(phy.sink)]


def _add_bar0(soc: Any, endpoint: LitePCIeEndpoint) -> None:
    """LitePCIe's own bridge takes single words; it would answer longer requests wrong."""
    length = endpoint.crossbar.slave.source.len

    def on_bus(address: Any) -> Any:
        end = pcie.MAILBOX_WINDOW.origin + pcie.MAILBOX_WINDOW.size
        return (address < end) & (length == 1)

    mmap = LitePCIeWishboneMaster(endpoint, address_decoder=on_bus)
    soc.pcie_mmap = mmap
    bus = wishbone.Interface(data_width=32, address_width=32, addressing="word")
    soc.bus.add_master(name="pcie_mmap", master=bus)
    place, words = mmap.wishbone.adr, pcie.CSR_WINDOW.size // 4
    soc.comb += [
        mmap.wishbone.connect(bus, omit={"adr"}),
        bus.adr.eq(memory_map.CSR_ORIGIN // 4 + place[: words.bit_length() - 1]),
        If(
            place[MAILBOX_BIT - 2],
            bus.adr.eq(
                memory_map.MAILBOX.origin // 4
                + place[: (memory_map.MAILBOX.size // 4 - 1).bit_length()]
            ),
        ),
    ]
    port = soc.sdram.crossbar.get_port()
    soc.pcie_window = DramWindow(endpoint, port, lambda address: address[WINDOW_BIT])
    soc.pcie_refusal = Refusal(endpoint, lambda address: ~address[WINDOW_BIT] & ~on_bus(address))


class DramDma(LiteXModule):
    """DRAM as source and sink of LitePCIe's DMA, in words of the DRAM controller's port.

    Interface: ``sink`` and ``source`` of LitePCIe's DMA layout; registers of LiteDRAM's DMA
    modules: ``writer`` for what comes from the host, ``reader`` for what goes there.
    """

    def __init__(
        self, data_width: int, write_port: LiteDRAMNativePort, read_port: LiteDRAMNativePort
    ) -> None:
        self.writer = LiteDRAMDMAWriter(write_port, with_csr=True)
        self.reader = LiteDRAMDMAReader(read_port, with_csr=True)
        # A transfer that is broken off leaves a part of a word behind, which is none of the next.
        reset = ResetInserter()
        self.wider = reset(stream.Converter(data_width, write_port.data_width))
        self.narrower = reset(stream.Converter(read_port.data_width, data_width))
        self.sink, self.source = self.wider.sink, self.narrower.source

        # # #

        self.comb += [
            self.wider.reset.eq(~self.writer._enable.storage),
            self.narrower.reset.eq(~self.reader._enable.storage),
            self.wider.source.connect(self.writer.sink),
            self.reader.source.connect(self.narrower.sink),
        ]


def _add_dma(soc: Any, phy: Any, endpoint: LitePCIeEndpoint) -> None:
    crossbar = soc.sdram.crossbar
    # With its loopback, for the tests that come with LitePCIe's driver.
    soc.pcie_dma0 = dma = LitePCIeDMA(soc.pcie_frames, endpoint, with_loopback=True)
    soc.pcie_dram = dram = DramDma(
        phy.data_width, crossbar.get_port(mode="write"), crossbar.get_port(mode="read")
    )
    # What the headers of LitePCIe's driver are made from.
    soc.add_constant("DMA_CHANNELS", 1)
    soc.add_constant("DMA_ADDR_WIDTH", 32)
    for name, bit in pcie.MSI_FROM_DMA.items():
        soc.add_constant(f"PCIE_DMA0_{name.upper()}_INTERRUPT", bit)
    soc.pcie_msi = msi = LitePCIeMSI(width=len(pcie.MSI_FROM_DMA))
    soc.comb += [
        dma.source.connect(dram.sink, omit={"data", "first", "last"}),
        dram.sink.data.eq(dma.source.data),
        dram.source.connect(dma.sink, omit={"first", "last"}),
        msi.source.connect(phy.msi),
        *[msi.irqs[bit].eq(getattr(dma, name).irq) for name, bit in pcie.MSI_FROM_DMA.items()],
    ]
