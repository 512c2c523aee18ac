"""BAR 0 through LitePCIe's endpoint, packet by packet, for both widths of its streams."""

import random
import struct
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest
from litedram.common import LiteDRAMNativePort
from litepcie.common import get_bar_mask, phy_layout
from litepcie.core import LitePCIeEndpoint
from litex.gen import LiteXModule
from litex.soc.interconnect import stream
from migen import Signal

from jalgateware.contract import pcie
from jalhost.links.tlp import Completion, MemoryRead, MemoryWrite, Packet, Status, decode, encode
from jalsoc.pcie import FramedPhy, add_pcie
from jalsoc.pcie_frame import PacketFrame
from jalsoc.pcie_window import DramWindow, Refusal
from jaltest.dram_model import DramModel
from jaltest.gateware import Process, simulate

HOST, DEVICE = 0x0008, 0x0100
BASE = 0x0030_0000
"""What the window shows."""

REFUSAL = Completion(DEVICE, HOST, 7, Status.UNSUPPORTED_REQUEST, 4, 0)

WIDTHS = pytest.mark.parametrize("width", [64, 128])


def phy(width: int) -> Any:
    """Streams, and what LitePCIe wants to know of a PHY."""
    return SimpleNamespace(
        sink=stream.Endpoint(phy_layout(width)),
        source=stream.Endpoint(phy_layout(width)),
        data_width=width,
        bar0_mask=get_bar_mask(pcie.BAR0_BYTES),
        id=Signal(16, reset=DEVICE),
        max_request_size=Signal(16, reset=512),
        max_payload_size=Signal(16, reset=128),
    )


def bar(width: int, port: LiteDRAMNativePort) -> Any:
    """The upper half of BAR 0, and nothing in the lower one."""
    unit = LiteXModule()
    unit.phy = phy(width)
    unit.frames = FramedPhy(unit.phy)
    unit.endpoint = LitePCIeEndpoint(unit.frames)
    unit.window = DramWindow(unit.endpoint, port, lambda address: address[19])
    unit.refusal = Refusal(unit.endpoint, lambda address: ~address[19])
    return unit


def send(sink: Any, packets: Sequence[bytes], stall: float, pick: random.Random) -> Process:
    """Packets as a PHY gives them; what a last beat does not fill is noise."""
    lanes = len(sink.dat) // 32
    for packet in packets:
        words = list(struct.unpack(f">{len(packet) // 4}I", packet))
        for start in range(0, len(words), lanes):
            part = words[start : start + lanes]
            noise = [pick.getrandbits(32) for _ in range(lanes - len(part))]
            while pick.random() < stall:
                yield
            data = sum(word << 32 * i for i, word in enumerate(part + noise))
            yield sink.dat.eq(data)
            yield sink.be.eq((1 << 4 * len(part)) - 1)
            yield sink.last.eq(int(start + lanes >= len(words)))
            yield sink.valid.eq(1)
            yield
            while not (yield sink.ready):
                yield
            yield sink.valid.eq(0)


def receive(source: Any, packets: list[bytes], stall: float, pick: random.Random) -> Process:
    """Packets as a PHY takes them."""
    yield "passive"
    words: list[int] = []
    while True:
        if (yield source.valid) and (yield source.ready):
            data, enables = (yield source.dat), (yield source.be)
            for i in range(len(source.dat) // 32):
                if enables >> 4 * i & 0xF:
                    words.append(data >> 32 * i & 0xFFFFFFFF)
            if (yield source.last):
                packets.append(struct.pack(f">{len(words)}I", *words))
                words.clear()
        yield source.ready.eq(int(pick.random() >= stall))
        yield


def exchange(
    width: int, packets: Sequence[Packet], answers: int, stall: float = 0.3, port_bits: int = 128
) -> tuple[list[Completion], DramModel]:
    """What the device answers, and its DRAM."""
    port = LiteDRAMNativePort("both", 24, port_bits)
    unit = bar(width, port)
    memory = DramModel([port], lambda address: address * 0x01010101, partial=True)
    raw: list[bytes] = []
    pick = random.Random(len(packets))

    def host() -> Process:
        yield unit.window.base.storage.eq(BASE + 0x123)  # bits below the window's size
        yield from send(unit.phy.source, [encode(packet) for packet in packets], stall, pick)
        for _ in range(20_000):
            if len(raw) >= answers:
                break
            yield
        for _ in range(200):
            yield

    simulate(unit, [host(), receive(unit.phy.sink, raw, stall, pick), memory.process()])
    found = []
    for data in raw:
        packet = decode(data)
        assert isinstance(packet, Completion)
        found.append(packet)
    return found, memory


def word_at(memory: DramModel, address: int, port_bits: int = 128) -> int:
    """A word of DRAM by its byte address."""
    port_bytes = port_bits // 8
    place = address // port_bytes
    value = memory.memory.get(place, memory.read(place))
    return value >> 8 * (address % port_bytes) & 0xFFFFFFFF


def read(offset: int, words: int, tag: int = 5) -> MemoryRead:
    return MemoryRead(HOST, tag, pcie.SIMULATED.bar0 + offset, words)


def write(offset: int, values: Sequence[int]) -> MemoryWrite:
    data = struct.pack(f"<{len(values)}I", *values)
    return MemoryWrite(HOST, pcie.SIMULATED.bar0 + offset, data)


@WIDTHS
@pytest.mark.parametrize("port_bits", [32, 128, 512])
def test_writes_of_any_length_reach_dram(width: int, port_bits: int) -> None:
    pick = random.Random(port_bits)
    packets, expected, place = [], {}, 0x80000
    for words in [*range(1, 34), 1, 2]:
        values = [pick.getrandbits(32) for _ in range(words)]
        packets.append(write(place, values))
        for i, value in enumerate(values):
            expected[BASE + place - 0x80000 + 4 * i] = value
        place += 4 * words
    _, memory = exchange(width, packets, 0, port_bits=port_bits)
    for address, value in expected.items():
        assert word_at(memory, address, port_bits) == value, hex(address)


@WIDTHS
def test_reads_of_any_length_are_answered(width: int) -> None:
    lengths = range(1, pcie.MAX_READ_WORDS + 1)
    packets = [read(0x80000 + 0x94 * words, words, tag=words) for words in lengths]
    answers, memory = exchange(width, packets, len(packets))
    assert len(answers) == len(packets)
    for request, answer in zip(packets, answers, strict=True):
        assert (answer.tag, answer.status) == (request.tag, Status.SUCCESS)
        assert (answer.completer, answer.requester) == (DEVICE, HOST)
        assert answer.byte_count == 4 * request.words
        assert answer.lower_address == request.address & 0x7F
        start = BASE + request.address - pcie.SIMULATED.bar0 - 0x80000
        expected = [word_at(memory, start + 4 * i) for i in range(request.words)]
        assert list(struct.unpack(f"<{request.words}I", answer.data)) == expected, request


@WIDTHS
def test_reads_find_what_was_written_before(width: int) -> None:
    packets: list[Packet] = []
    for i in range(20):
        packets += [write(0x80000 + 0x40, [i, ~i & 0xFFFFFFFF]), read(0x80040, 2, tag=i)]
    answers, _ = exchange(width, packets, 20, stall=0.0)
    found = [struct.unpack("<2I", answer.data) for answer in answers]
    assert found == [(i, ~i & 0xFFFFFFFF) for i in range(20)]


@WIDTHS
@pytest.mark.parametrize(
    ("offset", "words"), [(0x20000, 1), (0x0, 4), (0x80000, 33), (0x80000, 1024)]
)
def test_what_cannot_be_read_is_refused(width: int, offset: int, words: int) -> None:
    packets: list[Packet] = [
        read(offset, words, tag=9),
        write(0x30000, [1, 2, 3]),
        read(0x80000, 1, tag=3),
    ]
    (refusal, answer), _ = exchange(width, packets, 2)
    assert (refusal.status, refusal.tag, refusal.data) == (Status.UNSUPPORTED_REQUEST, 9, b"")
    assert (answer.status, answer.tag) == (Status.SUCCESS, 3)


@WIDTHS
def test_writes_take_a_cycle_for_each_word(width: int) -> None:
    port = LiteDRAMNativePort("both", 24, 128)
    unit = bar(width, port)
    memory = DramModel([port], lambda _: 0, latency=(4, 4), ready=1.0, partial=True)
    packets = [encode(write(0x80000 + 128 * i, range(32))) for i in range(20)]
    pick = random.Random(0)

    def host() -> Process:
        yield from send(unit.phy.source, packets, 0.0, pick)
        while len(memory.write_order) < 20 * 32:
            yield

    simulate(unit, [host(), memory.process()])
    # Four more for each packet's header, and for the way to DRAM.
    assert memory.cycle <= 20 * (32 + 4) + 20


def test_phys_that_do_not_fit_are_refused() -> None:
    small, other = phy(64), phy(64)
    small.bar0_size = 1 << 16
    with pytest.raises(ValueError, match="BAR 0 has 1048576 bytes, not 65536"):
        add_pcie(None, small)
    other.bar0_size, other.endianness = pcie.BAR0_BYTES, "little"
    with pytest.raises(ValueError, match="none of LitePCIe's PHYs for 7-series FPGAs"):
        add_pcie(None, other)


@WIDTHS
@pytest.mark.parametrize("pad", [False, True])
def test_packets_get_the_beats_that_their_headers_say(width: int, pad: bool) -> None:
    pick = random.Random(width)
    whole = [encode(write(0x80000, range(words))) for words in range(1, 12)]
    whole += [encode(read(0x80000, 7)), encode(REFUSAL)]
    # A completion without data has no length.
    given = [*whole[:-1], bytes.fromhex("0a000001") + whole[-1][4:]]
    junk = [packet + bytes(4 * pick.randrange(9)) for packet in given]
    unit = PacketFrame(width, pad)
    found: list[bytes] = []

    def host() -> Process:
        yield from send(unit.sink, junk, 0.3, pick)
        for _ in range(50):
            yield

    simulate(unit, [host(), receive(unit.source, found, 0.3, pick)])
    assert found == whole


@WIDTHS
def test_a_packet_that_breaks_off_does_not_swallow_the_next(width: int) -> None:
    pick = random.Random(1)
    good = encode(write(0x80000, range(6)))
    unit = PacketFrame(width, pad=False)
    found: list[bytes] = []

    def host() -> Process:
        yield from send(unit.sink, [good[:-12], good], 0.3, pick)
        for _ in range(50):
            yield

    simulate(unit, [host(), receive(unit.source, found, 0.3, pick)])
    assert found[-1] == good
    assert len(found) == 2
