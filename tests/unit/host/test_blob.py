"""The blob in DRAM: everything lies where its header says."""

import dataclasses
import zlib

import numpy as np
import pytest

from jalgateware.contract import isa
from jalgateware.contract.config import EngineConfig
from jalgateware.contract.drafting import TABLE_WORDS
from jalgateware.contract.image_header import ALIGNMENT, ImageHeader
from jalgateware.golden.machine import Machine
from jalgateware.golden.sampler import Sampling
from jalhost.models.blob import build_blob
from jalhost.models.drafting import with_drafts
from jalhost.models.image import GEOMETRY
from jaltest.tiny import ARCHITECTURE, tiny_image


@pytest.mark.parametrize("lanes", [2, 16, 64])
def test_a_machine_runs_from_the_blob(lanes: int) -> None:
    config = EngineConfig(lanes=lanes)
    blob = build_blob(tiny_image(), config)
    header = ImageHeader.unpack(blob.data)
    assert header == blob.header
    size = 4 * isa.INSTRUCTION_WORDS
    code = blob.data[header.program_offset :][: header.instructions * size]
    words = np.frombuffer(code, dtype="<u4").reshape(-1, isa.INSTRUCTION_WORDS).tolist()
    program = [isa.decode(tuple(item)) for item in words]
    memory = np.frombuffer(blob.data, dtype=np.uint8)[header.tape_offset :]
    machine = Machine(config, memory, program, header.context)
    direct = build_blob(tiny_image(), GEOMETRY)
    reference = Machine(
        GEOMETRY,
        np.frombuffer(direct.data, dtype=np.uint8)[direct.header.tape_offset :],
        program=[isa.decode(tuple(item)) for item in tiny_image().program.tolist()],
        context=header.context,
    )
    for position, token in enumerate([1, 260, 5]):
        assert machine.step(token, position, Sampling()) == reference.step(
            token, position, Sampling()
        )


def test_header_describes_the_model() -> None:
    header = build_blob(tiny_image(), GEOMETRY).header
    a = ARCHITECTURE
    assert (header.dim, header.hidden, header.heads) == (a.dim, a.hidden, a.heads)
    assert (header.kv_heads, header.group, header.head_dim) == (a.kv_heads, a.group, a.head_dim)
    assert (header.context, header.vocabulary) == (a.context, a.vocabulary)
    assert header.stop_tokens == (1, 2)
    assert header.kv_bytes == a.layers * a.kv_heads * a.context * a.head_dim * 2 * 2


def test_wide_attention_needs_the_hidden_buffer() -> None:
    wide = dataclasses.replace(ARCHITECTURE, heads=8, hidden=96)
    assert build_blob(tiny_image(wide), GEOMETRY).header.hidden == 8 * 16


def test_regions_are_aligned_and_apart() -> None:
    header = (blob := build_blob(tiny_image(), GEOMETRY)).header
    places = [header.program_offset, header.tape_offset, header.blob_bytes, header.kv_offset]
    assert places == sorted(places)
    assert all(place % ALIGNMENT == 0 for place in places)
    assert len(blob.data) == header.blob_bytes
    assert blob.memory_bytes == header.kv_offset + header.kv_bytes


def test_drafts_lie_before_the_tape() -> None:
    image = with_drafts(tiny_image(), 200)
    header = (blob := build_blob(image, GEOMETRY)).header
    assert header.draft_words == TABLE_WORDS
    assert header.program_offset < header.drafts_offset < header.tape_offset
    assert header.drafts_offset % ALIGNMENT == 0
    words = blob.data[header.drafts_offset :][: 4 * header.draft_words]
    assert image.drafts is not None
    assert np.frombuffer(words, dtype="<u4").tolist() == image.drafts.tolist()
    plain = build_blob(tiny_image(), GEOMETRY)
    assert plain.header.draft_words == 0
    assert plain.data[plain.header.tape_offset :] == blob.data[header.tape_offset :]


def test_chunks_make_up_the_blob() -> None:
    blob = build_blob(tiny_image(), GEOMETRY)
    assert len(blob.header.chunk_crcs) > 1
    rest = blob.data[: blob.header.header_bytes]
    for index, crc in enumerate(blob.header.chunk_crcs):
        offset, data = blob.chunk(index)
        assert offset == len(rest)
        assert zlib.crc32(data) == crc
        rest += data
    assert rest == blob.data
