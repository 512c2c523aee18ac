"""What ``--json`` prints, as types: docs/debug.md, docs/labgrid.md describe each field."""

from typing import Literal

from pydantic import BaseModel, ConfigDict


class Record(BaseModel):
    """Base of all records: nothing may be missing, and nothing else be there."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")


class RegisterRecord(Record):
    """A register; ``value`` is null where it was not read."""

    name: str
    address: int
    words: int
    access: Literal["rw", "ro"]
    value: int | None


class CsrRecord(Record):
    """``jalhost csr``."""

    target: str
    registers: list[RegisterRecord]


class MemoryRecord(Record):
    """``jalhost mem read``, ``write`` and ``dump``: words from an address on."""

    target: str
    memory: str
    address: int
    words: list[int]
    written: bool


class FailureRecord(Record):
    """A wrong word; ``lasting``: also when it was read once more."""

    address: int
    expected: int
    got: int
    again: int
    lasting: bool


class OutcomeRecord(Record):
    """A test of ``jalhost mem test``; ``first``: of its failures."""

    name: str
    passed: bool
    accesses: int
    failures: int
    wrong_bits: int
    first: list[FailureRecord]


class MemoryTestRecord(Record):
    """``jalhost mem test``."""

    target: str
    memory: str
    address: int
    size: int
    seed: int
    block_words: int
    passed: bool
    tests: list[OutcomeRecord]


class AnswerRecord(Record):
    """A command of the firmware's console, and the lines of its answer."""

    command: str
    lines: list[str]


class ConsoleRecord(Record):
    """``jalhost console --command``."""

    target: str
    answers: list[AnswerRecord]


class SignalRecord(Record):
    """A signal that the analyzer sees."""

    name: str
    bits: int


class CaptureRecord(Record):
    """``jalhost capture``; ``output`` is null and ``samples`` 0 where signals were only listed.

    ``samplerate``: samples per second, by the system's nominal clock.
    """

    target: str
    output: str | None
    samples: int
    offset: int
    subsampling: int
    samplerate: float
    signals: list[SignalRecord]


class ReportRecord(Record):
    """``jalhost report``: bytes of members, what was replaced how often, what could not be had."""

    output: str
    members: dict[str, int]
    replaced: dict[str, int]
    problems: list[str]
