"""The host's root complex against a stand-in for a device, and what it makes of its faults."""

import socket
import struct
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jalgateware.contract import pcie
from jalgateware.contract.memory_map import (
    CSR_ORIGIN,
    FINGERPRINT_ADDRESS,
    MAILBOX,
    MAIN_RAM_ORIGIN,
)
from jalhost.device import Device
from jalhost.errors import LinkError
from jalhost.links.bar0 import Bar0Link
from jalhost.links.pcie_tlp import FramedPackets, PacketBar, open_pcie_packets
from jalhost.links.root_complex import TAGS, RootComplex
from jalhost.links.tlp import Completion, MemoryRead, MemoryWrite, Packet, Status, decode, encode
from jaltest.bridge import Bridge
from jaltest.device import FINGERPRINT, FakeDevice
from jaltest.pcie import Change, FakeEndpoint, in_parts, lost, poisoned, refused

WORDS = st.integers(0, (1 << 32) - 1)
DATA = st.binary(min_size=1, max_size=64).map(lambda data: 4 * data)
IDENTITIES = st.integers(0, 0xFFFF)
TAG_VALUES = st.integers(0, 255)
ADDRESSES = st.integers(0, (1 << 40) - 1).map(lambda value: 4 * value)

PACKETS = st.one_of(
    st.builds(MemoryRead, IDENTITIES, TAG_VALUES, ADDRESSES, st.integers(1, 1024)),
    st.builds(MemoryWrite, IDENTITIES, ADDRESSES, DATA, st.booleans()),
    st.builds(
        Completion,
        IDENTITIES,
        IDENTITIES,
        TAG_VALUES,
        st.sampled_from(Status).map(int),
        st.integers(1, 4096),
        st.integers(0, 127),
        st.one_of(st.just(b""), DATA),
        st.booleans(),
    ),
)


def link_to(device: Bridge, **faults: Any) -> tuple[Bar0Link, FakeEndpoint]:
    endpoint = FakeEndpoint(device, **faults)
    return Bar0Link(PacketBar(RootComplex(endpoint))), endpoint


@given(PACKETS)
def test_packets_round_trip(packet: Packet) -> None:
    data = encode(packet)
    assert len(data) % 4 == 0
    assert decode(data) == packet


def test_packets_are_those_of_the_specification() -> None:
    read = MemoryRead(0x0008, 5, 0xE000_0010, 2)
    assert encode(read).hex() == "00000002000805ffe0000010"
    assert encode(replace(read, words=1)).hex() == "000000010008050fe0000010"
    write = MemoryWrite(0x0008, 0x1_0000_0000, bytes([1, 2, 3, 4]))
    assert encode(write).hex() == "600000010008000f000000010000000001020304"
    done = Completion(0x0100, 0x0008, 5, 0, 8, 0x10, bytes(8))
    assert encode(done).hex() == "4a0000020100000800080510" + 16 * "0"
    assert decode(bytes.fromhex("0a0000000100200400080510")) == Completion(
        0x0100, 0x0008, 5, Status.UNSUPPORTED_REQUEST, 4, 0x10
    )


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("", "of 0 bytes"),
        ("000000010008050fe000000000", "of 13 bytes"),
        ("40000002000800ffe000000001020304", "another length"),
        ("0000000100080507e0000000", "parts of words"),
        ("0a0000010100200400080510", "with a length and without data"),
        ("040000010000000f01000000", "type 0x04"),
    ],
)
def test_malformed_packets_are_named(data: str, message: str) -> None:
    with pytest.raises(LinkError, match=f"malformed PCIe packet.*{message}"):
        decode(bytes.fromhex(data))


@given(
    st.lists(WORDS, min_size=1, max_size=300),
    st.sampled_from([0, 4, 124, pcie.DRAM_WINDOW.size - 64]),
    st.booleans(),
    st.booleans(),
)
def test_words_round_trip(values: list[int], start: int, parts: bool, last_first: bool) -> None:
    faults = {"change": in_parts} if parts else {}
    link, endpoint = link_to(Bridge(), last_first=last_first and not parts, **faults)
    address = MAIN_RAM_ORIGIN + start
    link.write(address, values)
    assert link.read(address, len(values)) == values
    assert all(
        packet.address % 128 + 4 * count <= 128
        for packet in endpoint.requests
        if not isinstance(packet, Completion)
        for count in [packet.words if isinstance(packet, MemoryRead) else len(packet.data) // 4]
    )


def test_several_reads_are_under_way_at_once() -> None:
    device = Bridge()
    link, endpoint = link_to(device)
    for i in range(100):
        device.memory[MAILBOX.origin + 4 * i] = i
    assert link.read(MAILBOX.origin, 100) == list(range(100))
    assert endpoint.most_waiting == TAGS
    assert all(isinstance(packet, MemoryRead) and packet.words == 1 for packet in endpoint.requests)


def test_the_window_moves_only_when_it_must() -> None:
    device = Bridge()
    link, endpoint = link_to(device)
    size = pcie.DRAM_WINDOW.size
    link.write(MAIN_RAM_ORIGIN + size - 4, [1, 2])
    link.write(MAIN_RAM_ORIGIN + size + 4, [3])
    assert link.read(MAIN_RAM_ORIGIN + size - 4, 3) == [1, 2, 3]
    moves = [
        struct.unpack("<I", packet.data)[0]
        for packet in endpoint.requests
        if isinstance(packet, MemoryWrite)
        and packet.address == pcie.SIMULATED.bar0 + pcie.WINDOW_BASE - CSR_ORIGIN
    ]
    assert moves == [0, size, 0, size]


def test_what_bar0_does_not_show_is_refused_at_once() -> None:
    link, endpoint = link_to(Bridge())
    with pytest.raises(LinkError, match="0x10000000 cannot be reached over PCIe"):
        link.read(0x1000_0000)
    assert not endpoint.requests


def short(answer: Completion) -> Sequence[Packet]:
    return [replace(answer, data=answer.data + bytes(4))]


def misplaced(answer: Completion) -> Sequence[Packet]:
    return [replace(answer, lower_address=answer.lower_address ^ 4)]


FAULTS: list[tuple[Change, str]] = [
    (lost, "no answer from endpoint to a read of 1 word at 0xe0000000 within"),
    (refused(Status.UNSUPPORTED_REQUEST), "endpoint refused it .unsupported request"),
    (refused(Status.COMPLETER_ABORT), "endpoint aborted it .completer abort"),
    (refused(Status.RETRY), "not configured yet .retry"),
    (refused(7), "ended it with status 7"),
    (poisoned, "the answer of endpoint is poisoned"),
    (lambda answer: [encode(answer)[:-4]], "malformed PCIe packet"),
    (lambda answer: [b"\xff" * 12], "malformed PCIe packet"),
    (short, "answers with 8 of 4 bytes"),
    (misplaced, "at 0x04, expected 4 at 0x00"),
    (lambda answer: [replace(answer, byte_count=8)], "answers with 4 of 8 bytes"),
    (lambda answer: [replace(answer, tag=200)], "no answer from endpoint"),
    (lambda answer: [replace(answer, requester=0x99)], "no answer from endpoint"),
    (lambda answer: [replace(answer, data=b"")], "answers with 0 of 4 bytes"),
]


@pytest.mark.parametrize(("change", "message"), FAULTS)
def test_each_fault_of_an_answer_is_named(change: Change, message: str) -> None:
    link, _ = link_to(Bridge(), change=change)
    with pytest.raises(LinkError, match=message):
        link.read(FINGERPRINT_ADDRESS, 2)


@pytest.mark.parametrize(("change", "_message"), FAULTS)
@pytest.mark.parametrize("after", [3, 50])
def test_faults_in_the_middle_end_in_an_error(change: Change, _message: str, after: int) -> None:
    link, _ = link_to(FakeDevice(), change=change, after=after)
    with pytest.raises(LinkError):
        Device(link).counters()


def test_a_late_answer_is_not_taken_for_another() -> None:
    device = Bridge({FINGERPRINT_ADDRESS: 1, FINGERPRINT_ADDRESS + 4: 2})
    link, endpoint = link_to(device, change=lost)
    with pytest.raises(LinkError, match="no answer"):
        link.read(FINGERPRINT_ADDRESS)
    late = Completion(0x100, 0, 0, Status.SUCCESS, 4, 0, bytes([9, 9, 9, 9]))
    endpoint.change = lambda answer: [late, answer]
    assert link.read(FINGERPRINT_ADDRESS + 4) == [2]


def test_a_device_is_known_by_its_fingerprint() -> None:
    link, _ = link_to(FakeDevice())
    device = Device(link, FINGERPRINT)
    assert device.identity.fingerprint == FINGERPRINT
    device.close()


def device_of(memory: dict[int, bytearray], asks: list[Packet]) -> tuple[RootComplex, FakeEndpoint]:
    endpoint = FakeEndpoint(Bridge())
    endpoint.asks.extend(asks)
    root = RootComplex(endpoint)
    for address, buffer in memory.items():
        root.lend(address, buffer)
    return root, endpoint


def test_the_device_reads_the_hosts_memory_in_parts() -> None:
    buffer = bytearray(i % 251 for i in range(1024))
    root, endpoint = device_of({0x1000: buffer}, [MemoryRead(0x100, 3, 0x1040, 128)])
    assert root.serve(1.0)
    assert not root.serve(0.0)
    assert b"".join(answer.data for answer in endpoint.answers) == buffer[0x40:0x240]
    assert [len(answer.data) for answer in endpoint.answers] == [64, 128, 128, 128, 64]
    assert [answer.byte_count for answer in endpoint.answers] == [512, 448, 320, 192, 64]
    assert {(answer.tag, answer.requester, answer.status) for answer in endpoint.answers} == {
        (3, 0x100, Status.SUCCESS)
    }


def test_the_device_is_served_while_the_host_reads() -> None:
    buffer = bytearray(64)
    data = bytes(range(16))
    root, _ = device_of({0x1000: buffer}, [MemoryWrite(0x100, 0x1010, data)])
    root.read([(pcie.SIMULATED.bar0, 1)])
    assert bytes(buffer) == bytes(16) + data + bytes(32)


def test_interrupts_are_counted() -> None:
    message = MemoryWrite(0x100, pcie.MSI_ADDRESS, bytes([7, 0, 0, 0]))
    root, _ = device_of({}, [message, message])
    assert root.serve(1.0)
    assert root.serve(1.0)
    assert root.interrupts == [7, 7]


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        (MemoryRead(0x100, 3, 0x2000, 1), "wants to read 4 bytes .* 0x00002000"),
        (MemoryRead(0x100, 3, 0x13FC, 2), "wants to read 8 bytes"),
        (MemoryWrite(0x100, 0x0FFC, bytes(8)), "wants to write 8 bytes"),
        (MemoryWrite(0x100, 0x1000, bytes(4), poisoned=True), "poisoned"),
    ],
)
def test_the_device_gets_only_what_it_was_lent(request_: Packet, message: str) -> None:
    buffer = bytearray(b"x" * 1024)
    root, endpoint = device_of({0x1000: buffer}, [request_])
    with pytest.raises(LinkError, match=message):
        root.serve(1.0)
    assert buffer == bytearray(b"x" * 1024)
    expected = [Status.UNSUPPORTED_REQUEST] if isinstance(request_, MemoryRead) else []
    assert [answer.status for answer in endpoint.answers] == expected


def test_nothing_is_lent_for_longer_than_needed() -> None:
    root, _ = device_of({0x1000: bytearray(64)}, [MemoryRead(0x100, 3, 0x1000, 1)])
    root.take_back(0x1000)
    with pytest.raises(LinkError, match="not lent"):
        root.serve(1.0)


class Pieces:
    """A byte stream that gives a few bytes at a time."""

    description = "pieces"
    baud = None

    def __init__(self, data: bytes, piece: int) -> None:
        self.data, self.piece = data, piece
        self.sent = b""
        self.closed = False

    def send(self, data: bytes) -> None:
        self.sent += data

    def receive(self, most: int, timeout_s: float) -> bytes:
        part = self.data[: min(most, self.piece)]
        self.data = self.data[len(part) :]
        return part

    def discard_input(self) -> None:
        self.data = b""

    def drain(self) -> None:
        pass

    def close(self) -> None:
        self.closed = True


@pytest.mark.parametrize("piece", [1, 3, 1000])
def test_packets_are_framed_by_their_lengths(piece: int) -> None:
    packets = [bytes(12), bytes(range(16)), bytes(400)]
    framed = b"".join(len(packet).to_bytes(2, "big") + packet for packet in packets)
    stream = Pieces(framed, piece)
    frames = FramedPackets(stream)
    assert [frames.receive(1.0) for _ in range(4)] == [*packets, None]
    frames.send(packets)
    assert stream.sent == framed
    frames.close()
    assert stream.closed


def test_a_silent_device_is_a_timeout() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        link = open_pcie_packets(f"127.0.0.1:{server.getsockname()[1]}", 0.05)
        with pytest.raises(LinkError, match=r"no answer from 127.* to a read of 1 word .* 0\.05 s"):
            link.read(FINGERPRINT_ADDRESS)
        link.close()


def test_a_device_that_hangs_up_is_lost() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        link = open_pcie_packets(f"127.0.0.1:{server.getsockname()[1]}", 5.0)
        server.accept()[0].close()
        with pytest.raises(LinkError, match="lost the connection"):
            link.read(FINGERPRINT_ADDRESS)
        link.close()


def test_names_that_are_none_are_refused() -> None:
    with pytest.raises(LinkError, match="'localhost' is not HOST:PORT"):
        open_pcie_packets("localhost", 1.0)
