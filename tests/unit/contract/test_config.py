"""Parameters of a gateware and the geometry of its tape."""

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jalgateware.contract.config import EngineConfig
from jalgateware.contract.formats import BLOCK
from jalgateware.contract.tape import block_address, matrix_blocks, matrix_words, row_block

LANES = [2, 4, 8, 16, 32, 64]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"lanes": 24}, "lanes is a power of two from 2 to 64, not 24"),
        ({"lanes": 128}, "lanes is a power of two from 2 to 64, not 128"),
        ({"tokens": 5}, "tokens is 1 to 4, not 5"),
        ({"max_dim": 100}, "max_dim is a multiple of 32 up to 8192, not 100"),
        ({"max_hidden": 16384}, "max_hidden is a multiple of 32 up to 8192, not 16384"),
        ({"max_context": 1000}, "max_context is a power of two from 16, not 1000"),
        ({"attention_slots": 5}, r"attention_slots is 1 to max_group x tokens \(4\), not 5"),
        ({"port_burst_words": 512}, "port_burst_words must not exceed port_fifo_words"),
    ],
)
def test_impossible_sizes_are_refused(change: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        EngineConfig(**change)


def test_fingerprint_depends_on_everything() -> None:
    base = EngineConfig()
    changes = {"lanes": 32, "max_dim": 256, "read_ports": 2, "max_group": 8}
    prints = {dataclasses.replace(base, **{k: v}).fingerprint() for k, v in changes.items()}
    assert len(prints | {base.fingerprint()}) == 1 + len(changes)
    assert EngineConfig().fingerprint() == base.fingerprint()


@pytest.mark.parametrize("lanes", LANES)
def test_derived_sizes(lanes: int) -> None:
    config = EngineConfig(lanes=lanes)
    assert config.word_bits == 8 * lanes
    assert config.words_per_block * lanes == BLOCK * config.rows_parallel
    assert config.kv_lanes * 2 == lanes


@given(st.sampled_from(LANES), st.integers(1, 200), st.integers(1, 12))
def test_every_block_has_its_own_place(lanes: int, rows: int, blocks: int) -> None:
    config = EngineConfig(lanes=lanes)
    words = matrix_words(config, rows, blocks)
    used: set[int] = set()
    for row in range(rows):
        for block in range(blocks):
            index = row_block(config, row, block, blocks)
            assert index < matrix_blocks(config, rows, blocks)
            scale_word, scale_byte, word, byte = block_address(config, index)
            start = word * lanes + byte
            bytes_ = {scale_word * lanes + scale_byte, *range(start, start + BLOCK)}
            assert not bytes_ & used
            used |= bytes_
    assert max(used) < words * lanes
    # What is not used: padding rows, and the rest of one group's scale word.
    padding = (matrix_blocks(config, rows, blocks) - rows * blocks) * (BLOCK + 1)
    assert words * lanes - len(used) <= padding + lanes


@pytest.mark.parametrize("lanes", LANES)
def test_scales_cost_a_thirty_second(lanes: int) -> None:
    config = EngineConfig(lanes=lanes)
    assert matrix_words(config, 2 * lanes, 4) * lanes == 2 * lanes * 4 * (BLOCK + 1)
