"""The golden drafter: what it guesses, and where its entries lie."""

import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jalgateware.contract.drafting import (
    ENTRY_BITS,
    ORDERS,
    PRELOADED_WAYS,
    SETS,
    TABLE_WORDS,
    TOKEN_BITS,
)
from jalgateware.golden.drafter import Drafter, entry, fits, keys, sampling_passes, set_of


def draft(drafter: Drafter, text: list[int], most: int = 3) -> list[int]:
    for token in text:
        drafter.learn(token)
    return drafter.draft(most)


@given(st.lists(st.integers(0, 0xFFFF), min_size=1, max_size=ORDERS))
def test_a_key_is_the_crc_of_its_tokens(context: list[int]) -> None:
    data = b"".join(token.to_bytes(2, "little") for token in reversed(context))
    assert list(keys(context))[-1] == zlib.crc32(data) ^ 0xFFFF_FFFF


def test_entry() -> None:
    assert entry(0x1234_5678, 0x9ABC) == 0x9234_9ABC
    assert entry(0xFFFF_FFFF, 0xFFFF) == (1 << ENTRY_BITS) - 1
    assert set_of(0x1234_5678) == 0x278
    assert fits((1 << TOKEN_BITS) - 1)
    assert not fits(1 << TOKEN_BITS)


def test_repetition_is_found() -> None:
    assert draft(Drafter(), [1, 2, 3, 4, 5, 6, 1, 2, 3]) == [4, 5, 6]
    assert draft(Drafter(), [1, 2, 3]) == []


def test_the_last_time_counts() -> None:
    assert draft(Drafter(), [1, 2, 3, 1, 2, 4, 1, 2], most=1) == [4]


def test_the_longest_context_counts() -> None:
    assert draft(Drafter(), [1, 2, 3, 9, 2, 4, 1, 2], most=1) == [3]


def test_a_new_run_knows_only_the_table() -> None:
    key = next(keys([7]))
    table = [0] * TABLE_WORDS
    table[set_of(key)] = entry(key, 8)
    drafter = Drafter(table)
    assert draft(drafter, [8, 9, 8, 7]) == [8, 7, 8]
    drafter.clear()
    assert draft(drafter, [9]) == []
    assert draft(drafter, [7]) == [8]


@pytest.mark.parametrize("way", range(PRELOADED_WAYS))
def test_any_preloaded_way_comes_before_what_was_learnt(way: int) -> None:
    key = next(keys([7]))
    table = [0] * TABLE_WORDS
    table[way * SETS + set_of(key)] = entry(key, 8)
    assert draft(Drafter(table), [7, 5, 6, 7], most=1) == [8]


@given(st.lists(st.integers(0, (1 << 24) - 1), max_size=40), st.integers(0, 3))
def test_drafts_are_tokens_of_the_run(text: list[int], most: int) -> None:
    drafts = draft(Drafter(), text, most)
    assert len(drafts) <= most
    assert set(drafts) <= {token for token in text if fits(token)}


@pytest.mark.parametrize("length", [1, TABLE_WORDS - 1, TABLE_WORDS + 1])
def test_a_table_of_another_length_is_refused(length: int) -> None:
    with pytest.raises(ValueError, match=f"has {TABLE_WORDS} entries, not {length}"):
        Drafter([0] * length)


def test_passes_of_a_run() -> None:
    # Behind 1 2 3 1 comes 2, and 3 and 1 behind that; then 4 is a surprise.
    assert sampling_passes(Drafter(), [1, 2, 3, 1], [2, 3, 1, 2, 4, 9], most=3) == [4, 1, 1]
    assert sampling_passes(Drafter(), [1, 2, 3, 1], [2, 3, 1, 2, 4, 9], most=1) == [2, 2, 1, 1]
    assert sampling_passes(Drafter(), [1, 2, 3, 1], [2, 3], most=3) == [2]
    assert sampling_passes(Drafter(), [1, 2, 3, 1], [], most=3) == []


@given(st.lists(st.integers(0, 3), max_size=60), st.integers(0, 3))
def test_passes_yield_all_tokens(sampled: list[int], most: int) -> None:
    passes = sampling_passes(Drafter(), [0, 1], sampled, most)
    assert sum(passes) == len(sampled)
    assert all(1 <= tokens <= most + 1 for tokens in passes)
