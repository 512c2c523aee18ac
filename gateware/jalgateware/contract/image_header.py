"""The image as it lies in DRAM: header, program, drafts, tape; behind it the KV cache.

``blob = header | program | drafts | tape`` (the tape region starts with the rotary table). All
values are little-endian 32-bit words. The header is a preamble of 64 bytes, then fields, then the
CRC-32 (zlib's) of each chunk of what follows the header; it is padded with zeros to a multiple of
4096 bytes. ``program``, ``drafts``, ``tape`` and ``kv`` start at multiples of 64 bytes, and the
blob's length is a multiple of 64, so that all of them are whole engine words.
"""

import struct
import zlib
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from enum import IntEnum

MAGIC = int.from_bytes(b"JAL1", "little")

VERSION = 2

PAGE_BYTES = 4096
"""The header's length is a multiple of this."""

ALIGNMENT = 64
"""Program, drafts, tape and KV cache start at multiples of this: the widest engine word."""

PREAMBLE_BYTES = 64
"""What the header's own CRC leaves out."""

CHUNK_BYTES = 65536
"""What one CRC covers; the last chunk may be shorter."""

MAX_STOP_TOKENS = 4


class Preamble(IntEnum):
    """Word index of each preamble field."""

    MAGIC = 0
    VERSION = 1
    HEADER_BYTES = 2
    """The header with its table of CRCs and its padding."""
    HEADER_CRC = 3
    """CRC-32 of the header behind the preamble."""


class Word(IntEnum):
    """Word index of each field, from the start of the header."""

    BLOB_BYTES = 16
    """Header, program, drafts and tape."""
    LANES = 17
    """Bytes of an engine word."""
    ISA_VERSION = 18
    PROGRAM_OFFSET = 19
    """Bytes from the start of the blob."""
    INSTRUCTIONS = 20
    TAPE_OFFSET = 21
    """Bytes from the start of the blob."""
    KV_OFFSET = 22
    """Bytes from the start of the blob, behind its end."""
    KV_BYTES = 23
    CONTEXT = 24
    """Positions of the KV cache."""
    VOCABULARY = 25
    STOP_TOKENS = 26
    """How many of the following are used."""
    STOP_TOKEN_0 = 27
    STOP_TOKEN_1 = 28
    STOP_TOKEN_2 = 29
    STOP_TOKEN_3 = 30
    DIM = 31
    HIDDEN = 32
    """The larger one of the feed-forward's and the attention's width."""
    HEADS = 33
    KV_HEADS = 34
    GROUP = 35
    HEAD_DIM = 36
    IMAGE_ID_0 = 37
    """First 16 bytes of the SHA-256 of what follows the header."""
    IMAGE_ID_1 = 38
    IMAGE_ID_2 = 39
    IMAGE_ID_3 = 40
    CHUNKS = 41
    CRC_TABLE_OFFSET = 42
    """Bytes from the start of the blob to the chunks' CRCs."""
    FORMATS = 43
    """Formats of matrices that the program uses, as bits of the ISA's Format."""
    DRAFTS_OFFSET = 44
    """Bytes from the start of the blob to the preloaded entries of the drafter's table."""
    DRAFT_WORDS = 45
    """Their number: TABLE_WORDS of the contract's drafting, or 0 where the image has none."""


CRC_TABLE_OFFSET = 256
"""Where the table of CRCs starts."""


@dataclass(frozen=True)
class ImageHeader:
    """A decoded header: the fields of :class:`Word`, in lower case, and the chunks' CRCs."""

    blob_bytes: int
    lanes: int
    isa_version: int
    program_offset: int
    instructions: int
    tape_offset: int
    kv_offset: int
    kv_bytes: int
    context: int
    vocabulary: int
    stop_tokens: tuple[int, ...]
    dim: int
    hidden: int
    heads: int
    kv_heads: int
    group: int
    head_dim: int
    formats: int
    drafts_offset: int
    draft_words: int
    image_id: bytes
    chunk_crcs: tuple[int, ...]

    @property
    def header_bytes(self) -> int:
        """Length of the header."""
        return header_bytes(len(self.chunk_crcs))

    def pack(self) -> bytes:
        """The header as it lies in DRAM.

        Raises:
            ValueError: there are too many stop tokens.
        """
        if len(self.stop_tokens) > MAX_STOP_TOKENS:
            raise ValueError(f"{len(self.stop_tokens)} stop tokens, at most {MAX_STOP_TOKENS}")
        words = [0] * (self.header_bytes // 4)
        for name, value in asdict(self).items():
            if name.upper() in Word.__members__ and isinstance(value, int):
                words[Word[name.upper()]] = value
        words[Word.STOP_TOKENS] = len(self.stop_tokens)
        _store(words, Word.STOP_TOKEN_0, self.stop_tokens)
        _store(words, Word.IMAGE_ID_0, struct.unpack("<4I", self.image_id))
        words[Word.CHUNKS] = len(self.chunk_crcs)
        words[Word.CRC_TABLE_OFFSET] = CRC_TABLE_OFFSET
        _store(words, CRC_TABLE_OFFSET // 4, self.chunk_crcs)
        body = struct.pack(f"<{len(words)}I", *words)[PREAMBLE_BYTES:]
        preamble = struct.pack("<4I", MAGIC, VERSION, self.header_bytes, zlib.crc32(body))
        return preamble.ljust(PREAMBLE_BYTES, b"\0") + body

    @classmethod
    def unpack(cls, data: bytes) -> "ImageHeader":
        """Reads a header from the start of a blob.

        Raises:
            ValueError: it is not a header, of another version, damaged or cut off.
        """
        body = _checked_body(data)
        words = [0] * (PREAMBLE_BYTES // 4)
        words += struct.unpack(f"<{len(body) // 4}I", body)
        plain = {
            item.name: words[Word[item.name.upper()]]
            for item in fields(cls)
            if item.name not in ("stop_tokens", "image_id", "chunk_crcs")
        }
        count, table = words[Word.CHUNKS], words[Word.CRC_TABLE_OFFSET] // 4
        return cls(
            **plain,
            stop_tokens=tuple(words[Word.STOP_TOKEN_0 :][: words[Word.STOP_TOKENS]]),
            image_id=struct.pack("<4I", *words[Word.IMAGE_ID_0 : Word.IMAGE_ID_3 + 1]),
            chunk_crcs=tuple(words[table : table + count]),
        )


def _checked_body(data: bytes) -> bytes:
    """What follows the preamble, after all checks of the preamble."""
    if len(data) < PREAMBLE_BYTES:
        raise ValueError("the header is cut off")
    magic, version, length, crc = struct.unpack_from("<4I", data)
    if magic != MAGIC:
        raise ValueError(f"magic word {magic:#010x} instead of {MAGIC:#010x}")
    if version != VERSION:
        raise ValueError(f"header version {version}, this is version {VERSION}")
    if length % PAGE_BYTES or not PAGE_BYTES <= length <= len(data):
        raise ValueError(f"header of {length} bytes in {len(data)} bytes of data")
    body = data[PREAMBLE_BYTES:length]
    if zlib.crc32(body) != crc:
        raise ValueError("the header does not match its CRC")
    return body


def _store(words: list[int], start: int, values: tuple[int, ...]) -> None:
    words[start : start + len(values)] = values


def header_bytes(chunks: int) -> int:
    """Length of a header with so many chunks' CRCs."""
    return -(-(CRC_TABLE_OFFSET + 4 * chunks) // PAGE_BYTES) * PAGE_BYTES


def chunk_crcs(payload: bytes | memoryview) -> tuple[int, ...]:
    """CRC-32 of each chunk of what follows the header."""
    return streamed_chunk_crcs((payload,))


def streamed_chunk_crcs(pieces: Iterable[bytes | memoryview]) -> tuple[int, ...]:
    """As :func:`chunk_crcs`, of pieces that need not be in memory together."""
    found: list[int] = []
    crc, room = 0, CHUNK_BYTES
    for piece in pieces:
        view = memoryview(piece)
        while view:
            part, view = view[:room], view[room:]
            crc = zlib.crc32(part, crc)
            room -= len(part)
            if not room:
                found.append(crc)
                crc, room = 0, CHUNK_BYTES
    return (*found, crc) if room < CHUNK_BYTES else tuple(found)
