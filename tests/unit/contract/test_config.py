"""Parameters of a gateware and the geometry of its tape."""

import dataclasses
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jalgateware.contract.config import EngineConfig
from jalgateware.contract.formats import BLOCK
from jalgateware.contract.isa import Format
from jalgateware.contract.tape import (
    block_address,
    block_bytes,
    group_words,
    matrix_blocks,
    matrix_words,
    row_block,
    rows_together,
    word_columns,
)

LANES = [2, 4, 8, 16, 32, 64]
FORMATS = st.sampled_from(Format)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"lanes": 24}, "lanes is a power of two from 2 to 64, not 24"),
        ({"lanes": 128}, "lanes is a power of two from 2 to 64, not 128"),
        ({"tokens": 5}, "tokens is 1 to 4, not 5"),
        ({"max_dim": 100}, "max_dim is a multiple of 32 up to 8192, not 100"),
        ({"max_hidden": 16384}, "max_hidden is a multiple of 32 up to 8192, not 16384"),
        ({"max_context": 1000}, "max_context is a power of two from 16, not 1000"),
        ({"read_ports": 1}, "read_ports is 2 or more, not 1"),
        ({"attention_slots": 5}, r"attention_slots is 1 to max_group x tokens \(4\), not 5"),
        ({"port_burst_words": 512}, "port_burst_words must not exceed port_fifo_words"),
    ],
)
def test_impossible_sizes_are_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        EngineConfig(**change)


def test_fingerprint_depends_on_everything() -> None:
    base = EngineConfig()
    changes: dict[str, Any] = {"lanes": 32, "mxfp4": True, "read_ports": 2, "max_group": 8}
    prints = {dataclasses.replace(base, **{k: v}).fingerprint() for k, v in changes.items()}
    assert len(prints | {base.fingerprint()}) == 1 + len(changes)
    assert EngineConfig().fingerprint() == base.fingerprint()


@pytest.mark.parametrize("lanes", LANES)
def test_derived_sizes(lanes: int) -> None:
    config = EngineConfig(lanes=lanes)
    assert config.word_bits == 8 * lanes
    assert config.words_per_block * lanes == BLOCK * config.rows_parallel
    assert config.kv_lanes * 2 == lanes


def places(config: EngineConfig, index: int, form: Format) -> set[int]:
    """The matrix' bytes that a block takes."""
    scale_word, scale_byte, word, byte = block_address(config, index, form)
    start = word * config.lanes + byte
    if form is Format.MXINT8:
        return {scale_word * config.lanes + scale_byte, *range(start, start + BLOCK)}
    elements = {
        start + i * config.lanes + j
        for i in range(config.words_per_block)
        for j in range(word_columns(config) // 2)
    }
    return {scale_word * config.lanes + scale_byte, *elements}


@given(st.sampled_from(LANES), st.integers(1, 200), st.integers(1, 12), FORMATS)
def test_every_block_has_its_own_place(lanes: int, rows: int, blocks: int, form: Format) -> None:
    config = EngineConfig(lanes=lanes)
    words = matrix_words(config, rows, blocks, form)
    used: set[int] = set()
    for row in range(rows):
        for block in range(blocks):
            index = row_block(config, row, block, blocks, form)
            assert index < matrix_blocks(config, rows, blocks, form)
            bytes_ = places(config, index, form)
            assert len(bytes_) == block_bytes(form)
            assert not bytes_ & used
            used |= bytes_
    assert max(used) < words * lanes
    # What is not used: padding rows, and the rest of one group's scale word.
    padding = (matrix_blocks(config, rows, blocks, form) - rows * blocks) * block_bytes(form)
    assert words * lanes - len(used) <= padding + lanes


@pytest.mark.parametrize("lanes", LANES)
@pytest.mark.parametrize(("form", "size"), [(Format.MXINT8, 33), (Format.MXFP4, 17)])
def test_scales_cost_a_byte_per_block(lanes: int, form: Format, size: int) -> None:
    config = EngineConfig(lanes=lanes)
    assert block_bytes(form) == group_words(form) == size
    assert matrix_words(config, 2 * lanes, 4, form) * lanes == 2 * lanes * 4 * size


@pytest.mark.parametrize("lanes", LANES)
def test_mxfp4_doubles_the_rows_of_a_word(lanes: int) -> None:
    config = EngineConfig(lanes=lanes)
    rows = rows_together(config, Format.MXFP4)
    assert rows == 2 * rows_together(config, Format.MXINT8) == 2 * config.rows_parallel
    assert rows * word_columns(config) == 2 * lanes
    # A bundle's block: its words of elements, and one word of scales.
    assert matrix_words(config, 1, 1, Format.MXFP4) == config.words_per_block + 1
    assert config.words_per_block * word_columns(config) == BLOCK


def test_mxfp4_places_of_the_default_geometry() -> None:
    config = EngineConfig(lanes=16)
    found = [block_address(config, index, Format.MXFP4) for index in (0, 1, 2, 15, 16)]
    assert found == [(0, 0, 1, 0), (0, 1, 1, 8), (0, 2, 3, 0), (0, 15, 15, 8), (17, 0, 18, 0)]
    assert matrix_words(config, 2, 8, Format.MXFP4) == 17
    assert matrix_words(config, 3, 5, Format.MXFP4) == 17 + 1 + 2 * 2
