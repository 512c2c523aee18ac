"""BAR 0 alone, with a little memory in each half, in Verilog: ``pcie_design.py BITS FILE``."""

import sys
from types import SimpleNamespace
from typing import Any

from litedram.common import LiteDRAMNativePort
from litepcie.common import get_bar_mask, phy_layout
from litepcie.core import LitePCIeEndpoint
from litepcie.frontend.wishbone import LitePCIeWishboneMaster
from litex.gen import LiteXModule
from litex.soc.interconnect import stream, wishbone
from migen import ClockDomain, If, Memory, Signal
from migen.fhdl.verilog import convert

from jalgateware.contract import pcie
from jalsoc.pcie import FramedPhy
from jalsoc.pcie_window import DramWindow, Refusal


def bar_with_memory(width: int) -> tuple[Any, set[Signal]]:
    """The unit, and its pins: ``clk``, ``rst``, ``id``, and the streams ``rx`` and ``tx``."""
    unit = LiteXModule()
    unit.clock_domains.cd_sys = ClockDomain("sys")
    phy = SimpleNamespace(
        sink=stream.Endpoint(phy_layout(width)),
        source=stream.Endpoint(phy_layout(width)),
        data_width=width,
        bar0_mask=get_bar_mask(pcie.BAR0_BYTES),
        id=Signal(16),
        max_request_size=Signal(16, reset=512),
        max_payload_size=Signal(16, reset=128),
    )
    unit.frames = FramedPhy(phy)
    unit.endpoint = endpoint = LitePCIeEndpoint(unit.frames)
    length = endpoint.crossbar.slave.source.len

    def on_bus(address: Any) -> Any:
        return (address < pcie.MAILBOX_WINDOW.origin) & (length == 1)

    unit.mmap = LitePCIeWishboneMaster(endpoint, address_decoder=on_bus)
    unit.ram = wishbone.SRAM(0x1000, bus=wishbone.Interface())
    port = LiteDRAMNativePort("both", 24, 128)
    unit.window = DramWindow(endpoint, port, lambda address: address[19])
    unit.refusal = Refusal(endpoint, lambda address: ~address[19] & ~on_bus(address))
    unit.comb += unit.mmap.wishbone.connect(unit.ram.bus)
    _serve(unit, port)
    pins = {"clk": unit.cd_sys.clk, "rst": unit.cd_sys.rst, "id": phy.id}
    for name, endpoint in (("rx", phy.source), ("tx", phy.sink)):
        pins |= {f"{name}_{part}": getattr(endpoint, part) for part in PARTS}
    for name, signal in pins.items():
        signal.name_override = name
    return unit, set(pins.values())


PARTS = ("valid", "ready", "last", "dat", "be")


def _serve(unit: Any, port: LiteDRAMNativePort) -> None:
    """Memory behind a native port: one request at a time."""
    memory = Memory(port.data_width, 4096)
    access = memory.get_port(write_capable=True, we_granularity=8)
    unit.specials += memory, access
    writing, reading, answering = (
        Signal(name=name) for name in ("writing", "reading", "answering")
    )
    taken = port.cmd.valid & port.cmd.ready
    unit.comb += [
        port.cmd.ready.eq(~(writing | reading | answering)),
        access.dat_w.eq(port.wdata.data),
        If(writing, access.we.eq(port.wdata.we)),
        port.wdata.ready.eq(writing),
        port.rdata.valid.eq(answering),
        port.rdata.data.eq(access.dat_r),
    ]
    address = Signal(len(port.cmd.addr))
    unit.comb += access.adr.eq(address)
    unit.sync += [
        writing.eq(taken & port.cmd.we),
        reading.eq(taken & ~port.cmd.we),
        answering.eq(reading),
        If(taken, address.eq(port.cmd.addr)),
    ]


if __name__ == "__main__":
    top, ios = bar_with_memory(int(sys.argv[1]))
    convert(top, ios=ios, name="top").write(sys.argv[2])
