"""What the firmware refuses: runs that the engine, its DRAM or the prompt do not allow."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from jalgateware.contract.config import STANDARD
from jalgateware.contract.image_header import Word
from jalgateware.contract.isa import Format, Option
from jalgateware.contract.mailbox import (
    PROMPT_CAPACITY,
    PROMPT_FINAL,
    RUN_LOGITS,
    STREAM_SHIFT,
    Command,
    Field,
    Result,
    State,
    check,
)
from jalhost.models.blob import Blob, build_blob
from jaltest.system import System
from jaltest.tiny import ARCHITECTURE, tiny_image

pytestmark = pytest.mark.sim

ROWS = STANDARD.tokens
FORMATS = sum(1 << item for item in (*Format, *Option))
DRAM_BYTES = 32 << 20
CACHE_BYTES = 12 << 20
"""Two such caches fit beside an image."""


def changed(blob: Blob, **fields: Any) -> bytes:
    """An image with another header."""
    header = replace(blob.header, **fields)
    return header.pack() + blob.data[header.header_bytes :]


@pytest.fixture(scope="module")
def system(simulator_build: object) -> Iterator[System]:
    """A system with a model that has large caches."""
    blob = build_blob(tiny_image(), STANDARD)
    system = System(simulator_build, changed(blob, kv_bytes=CACHE_BYTES))
    assert system.command(Command.LOAD).result is Result.OK
    yield system
    system.close()


def run(
    system: System,
    words: list[int],
    streams: int = 1,
    drafts: int = 0,
    position: int = 0,
) -> tuple[Result, tuple[int, int]]:
    """Asks for a run: the result, and the first two words of the response."""
    system.mailbox.write(Field.PROMPT, words)
    arguments = (len(words), 2, position, 0, 0, 0, streams, drafts, check(words))
    answer = system.command(Command.RUN, *arguments)
    return answer.result, (answer.words[0], answer.words[1])


def prompts(*lengths: int) -> list[int]:
    """Words of prompts of so many tokens."""
    return [
        1 | stream << STREAM_SHIFT | (PROMPT_FINAL if index == length - 1 else 0)
        for stream, length in enumerate(lengths)
        for index in range(length)
    ]


def test_the_mailbox_tells_rows_and_formats(system: System) -> None:
    assert system.field(Field.TOKEN_ROWS) == ROWS
    assert system.field(Field.FORMATS) == FORMATS


@pytest.mark.parametrize(
    ("words", "options", "argument", "limit"),
    [
        (prompts(2), {"position": ARCHITECTURE.context}, 2, ARCHITECTURE.context - 1),
        (prompts(*[1] * 5), {"streams": 5}, 6, ROWS),
        (prompts(1), {"drafts": ROWS}, 7, ROWS - 1),
        (prompts(1, 1), {"streams": 2, "drafts": 1}, 7, 0),
        (prompts(1), {"drafts": RUN_LOGITS | 1}, 7, 0),
        (prompts(1, 1), {"streams": 2, "drafts": RUN_LOGITS}, 6, 1),
        # Prompts that are too long, that miss their ends, or that belong to other streams.
        (prompts(PROMPT_CAPACITY + 1)[:PROMPT_CAPACITY], {"position": 9}, 0, 55),
        (prompts(ARCHITECTURE.context + 1), {}, 0, ARCHITECTURE.context),
        (prompts(3, 60), {"streams": 2, "position": 5}, 0, ARCHITECTURE.context - 5),
        ([], {}, 0, ARCHITECTURE.context),
        ([1, 1], {}, 0, ARCHITECTURE.context),
        (prompts(2), {"streams": 2}, 0, ARCHITECTURE.context),
        (prompts(2, 2), {}, 0, ARCHITECTURE.context),
        (prompts(2, 2)[::-1], {"streams": 2}, 0, ARCHITECTURE.context),
    ],
    ids=[
        "position",
        "streams",
        "drafts",
        "drafts-and-streams",
        "drafts-and-logits",
        "logits-and-streams",
        "more-than-the-mailbox-holds",
        "longer-than-the-context",
        "longer-than-the-rest",
        "nothing",
        "no-end",
        "stream-missing",
        "stream-too-many",
        "streams-out-of-order",
    ],
)
def test_arguments_beyond_their_limits_are_named(
    system: System, words: list[int], options: dict[str, int], argument: int, limit: int
) -> None:
    assert run(system, words, **options) == (Result.BAD_ARGUMENT, (argument, limit))
    assert system.field(Field.STATE) == State.LOADED


def test_no_samples_are_no_run(system: System) -> None:
    words = prompts(1)
    system.mailbox.write(Field.PROMPT, words)
    answer = system.command(Command.RUN, 1, 0, 0, 0, 0, 0, 1, 0, check(words))
    assert (answer.result, answer.words[:2]) == (Result.BAD_ARGUMENT, (1, 1))


def test_caches_beyond_the_dram_are_refused(system: System) -> None:
    assert run(system, prompts(1, 1, 1), streams=3) == (Result.DOES_NOT_FIT, (6, 2))
    assert system.field(Field.STATE) == State.LOADED


def test_logits_beyond_the_dram_are_refused(simulator_build: object) -> None:
    blob = build_blob(tiny_image(), STANDARD)
    system = System(simulator_build, changed(blob, vocabulary=DRAM_BYTES // 4))
    try:
        assert system.command(Command.LOAD).result is Result.OK
        result, (argument, _) = run(system, prompts(1), drafts=RUN_LOGITS)
        assert (result, argument) == (Result.DOES_NOT_FIT, 7)
        assert system.field(Field.DRAM_BYTES) == DRAM_BYTES
    finally:
        system.close()


def test_one_stream_is_the_default(system: System) -> None:
    result, (run_id, _) = run(system, prompts(3), streams=0)
    assert result is Result.OK
    system.wait_for(lambda: system.field(Field.STATE) == State.LOADED, "the run ends")
    assert system.field(Field.RUN_ID) == run_id
    assert system.field(Field.RUN_RESULT) == Result.OK
    assert system.field(Field.OUTPUT_HEAD) == 2


def test_formats_that_the_engine_lacks_are_refused(simulator_build: object) -> None:
    blob = build_blob(tiny_image(), STANDARD)
    formats = FORMATS | 1 << len(Format)  # and one that no gateware knows
    system = System(simulator_build, changed(blob, formats=formats))
    try:
        answer = system.command(Command.LOAD)
        assert answer.result is Result.WRONG_FORMAT
        assert answer.words[:3] == (Word.FORMATS, formats, FORMATS)
        assert system.field(Field.STATE) == State.READY
    finally:
        system.close()
