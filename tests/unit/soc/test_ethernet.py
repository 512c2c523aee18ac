"""What guards LiteEth's Etherbone: frames that wait, and requests in order."""

import random
import zlib
from dataclasses import dataclass

from hypothesis import given, settings
from hypothesis import strategies as st
from migen import run_simulation

from jalgateware.contract import etherbone
from jalsoc.ethernet import FrameBuffer, RequestGate
from jaltest.gateware import Process

DEPTH = 64


def send_frames(
    buffer: FrameBuffer, frames: list[tuple[bytes, bool]], gap: int, pick: random.Random
) -> Process:
    """Sends frames as a PHY does, which does not wait; (bytes, damaged)."""
    for data, damaged in frames:
        for place, byte in enumerate(data):
            last = place == len(data) - 1
            yield buffer.sink.valid.eq(1)
            yield buffer.sink.data.eq(byte)
            yield buffer.sink.last.eq(last)
            yield buffer.sink.error.eq(last and damaged)
            yield
            assert (yield buffer.sink.ready)
        yield buffer.sink.valid.eq(0)
        for _ in range(pick.randint(0, gap)):
            yield
    for _ in range(4 * DEPTH):
        yield


def take_frames(
    buffer: FrameBuffer, drain: float, pick: random.Random, taken: list[bytes], start: int = 0
) -> Process:
    """Takes frames from a cycle on."""
    yield "passive"
    frame = b""
    cycle = 0
    while True:
        if (yield buffer.source.valid) and (yield buffer.source.ready):
            frame += bytes([(yield buffer.source.data)])
            if (yield buffer.source.last):
                taken.append(frame)
                frame = b""
        yield buffer.source.ready.eq(cycle >= start and pick.random() < drain)
        yield
        cycle += 1


FRAMES = st.lists(st.tuples(st.binary(min_size=1, max_size=DEPTH + 4), st.booleans()), max_size=12)


@given(FRAMES, st.sampled_from([0.0, 0.3, 1.0]), st.sampled_from([0, 20]), st.integers(0, 99))
@settings(max_examples=25)
def test_frames_come_out_whole_or_not_at_all(
    frames: list[tuple[bytes, bool]], drain: float, gap: int, seed: int
) -> None:
    buffer, pick = FrameBuffer(DEPTH), random.Random(seed)
    taken: list[bytes] = []
    take = take_frames(buffer, drain, random.Random(seed + 1), taken)
    run_simulation(buffer, [send_frames(buffer, frames, gap, pick), take])
    sound = [data for data, damaged in frames if not damaged]
    rest = iter(sound)
    assert all(frame in rest for frame in taken)  # each of them, in their order
    if drain and sum(len(data) for data, _ in frames) <= DEPTH:
        assert taken == sound


def test_what_finds_no_room_is_dropped_and_the_next_is_not() -> None:
    frames = [bytes([i]) * (DEPTH // 4) for i in range(6)]
    buffer, pick = FrameBuffer(DEPTH), random.Random(0)
    taken: list[bytes] = []
    sent = [(frame, False) for frame in frames]
    # While nobody takes anything, there is room for four, and two are too many.
    start = sum(map(len, frames)) + 10
    take = take_frames(buffer, 1.0, pick, taken, start)
    again = send_frames(buffer, [*sent[:5], (frames[5] * 2, False)], 0, pick)
    run_simulation(buffer, [again, take])
    assert taken == frames[:4]

    taken.clear()
    buffer = FrameBuffer(DEPTH)
    take = take_frames(buffer, 1.0, pick, taken, len(frames[0]) * 5)
    run_simulation(buffer, [send_frames(buffer, sent, 0, pick), take])
    # The sixth came when the first four began to leave; it arrives no faster than they go.
    assert taken == [*frames[:4], frames[5]]


@dataclass(frozen=True)
class Packet:
    """A request: its number and the words that its record says it has, and has."""

    number: int
    writes: int
    reads: int
    excess: int = 0
    probe: bool = False

    @property
    def words(self) -> int:
        return bool(self.writes) + self.writes + bool(self.reads) + self.reads

    @property
    def sound(self) -> bool:
        return self.probe or (0 < self.words <= etherbone.RECORD_WORDS and not self.excess)


NUMBERS = st.one_of(st.just(0), st.integers(1, 6), st.sampled_from([1 << 31, (1 << 32) - 1]))

PACKETS = st.builds(
    Packet,
    NUMBERS,
    st.sampled_from([0, 1, 2, 200]),
    st.sampled_from([0, 1, 100]),
    st.sampled_from([0, 0, 0, 1, -1]),
    st.sampled_from([False, False, True]),
)


@given(st.lists(PACKETS, max_size=12), st.sampled_from([0.4, 1.0]))
@settings(max_examples=40)
def test_gate(packets: list[Packet], drain: float) -> None:
    gate, pick = RequestGate(), random.Random(1)
    passed: list[tuple[int, int]] = []

    def send() -> Process:
        for index, packet in enumerate(packets):
            length = 4 + 4 * max(packet.words + packet.excess, 0)
            yield gate.number.eq(packet.number)
            yield gate.sink.pf.eq(packet.probe)
            yield gate.sink.length.eq(length)
            for place in range(length // 4):
                header = 0x0F00 | packet.writes << 16 | packet.reads << 24
                yield gate.sink.data.eq(index if place else header)
                yield gate.sink.valid.eq(1)
                yield gate.sink.last.eq(place == length // 4 - 1)
                yield
                while not (yield gate.sink.ready):
                    yield
            yield gate.sink.valid.eq(0)
            # Between packets the header's number may be anything.
            yield gate.number.eq(pick.getrandbits(32))
            yield

    def receive() -> Process:
        yield "passive"
        index, words = 0, 0
        while True:
            yield gate.source.ready.eq(pick.random() < drain)
            yield
            if (yield gate.source.valid) and (yield gate.source.ready):
                words += 1
                if words > 1:
                    index = yield gate.source.data
                if (yield gate.source.last):
                    passed.append((index, words))
                    words = 0

    run_simulation(gate, [send(), receive()])
    last = None
    expected = []
    for index, packet in enumerate(packets):
        numbered = packet.number and not packet.probe
        fresh = last is None or not numbered or etherbone.follows(packet.number, last)
        if packet.sound and fresh:
            last = packet.number if numbered else last
            expected.append((index, 1 + max(packet.words + packet.excess, 0)))
    assert [words for _, words in passed] == [words for _, words in expected]
    assert all(got == wanted for got, wanted in zip(passed, expected, strict=True) if wanted[1] > 1)


def test_board_with_clocks_of_its_own() -> None:
    """All but the bridge runs with the PHY's clocks, and the tools are told of these."""
    from liteeth.phy.mii import LiteEthPHYMII
    from litex.build.generic_platform import Pins, Subsignal
    from litex.build.lattice import LatticeECP5Platform
    from litex.gen import LiteXModule
    from litex.soc.integration.soc_core import SoCMini
    from migen import ClockDomain

    from jalsoc.ethernet import add_etherbone

    pins = [
        ("clk", 0, Pins("A1")),
        ("eth_clocks", 0, Subsignal("tx", Pins("B1")), Subsignal("rx", Pins("B2"))),
        (
            "eth",
            0,
            Subsignal("rx_dv", Pins("C1")),
            Subsignal("rx_data", Pins("C2 C3 C4 C5")),
            Subsignal("tx_en", Pins("D1")),
            Subsignal("tx_data", Pins("D2 D3 D4 D5")),
        ),
    ]
    platform = LatticeECP5Platform("LFE5U-25F-6BG256C", pins, toolchain="trellis")

    soc = SoCMini(platform, 50_000_000)
    soc.crg = LiteXModule()
    soc.crg.cd_sys = ClockDomain()
    soc.crg.comb += soc.crg.cd_sys.clk.eq(platform.request("clk"))
    phy = LiteEthPHYMII(platform.request("eth_clocks"), platform.request("eth"))
    add_etherbone(soc, phy, 0x10E2D5000000, "10.0.0.2")
    soc.finalize()
    verilog = platform.get_verilog(soc, name="top").main_source
    for clock in ("eth_rx_clk", "eth_tx_clk", "etherbone_clk", "sys_clk"):
        assert f"always @(posedge {clock})" in verilog
    assert soc.csr.locs["etherbone"] == etherbone.CSR_LOCATION
    commands = [text for text, _ in platform.constraint_manager.platform_commands]
    assert [text for text in commands if text.startswith("FREQUENCY")] == [
        'FREQUENCY PORT "{clk}" 25.0 MHz;'
    ] * 2


def test_frame_with_a_wrong_check_sequence_is_dropped() -> None:
    """LiteEth marks it at its end, and the buffer sees the mark."""
    from liteeth.common import eth_phy_description
    from litex.gen import LiteXModule
    from litex.soc.interconnect.stream import Endpoint
    from migen import ClockDomainsRenamer

    from jalsoc.ethernet import UdpCore

    phy = LiteXModule()
    phy.dw = 8
    phy.sink, phy.source = (Endpoint(eth_phy_description(8)) for _ in range(2))
    core = UdpCore(phy, 0x10E2D5000000, 0x0A000002, 1_000_000)
    frames = [bytes(12) + b"\x08\x00" + bytes([index]) * 46 for index in range(3)]
    taken: list[bytes] = []

    def send() -> Process:
        for index, frame in enumerate(frames):
            check = zlib.crc32(frame) ^ (index == 1)
            wire = b"\x55" * 7 + b"\xd5" + frame + check.to_bytes(4, "little")
            for place, byte in enumerate(wire):
                yield phy.source.valid.eq(1)
                yield phy.source.data.eq(byte)
                yield phy.source.last.eq(place == len(wire) - 1)
                yield
            yield phy.source.valid.eq(0)
            for _ in range(20):
                yield
        for _ in range(200):
            yield

    def watch() -> Process:
        """The buffer's reader is LiteEth here: looks at what it takes."""
        yield "passive"
        frame = b""
        while True:
            if (yield core.ip.buffer.source.valid) and (yield core.ip.buffer.source.ready):
                frame += bytes([(yield core.ip.buffer.source.data)])
                if (yield core.ip.buffer.source.last):
                    taken.append(frame)
                    frame = b""
            yield

    run_simulation(ClockDomainsRenamer({"eth_rx": "sys", "eth_tx": "sys"})(core), [send(), watch()])
    assert taken == [frames[0][14:], frames[2][14:]]
