"""Ethernet into the system: LiteEth's UDP and Etherbone, guarded against what networks do.

LiteEth hands frames on while they arrive. A frame with a wrong check sequence is marked at its end,
when most of it has been used; one that arrives while the bus is busy loses bytes in the middle; and
a record that is longer or shorter than it says leaves the record decoder out of step. So frames are
kept until they are complete (:class:`FrameBuffer`), and records are looked at before they are
decoded (:class:`RequestGate`).
"""

from typing import Any

from liteeth.common import (
    convert_ip,
    eth_etherbone_packet_user_description,
    eth_mac_description,
    eth_phy_description,
    ethernet_type_ip,
)
from liteeth.core.arp import LiteEthARP
from liteeth.core.icmp import LiteEthICMP
from liteeth.core.ip import LiteEthIPRX, LiteEthIPTX, LiteEthIPV4Crossbar
from liteeth.core.udp import LiteEthUDP
from liteeth.frontend.etherbone import (
    LiteEthEtherbonePacketRX,
    LiteEthEtherbonePacketTX,
    LiteEthEtherboneProbe,
    LiteEthEtherboneRecord,
    LiteEthEtherboneWishboneMaster,
)
from liteeth.mac import LiteEthMAC
from litex.gen import LiteXModule
from litex.soc.interconnect.csr import CSRStatus
from litex.soc.interconnect.packet import Arbiter, Dispatcher
from litex.soc.interconnect.stream import Endpoint
from migen import (
    READ_FIRST,
    Cat,
    ClockDomain,
    ClockDomainsRenamer,
    ClockSignal,
    If,
    Memory,
    ResetSignal,
    Signal,
)

from jalgateware.contract import etherbone
from jalgateware.units.fifo import NEVER_COLLIDES

BUFFER_BYTES = 8192
"""Frames that wait: seven of the longest requests."""


class FrameBuffer(LiteXModule):
    """Keeps frames until they are complete, and drops those that are damaged or find no room.

    Interface: ``sink`` is always ready, ``source`` has only whole and sound frames; streams of
    bytes, of whose fields only ``data``, ``last`` and (at a frame's end, in the sink) ``error`` are
    used. Latency: a frame's length and three cycles. Throughput: a byte per cycle.
    """

    def __init__(self, depth: int = BUFFER_BYTES) -> None:
        self.sink = Endpoint(eth_mac_description(8))
        self.source = Endpoint(eth_mac_description(8))

        # # #

        # Pointers have a bit more than addresses: full and empty differ.
        write, done, read, level = (Signal(max=2 * depth) for _ in range(4))
        spoilt, lost = Signal(), Signal()
        memory = Memory(9, depth)
        memory.attr = {NEVER_COLLIDES}
        writer = memory.get_port(write_capable=True, mode=READ_FIRST)
        reader = memory.get_port(has_re=True, mode=READ_FIRST)
        self.specials += memory, writer, reader
        self.comb += [
            self.sink.ready.eq(1),
            level.eq(write - read),
            lost.eq(spoilt | (level == depth)),
            writer.adr.eq(write),
            writer.dat_w.eq(Cat(self.sink.data, self.sink.last)),
            writer.we.eq(self.sink.valid & ~lost),
            reader.adr.eq(read),
            reader.re.eq((read != done) & (~self.source.valid | self.source.ready)),
            Cat(self.source.data, self.source.last).eq(reader.dat_r),
            self.source.last_be.eq(self.source.last),
        ]
        self.sync += [
            If(
                self.sink.valid,
                spoilt.eq(lost & ~self.sink.last),
                If(~lost, write.eq(write + 1)),
                If(
                    self.sink.last,
                    If(lost | self.sink.error, write.eq(done)).Else(done.eq(write + 1)),
                ),
            ),
            If(reader.re, read.eq(read + 1), self.source.valid.eq(1)).Elif(
                self.source.ready, self.source.valid.eq(0)
            ),
        ]


class RequestGate(LiteXModule):
    """Lets a request through once, and none behind a later one; drops records that are malformed.

    Interface: ``sink`` and ``source`` are Etherbone packets (32 bits). ``number`` is the request's
    (:mod:`jalgateware.contract.etherbone`), valid with its first word; ``last`` the last that went
    through. Latency: none. Throughput: a word per cycle.
    """

    def __init__(self) -> None:
        self.sink = sink = Endpoint(eth_etherbone_packet_user_description(32))
        self.source = source = Endpoint(eth_etherbone_packet_user_description(32))
        self.number = Signal(32)
        self.last = Signal(32)

        # # #

        writes, reads = sink.data[16:24], sink.data[24:32]
        words = Signal(max=2 * etherbone.RECORD_WORDS + 1)
        passing, sound, numbered, fresh, verdict = (Signal() for _ in range(5))
        first, any_number = Signal(reset=1), Signal(reset=1)
        distance = Signal(32)
        self.comb += [
            words.eq(writes + (writes != 0) + reads + (reads != 0)),
            # A probe has no record.
            sound.eq(
                sink.pf
                | (words != 0)
                & (words <= etherbone.RECORD_WORDS)
                & (sink.length == (words << 2) + 4)
            ),
            distance.eq(self.number - self.last),
            numbered.eq(~sink.pf & (self.number != 0)),
            fresh.eq(~numbered | any_number | (distance != 0) & ~distance[31]),
            verdict.eq(first & sound & fresh | ~first & passing),
            sink.connect(source, omit={"valid", "ready"}),
            source.valid.eq(sink.valid & verdict),
            sink.ready.eq(source.ready | ~verdict),
        ]
        self.sync += If(
            sink.valid & sink.ready,
            first.eq(sink.last),
            passing.eq(verdict),
            If(first & verdict & numbered, self.last.eq(self.number), any_number.eq(0)),
        )


class MarkedEnds(LiteXModule):
    """A PHY that says in ``last_be``, too, where frames end.

    LiteEth's PHYs of 8 bits do not, and its MAC (2024.12) then finds no check sequence wrong.

    Interface, latency and throughput: the PHY's.
    """

    def __init__(self, phy: Any) -> None:
        if phy.dw != 8:
            raise ValueError(f"the PHY has {phy.dw} bits, and this takes those of 8")
        self.dw = phy.dw
        self.integrated_ifg_inserter = getattr(phy, "integrated_ifg_inserter", False)
        self.sink = phy.sink
        self.source = Endpoint(eth_phy_description(8))

        # # #

        self.comb += [
            phy.source.connect(self.source, omit={"last_be"}),
            self.source.last_be.eq(phy.source.last),
        ]


class UdpCore(LiteXModule):
    """LiteEth's MAC, ARP, ICMP, IP and UDP, with a buffer between MAC and IP.

    ARP goes past the buffer: answers wait for it, and requests in the buffer for the answers.

    Interface: ``udp`` as LiteEth's. All of it is in the clock domains "eth_tx", "eth_rx" and "sys".
    """

    def __init__(self, phy: Any, mac_address: int, ip_address: int, clock_hz: int) -> None:
        self.phy = MarkedEnds(phy)
        buffered = {"tx_cdc_buffered": True, "rx_cdc_buffered": True}
        self.mac = LiteEthMAC(self.phy, dw=8, interface="crossbar", **buffered)
        self.arp = LiteEthARP(self.mac, mac_address, ip_address, clock_hz)
        self.ip = BufferedIp(self.mac, mac_address, ip_address, self.arp.table)
        self.icmp = LiteEthICMP(self.ip, ip_address)
        _repair(self.icmp.echo.buffer)
        self.udp = LiteEthUDP(self.ip, ip_address)


class BufferedIp(LiteXModule):
    """LiteEth's ``LiteEthIP`` for the own address alone, behind a :class:`FrameBuffer`."""

    def __init__(self, mac: Any, mac_address: int, ip_address: int, arp_table: Any) -> None:
        self.tx = LiteEthIPTX(mac_address, ip_address, arp_table)
        self.rx = LiteEthIPRX(mac_address, ip_address, with_broadcast=False)
        self.buffer = FrameBuffer()
        self.crossbar = LiteEthIPV4Crossbar()

        # # #

        port = mac.crossbar.get_port(ethernet_type_ip)
        self.comb += [
            self.tx.source.connect(port.sink),
            port.source.connect(self.buffer.sink),
            self.buffer.source.connect(self.rx.sink),
            self.crossbar.master.source.connect(self.tx.sink),
            self.rx.source.connect(self.crossbar.master.sink),
        ]


class Etherbone(LiteXModule):
    """LiteEth's Etherbone as a bus master, behind a :class:`RequestGate`.

    Unlike LiteEth's own, it answers to the port that a request came from, and takes records that
    both write and read.

    Interface: ``bus``. Register: ``last_number``.
    """

    def __init__(self, udp: Any, udp_port: int, domain: str) -> None:
        self.tx = LiteEthEtherbonePacketTX(udp_port)
        self.rx = LiteEthEtherbonePacketRX()
        self.gate = RequestGate()
        self.probe = LiteEthEtherboneProbe()
        self.record = LiteEthEtherboneRecord(buffer_depth=etherbone.RECORD_WORDS)
        self.master = LiteEthEtherboneWishboneMaster()
        self.bus = self.master.bus
        self._last_number = CSRStatus(
            32, name="last_number", description="Of the last numbered request that was executed."
        )

        # # #

        port = udp.crossbar.get_port(udp_port, dw=32, cd=domain)
        header, receiver = self.rx.depacketizer.header, self.record.receiver
        asking_port = Signal(16)
        self.dispatcher = Dispatcher(self.gate.source, [self.probe.sink, self.record.sink])
        self.arbiter = Arbiter([self.probe.source, self.record.source], self.tx.sink)
        for fifo in (self.probe.fifo, receiver.fifo, self.record.sender.fifo):
            _repair(fifo)
        # LiteEth 2024.12 leaves the return address behind writes where it is, and reads from it.
        receiver.fsm.act("RECEIVE_BASE_RET_ADDR", receiver.fifo.source.ready.eq(1))
        self.comb += [
            port.source.connect(self.rx.sink),
            self.rx.source.connect(self.gate.sink),
            self.gate.number.eq(Cat(*(header[8 * byte : 8 * byte + 8] for byte in (7, 6, 5, 4)))),
            self._last_number.status.eq(self.gate.last),
            self.dispatcher.sel.eq(~self.gate.source.pf),
            receiver.source.connect(self.master.sink),
            self.master.source.connect(self.record.sender.sink),
            self.tx.source.connect(port.sink, omit={"dst_port"}),
            port.sink.dst_port.eq(asking_port),
        ]
        self.sync += If(
            self.gate.source.valid & self.gate.source.ready,
            asking_port.eq(self.gate.source.src_port),
        )


def _repair(fifo: Any) -> None:
    """Lets a packet end only when its last word goes in.

    LiteX 2024.12's ``PacketFIFO`` notes the end as soon as the last word is there, and again in
    each cycle that the word has to wait for room.
    """
    words, ends = fifo.payload_fifo.sink, fifo.param_fifo.sink
    fifo.comb += ends.valid.eq(fifo.sink.valid & fifo.sink.last & words.ready)


def add_etherbone(
    soc: Any,
    phy: Any,
    mac_address: int,
    ip_address: str | int,
    udp_port: int = etherbone.PORT,
    domain: str | None = "eth",
) -> None:
    """Gives a system a bus master that listens on UDP.

    It has neither authentication nor encryption: whoever reaches the port owns the system.

    Args:
        soc: not finalised yet.
        phy: one of LiteEth's PHYs; its clock domains are ``domain`` with "_rx" and "_tx".
        mac_address: 48 bits.
        ip_address: 32 bits, or as text (four numbers).
        udp_port: where to listen.
        domain: None for a PHY in the system's clock domain.
    """
    core = UdpCore(phy, mac_address, convert_ip(ip_address), soc.sys_clk_freq)
    names = {"eth_rx": "sys", "eth_tx": "sys"}
    bridge_domain = "sys"
    if domain:
        # As in LiteX's add_etherbone: all but the bridge runs with the PHY's receive clock.
        names = {"eth_rx": f"{domain}_rx", "eth_tx": f"{domain}_tx", "sys": f"{domain}_rx"}
        bridge_domain = "etherbone"
        soc.cd_etherbone = ClockDomain("etherbone")
        soc.comb += [
            soc.cd_etherbone.clk.eq(ClockSignal("sys")),
            soc.cd_etherbone.rst.eq(ResetSignal("sys")),
        ]
        _constrain(soc, phy)
    soc.ethernet_phy = phy
    soc.ethernet = ClockDomainsRenamer(names)(core)
    soc.csr.add("etherbone", n=etherbone.CSR_LOCATION)
    soc.etherbone = Etherbone(core.udp, udp_port, bridge_domain)
    soc.bus.add_master(name="etherbone", master=soc.etherbone.bus)


def _constrain(soc: Any, phy: Any) -> None:
    """Tells the tools of the PHY's clocks."""
    crg = getattr(phy, "crg", phy)
    clocks = {crg.cd_eth_rx.clk: phy.rx_clk_freq, crg.cd_eth_tx.clk: phy.tx_clk_freq}
    for clock, frequency in clocks.items():
        soc.platform.add_period_constraint(clock, 1e9 / frequency)
    soc.platform.add_false_path_constraints(soc.crg.cd_sys.clk, *clocks)
