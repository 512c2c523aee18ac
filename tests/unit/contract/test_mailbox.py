from itertools import pairwise

import pytest

from jalgateware.contract import mailbox, memory_map
from jalgateware.contract.mailbox import Field


def extents() -> dict[str, tuple[int, int]]:
    """Start and end of each field in bytes."""
    words = {
        Field.ARGUMENT_0: mailbox.ARGUMENTS,
        Field.RESPONSE_0: mailbox.RESPONSES,
        Field.COUNTERS: 2 * len(mailbox.COUNTERS),
        Field.LIMITS: len(mailbox.LIMITS),
        Field.BAD_CHUNKS: mailbox.MAX_BAD_CHUNKS,
        Field.OUTPUT_RING: mailbox.RING_ENTRIES * mailbox.RING_ENTRY_WORDS,
        Field.PROMPT: mailbox.PROMPT_CAPACITY,
    }
    return {field.name: (field, field + 4 * words.get(field, 1)) for field in Field}


def test_fields_are_words_that_do_not_overlap() -> None:
    ordered = sorted(extents().values())
    assert all(start % 4 == 0 for start, _ in ordered)
    assert all(end <= start for (_, end), (start, _) in pairwise(ordered))
    assert ordered[-1][1] <= memory_map.MAILBOX.size


def test_what_a_host_polls_is_one_burst() -> None:
    assert Field.RUN_ID - Field.HEARTBEAT == 7 * 4


def test_counters_are_found_by_name() -> None:
    assert mailbox.counter_offset("cycles") == Field.COUNTERS
    assert mailbox.counter_offset("tokens") == Field.COUNTERS + 8 * 9
    with pytest.raises(ValueError, match="watts"):
        mailbox.counter_offset("watts")


def test_ring_index_survives_the_wrap_of_its_counter() -> None:
    assert 2**32 % mailbox.RING_ENTRIES == 0


def test_mailbox_lies_where_the_cpu_does_not_cache() -> None:
    assert memory_map.MAILBOX.origin >= 0x8000_0000


def test_scratch_region_ends_before_the_image() -> None:
    end = memory_map.SCRATCH_OFFSET + memory_map.SCRATCH_BYTES
    assert end <= memory_map.IMAGE_OFFSET
