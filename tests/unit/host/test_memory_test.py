"""Each memory test finds the faults that it is for."""

import pytest

from jalhost.engine.memory_test import KEPT_FAILURES, TESTS, MemoryTest
from jalhost.progress import Progress
from jaltest.memories import ORIGIN, Memory

WORDS = 300


def outcome_of(memory: Memory, name: str, block: int = 64) -> tuple[bool, int]:
    outcome = MemoryTest(memory, ORIGIN, 4 * len(memory.content), lambda _: None, block).run(name)
    return outcome.passed, outcome.wrong_bits


@pytest.mark.parametrize("block", [1, 64])
@pytest.mark.parametrize("words", [1, 2, WORDS])
@pytest.mark.parametrize("name", TESTS)
def test_sound_memory_passes(name: str, words: int, block: int) -> None:
    lines: list[str] = []
    test = MemoryTest(Memory(words), ORIGIN, 4 * words, lines.append, block)
    outcome = test.run(name)
    assert outcome.passed
    assert not outcome.first
    shares = [line.share for line in lines if isinstance(line, Progress)]
    assert shares == sorted(shares)
    # Of a single word, the data bus test has no other one to write between.
    assert shares[-1] == (pytest.approx(2 / 3) if (name, words) == ("data-bus", 1) else 1)


@pytest.mark.parametrize("level", [0, 1])
@pytest.mark.parametrize("bit", [0, 13, 31])
def test_stuck_data_lines_are_found_and_named(bit: int, level: int) -> None:
    mask = 1 << bit
    memory = Memory(WORDS, store=lambda value: value | mask if level else value & ~mask)
    for name in TESTS:
        if name != "address-bus":
            assert outcome_of(memory, name) == (False, mask)


def test_shorted_data_lines_are_found() -> None:
    def store(value: int) -> int:
        both = (value >> 4 & 1) & (value >> 9 & 1)
        return value & ~0x210 | both << 4 | both << 9

    assert outcome_of(Memory(WORDS, store=store), "data-bus") == (False, 0x210)


@pytest.mark.parametrize("line", [0, 3, 8])
def test_stuck_address_lines_are_found(line: int) -> None:
    memory = Memory(WORDS, decode=lambda index: index & ~(1 << line))
    assert not outcome_of(memory, "address-bus")[0]
    assert not outcome_of(memory, "random")[0]


def test_shorted_address_lines_are_found() -> None:
    def decode(index: int) -> int:
        return index | 3 if index & 3 else index

    assert not outcome_of(Memory(WORDS, decode=decode), "address-bus")[0]


@pytest.mark.parametrize("block", [1, 64])
def test_march_finds_cells_that_change_others(block: int) -> None:
    """Far apart, so that no block holds both."""

    def couple(memory: Memory, index: int, value: int) -> None:
        if index == 20 and value & 1:
            memory.content[200] ^= 2

    assert outcome_of(Memory(WORDS, fault=couple), "march", block) == (False, 2)


def test_only_the_strict_march_finds_couplings_within_a_block() -> None:
    def couple(memory: Memory, index: int, value: int) -> None:
        if index == 20 and not value & 1:
            memory.content[19] &= ~2

    assert not outcome_of(Memory(WORDS, fault=couple), "march", 1)[0]
    assert outcome_of(Memory(WORDS, fault=couple), "march", 64)[0]


def test_a_wrong_reading_is_told_from_a_wrong_word() -> None:
    memory = Memory(WORDS, misread=1)
    outcome = MemoryTest(memory, ORIGIN, 4 * WORDS, lambda _: None).run("march")
    assert outcome.failures == 1
    (failure,) = outcome.first
    assert failure.got == failure.expected ^ 0x80
    assert not failure.lasting
    stuck = Memory(WORDS, store=lambda value: value & ~1)
    outcome = MemoryTest(stuck, ORIGIN, 4 * WORDS, lambda _: None).run("march")
    assert outcome.failures == 2 * WORDS
    assert len(outcome.first) == KEPT_FAILURES
    assert all(failure.lasting for failure in outcome.first)


def test_random_words_depend_on_the_seed() -> None:
    written = []
    for seed in (1, 1, 2):
        memory = Memory(WORDS)
        MemoryTest(memory, ORIGIN, 4 * WORDS, lambda _: None, seed=seed).run("random")
        written.append(memory.content)
    assert written[0] == written[1] != written[2]
