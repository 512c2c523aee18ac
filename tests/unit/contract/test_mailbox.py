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
        Field.BLOCK_CHECKS: mailbox.CHECKED_BLOCKS,
        Field.LEVELLING: mailbox.LEVELLING_BYTES // 4,
        Field.OUTPUT_RING: mailbox.RING_ENTRIES * mailbox.RING_ENTRY_WORDS,
        Field.PROMPT: mailbox.PROMPT_CAPACITY,
    }
    return {field.name: (field, field + 4 * words.get(field, 1)) for field in Field}


def test_fields_are_words_that_do_not_overlap() -> None:
    ordered = sorted(extents().values())
    assert all(start % 4 == 0 for start, _ in ordered)
    assert all(end <= start for (_, end), (start, _) in pairwise(ordered))
    assert ordered[-1][1] <= memory_map.MAILBOX.size


def test_an_answer_is_one_burst() -> None:
    assert Field.ANSWER_CHECK == Field.RESPONSE_0 + 4 * mailbox.RESPONSES


def test_a_command_is_one_burst() -> None:
    assert Field.ARGUMENT_0 == Field.COMMAND + 4
    assert Field.CHECK == Field.ARGUMENT_0 + 4 * mailbox.ARGUMENTS
    assert Field.DOORBELL == Field.CHECK + 4
    assert Field.OUTPUT_TAIL_INVERSE == Field.OUTPUT_TAIL + 4


def test_a_byte_more_or_less_takes_what_hosts_write_often_out_of_their_reach() -> None:
    """Requests hold word addresses, big-endian: a lost byte moves the rest up, one more down."""
    for field in Field:
        if field >= 0x80:
            continue
        address = (memory_map.MAILBOX.origin + field >> 2).to_bytes(4, "big")
        for place in range(4):
            fewer = address[:place] + address[place + 1 :] + bytes([0])
            more = (address[: place + 1] + address[place:])[:4]
            for damaged in (fewer, more):
                reached = 4 * int.from_bytes(damaged, "big") & 0xFFFFFFFF
                offset = reached - memory_map.MAILBOX.origin
                inside = 0 <= offset < memory_map.MAILBOX.size
                in_dram = memory_map.MAIN_RAM_ORIGIN <= reached < memory_map.MAILBOX.origin
                assert not in_dram
                assert reached < memory_map.CSR_ORIGIN
                assert not inside or offset < Field.MAGIC or damaged == address, field.name


def test_checks_notice_any_change_of_a_byte() -> None:
    words = [1, 0x01020304, 0, 0xFFFFFFFF]
    for place in range(16):
        for flip in (1, 0x80, 0xFF):
            changed = list(words)
            changed[place // 4] ^= flip << 8 * (place % 4)
            assert mailbox.check(changed) != mailbox.check(words)
    assert mailbox.check(words[2:], mailbox.check(words[:2])) == mailbox.check(words)


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
