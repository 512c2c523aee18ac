import hashlib
import struct
import zlib
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jalgateware.contract.image_header import (
    ALIGNMENT,
    CHUNK_BYTES,
    CRC_TABLE_OFFSET,
    PAGE_BYTES,
    ImageHeader,
    Preamble,
    Word,
    chunk_crcs,
    header_bytes,
)

WORD = st.integers(0, 2**32 - 1)

EXAMPLE = ImageHeader(
    blob_bytes=PAGE_BYTES + 3 * CHUNK_BYTES,
    lanes=16,
    isa_version=2,
    program_offset=PAGE_BYTES,
    instructions=46,
    tape_offset=PAGE_BYTES + 768,
    kv_offset=1 << 20,
    kv_bytes=1 << 16,
    context=512,
    vocabulary=512,
    stop_tokens=(1, 2),
    dim=64,
    hidden=172,
    heads=8,
    kv_heads=4,
    group=2,
    head_dim=8,
    formats=1,
    drafts_offset=PAGE_BYTES + 768,
    draft_words=0,
    image_id=hashlib.sha256(b"payload").digest()[:16],
    chunk_crcs=(1, 2, 3),
)


@given(
    words=st.tuples(WORD, WORD, WORD),
    stop_tokens=st.lists(WORD, max_size=4),
    image_id=st.binary(min_size=16, max_size=16),
    crcs=st.lists(WORD, max_size=1200),
    tail=st.binary(max_size=8),
)
def test_what_is_packed_is_read_again(
    words: tuple[int, int, int],
    stop_tokens: list[int],
    image_id: bytes,
    crcs: list[int],
    tail: bytes,
) -> None:
    blob_bytes, context, head_dim = words
    header = replace(
        EXAMPLE,
        blob_bytes=blob_bytes,
        context=context,
        head_dim=head_dim,
        stop_tokens=tuple(stop_tokens),
        image_id=image_id,
        chunk_crcs=tuple(crcs),
    )
    data = header.pack()
    assert len(data) == header.header_bytes
    assert ImageHeader.unpack(data + tail) == header


def test_fields_lie_where_the_contract_says() -> None:
    words = struct.unpack(f"<{PAGE_BYTES // 4}I", EXAMPLE.pack())
    assert struct.pack("<I", words[Preamble.MAGIC]) == b"JAL1"
    assert words[Word.CONTEXT] == 512
    assert words[Word.STOP_TOKENS : Word.STOP_TOKEN_2] == (2, 1, 2)
    assert words[Word.CRC_TABLE_OFFSET] == CRC_TABLE_OFFSET
    assert words[CRC_TABLE_OFFSET // 4 :][:4] == (1, 2, 3, 0)


def test_fields_do_not_overlap_the_table() -> None:
    assert max(Word) < CRC_TABLE_OFFSET // 4
    assert [int(word) for word in Word] == list(range(min(Word), max(Word) + 1))


def test_header_grows_by_pages() -> None:
    first = (PAGE_BYTES - CRC_TABLE_OFFSET) // 4
    assert (header_bytes(0), header_bytes(first), header_bytes(first + 1)) == (
        PAGE_BYTES,
        PAGE_BYTES,
        2 * PAGE_BYTES,
    )
    assert PAGE_BYTES % ALIGNMENT == 0


@pytest.mark.parametrize(
    ("position", "message"),
    [
        (0, "magic"),
        (4, "version"),
        (8, "bytes"),
        (12, "CRC"),
        (4 * Word.DIM, "CRC"),
        (PAGE_BYTES - 1, "CRC"),
    ],
)
def test_damage_is_found(position: int, message: str) -> None:
    data = bytearray(EXAMPLE.pack())
    data[position] ^= 0x40
    with pytest.raises(ValueError, match=message):
        ImageHeader.unpack(bytes(data))


@pytest.mark.parametrize("length", [0, 63, 64, PAGE_BYTES - 1])
def test_cut_off_headers_are_refused(length: int) -> None:
    with pytest.raises(ValueError, match=r"cut off|bytes of data"):
        ImageHeader.unpack(EXAMPLE.pack()[:length])


def test_too_many_stop_tokens_are_refused() -> None:
    with pytest.raises(ValueError, match="5 stop tokens"):
        replace(EXAMPLE, stop_tokens=(1, 2, 3, 4, 5)).pack()


def test_chunk_crcs_cover_every_byte_once() -> None:
    payload = bytes(range(256)) * 300
    crcs = chunk_crcs(payload)
    assert crcs == (zlib.crc32(payload[:CHUNK_BYTES]), zlib.crc32(payload[CHUNK_BYTES:]))
    assert chunk_crcs(b"") == ()
