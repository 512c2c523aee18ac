"""Packets of PCI Express's transaction layer, as bytes and as values.

From the PCI Express Base Specification, "Transaction Layer Specification": headers of three or four
words in big-endian order, then data in the order of memory. Only whole words are spoken of here, so
byte enables are all ones.
"""

import struct
from dataclasses import dataclass
from enum import IntEnum

from jalhost.errors import LinkError

WORD_BYTES = 4

MAX_WORDS = 1024
"""Words that a packet can carry or ask for; a length of 0 stands for it."""

MAX_BYTE_COUNT = 4096
"""A byte count of 0 stands for it."""

LONG_HEADER, WITH_DATA = 1 << 29, 1 << 30
TYPE, MEMORY, COMPLETION = 0x1F00_0000, 0, 0x0A00_0000
DIGEST, POISONED = 1 << 15, 1 << 14
ALL_BYTES = 0xF


class Status(IntEnum):
    """How a request was completed."""

    SUCCESS = 0
    UNSUPPORTED_REQUEST = 1
    RETRY = 2
    COMPLETER_ABORT = 4


@dataclass(frozen=True)
class MemoryRead:
    """A request for words from an address."""

    requester: int
    tag: int
    address: int
    words: int


@dataclass(frozen=True)
class MemoryWrite:
    """Data for an address; nobody answers."""

    requester: int
    address: int
    data: bytes
    poisoned: bool = False


@dataclass(frozen=True)
class Completion:
    """An answer to a read, or a part of one.

    ``byte_count``: bytes of the answer that are still to come, these included. ``lower_address``:
    the last seven bits of the address of these.
    """

    completer: int
    requester: int
    tag: int
    status: int
    byte_count: int
    lower_address: int
    data: bytes = b""
    poisoned: bool = False


Packet = MemoryRead | MemoryWrite | Completion


def encode(packet: Packet) -> bytes:
    """The packet's bytes."""
    if isinstance(packet, Completion):
        header = COMPLETION | _format(packet.data) | packet.poisoned * POISONED
        count = packet.byte_count % MAX_BYTE_COUNT
        second = packet.completer << 16 | packet.status << 13 | count
        third = packet.requester << 16 | packet.tag << 8 | packet.lower_address
        return struct.pack(">3I", header, second, third) + packet.data
    if isinstance(packet, MemoryRead):
        header, data, tag, words = packet.words % MAX_WORDS, b"", packet.tag, packet.words
    else:
        header = _format(packet.data) | packet.poisoned * POISONED
        data, tag, words = packet.data, 0, len(packet.data) // WORD_BYTES
    last = ALL_BYTES if words > 1 else 0
    second = packet.requester << 16 | tag << 8 | last << 4 | ALL_BYTES
    if packet.address >> 32:
        return struct.pack(">2IQ", header | LONG_HEADER, second, packet.address) + data
    return struct.pack(">3I", header, second, packet.address) + data


def decode(data: bytes) -> Packet:
    """The packet that these bytes are.

    Raises:
        LinkError: they are none, or one that neither host nor device sends.
    """
    if len(data) < 3 * WORD_BYTES or len(data) % WORD_BYTES:
        raise _malformed(f"of {len(data)} bytes", data)
    header, second, third = struct.unpack_from(">3I", data)
    start = (4 if header & LONG_HEADER else 3) * WORD_BYTES
    words = header % MAX_WORDS or MAX_WORDS
    payload = data[start:] if header & WITH_DATA else b""
    if header & TYPE == COMPLETION and not header & WITH_DATA and header % MAX_WORDS:
        raise _malformed("with a length and without data", data)
    if len(data) - start - WORD_BYTES * bool(header & DIGEST) != (
        WORD_BYTES * words if header & WITH_DATA else 0
    ):
        raise _malformed(f"of {len(data)} bytes, its header says another length", data)
    payload = payload[: WORD_BYTES * words]
    poisoned = bool(header & POISONED)
    match header & TYPE:
        case value if value == COMPLETION and not header & LONG_HEADER:
            return Completion(
                completer=second >> 16,
                requester=third >> 16,
                tag=third >> 8 & 0xFF,
                status=second >> 13 & 7,
                byte_count=second % MAX_BYTE_COUNT or MAX_BYTE_COUNT,
                lower_address=third & 0x7F,
                data=payload,
                poisoned=poisoned,
            )
        case value if value == MEMORY:
            if second & 0xFF != (ALL_BYTES << 4 if words > 1 else 0) | ALL_BYTES:
                raise _malformed("for parts of words", data)
            address = struct.unpack_from(">Q", data, 8)[0] if header & LONG_HEADER else third
            if header & WITH_DATA:
                return MemoryWrite(second >> 16, address, payload, poisoned)
            return MemoryRead(second >> 16, second >> 8 & 0xFF, address, words)
    raise _malformed(f"of type 0x{header >> 24:02x}", data)


def _format(data: bytes) -> int:
    """Header bits that tell of data and how much they are."""
    return WITH_DATA | len(data) // WORD_BYTES % MAX_WORDS if data else 0


def _malformed(what: str, data: bytes) -> LinkError:
    return LinkError(
        f"malformed PCIe packet {what}: {data[:16].hex()}", "reset the device; see its build"
    )
