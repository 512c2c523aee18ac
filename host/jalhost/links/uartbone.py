"""LiteX's UARTBone protocol: bus accesses over a byte stream.

From LiteX's ``litex/soc/cores/uart.py`` (class Stream2Wishbone): a request is a command byte, the
number of words (1 byte), the word address (4 bytes, big-endian), and for writes the words
(big-endian). Reads are answered by the words; writes by nothing. A request that is not complete
after 100 ms is dropped; a byte that is no command is taken for one with five more bytes.

Nothing in it tells that a byte was lost, added or changed, so this module adds marks: a number is
written to a word that nobody else uses, and read behind what it marks. An answer with its mark is
the answer to that request, with as many bytes as it should have; and a write with its mark was
taken as a write. What either carries may still have changed: whoever cares compares or checks it.
"""

import logging
import random
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

from jalgateware.contract.serial_port import BITS_PER_BYTE
from jalhost.errors import ConnectionLost, LinkError
from jalhost.links.link import ByteStream

MAX_BURST = 255
"""Words in one request."""

BRIDGE_TIMEOUT_S = 0.1
"""The bridge forgets an incomplete request after this time."""

SPAN_WORDS = 4 * MAX_BURST
"""Words behind one mark in long writes: marks cost 16 bytes."""

LEAST_SPAN_WORDS = 32
"""The same on a link that fails often."""

WINDOW = 3
"""Marks that may be on the way: the line never waits for the computer."""

FAILURES = 60
"""How often in a row the mark of a long write may be missing."""

ANSWER_S = 0.15
"""Longest time, besides that of the bytes, that a serial port and its adapter take."""

PATIENT_RETRIES = 4
"""How often a read is repeated where the time of an answer is known."""

GOOD_ACCESSES = 32
"""As many in a row without a failure make writes longer again."""

FAILURE_S = 2 * ANSWER_S
"""What a failure costs: waiting for the answer, and until the bridge listens again."""

TOLERATED = 8
MEMORY_S = 3 * TOLERATED * FAILURE_S
"""A link counts as too fast where failures, and more than TOLERATED, cost it more than half of its
time; time longer ago than this counts half."""

_log = logging.getLogger(__name__)


class Command(IntEnum):
    """First byte of a request; the address advances with each word."""

    WRITE = 1
    READ = 2


@dataclass
class _Span:
    """A part of a long write whose mark has not been seen yet."""

    address: int
    values: Sequence[int]
    mark: int


class UartBone:
    """A link over a byte stream.

    Reads are repeated when the answer is missing or not the right one, behind a pause that lets the
    bridge forget what it was doing. With marks, so are writes of more than MAX_BURST words, which
    then go on without waiting for each other; shorter writes may be lost.

    Args:
        stream: where the bytes go; closed together with the link.
        timeout_s: longest silence while an answer is due; None derives it from the stream's rate.
        retries: how often a read is repeated.
        mark_address: of the word for marks; without, nothing is marked.
    """

    def __init__(
        self,
        stream: ByteStream,
        timeout_s: float | None = 2.0,
        retries: int = 2,
        mark_address: int | None = None,
    ) -> None:
        self._stream = stream
        self._timeout_s = timeout_s
        self._retries = retries
        self._mark_address = mark_address
        self._mark = random.getrandbits(32)
        self._open: deque[_Span] = deque()
        self._span_words = SPAN_WORDS
        self._good = 0
        """Accesses since the last failure."""
        self._useful_s = self._lost_s = 0.0
        """Lately, for what arrived, and by failures."""
        self._silence = "nothing"
        self.accesses = self.failures = 0
        """How many reads and long writes were tried, and how many of them failed at first."""

    @property
    def description(self) -> str:
        """The stream's."""
        return self._stream.description

    def read(self, address: int, words: int = 1) -> list[int]:
        """Reads consecutive words.

        Raises:
            LinkError: no or not enough of an answer, after all retries.
        """
        self._settle(0)
        values: list[int] = []
        while len(values) < words:
            count = min(words - len(values), MAX_BURST)
            values += self._read_burst(address + 4 * len(values), count)
        return values

    def write(self, address: int, values: Sequence[int]) -> None:
        """Writes consecutive words.

        Raises:
            LinkError: the connection is lost.
        """
        if self._mark_address is None or len(values) <= MAX_BURST:
            self._settle(0)
            self._send(_write_requests(address, values))
            return
        start = 0
        while start < len(values):
            part = values[start : start + self._span_words]
            self._open.append(_Span(address + 4 * start, part, 0))
            self._send_span(self._open[-1])
            start += len(part)
            self._settle(WINDOW - 1)

    def close(self) -> None:
        """Gives the port back."""
        self._stream.close()

    # What happens when the device does not answer any more; links that know better override it.

    def _recover(self) -> None:
        """Makes the device answer again, if that is possible."""
        raise self._no_answer()

    def _no_answer(self) -> LinkError:
        return LinkError(
            f"no answer from {self.description}: {self._silence}",
            "is the board powered and configured, and the baud rate right?",
        )

    def _relax(self) -> None:
        """Called where many accesses fail: a slower link may do better."""

    # Reads.

    def _read_burst(self, address: int, count: int) -> list[int]:
        """Reads up to so many words: fewer with each failure, as short answers survive more."""
        for attempt in range(1 + self._retries):
            if attempt:
                count = (count + 1) // 2
                _log.debug("repeating a read, of %d words at 0x%08x", count, address)
                self._resynchronise()
            values = self._exchange(address, count, attempt)
            if values is not None:
                return values
        self._recover()
        values = self._exchange(address, count, 0)
        if values is None:
            raise self._no_answer()
        return values

    def _exchange(self, address: int, count: int, attempt: int = 0) -> list[int] | None:
        """One try to read; None without the right answer."""
        request = _read_request(address, count)
        mark = None
        if self._mark_address is not None:
            mark = self._next_mark()
            request = (
                _write_requests(self._mark_address, [mark])
                + request
                + _read_request(self._mark_address, 1)
            )
        length = 4 * count + (4 if mark is not None else 0)
        patience = self._patience(len(request) + length, attempt)
        try:
            # An answer to an earlier request that came too late must not be taken for this one.
            self._stream.discard_input()
            self._stream.send(request)
            answer = self._collect(length, patience)
        except ConnectionLost as error:
            self._reopen(error)
            return None
        got = f"{len(answer)} of {length} bytes" if answer else "nothing"
        self._silence = f"{got} within {patience:.3g} s"
        values = [int.from_bytes(answer[i : i + 4], "big") for i in range(0, len(answer), 4)]
        good = len(answer) == length and (mark is None or values.pop() == mark)
        self._note(good, len(request) + length)
        return values if good else None

    def _collect(self, length: int, timeout_s: float) -> bytes:
        data = b""
        while len(data) < length:
            part = self._stream.receive(length - len(data), timeout_s)
            if not part:
                break
            data += part
        return data

    def _patience(self, size: int, attempt: int = 0) -> float:
        """Longest silence while an answer is due, in seconds, for so many bytes on the line."""
        if self._timeout_s is not None or not self._stream.baud:
            return self._timeout_s or 2.0
        return (ANSWER_S + size * BITS_PER_BYTE / self._stream.baud) * float(2**attempt)

    # Long writes.

    def _settle(self, most: int) -> None:
        """Waits until no more than ``most`` spans are open; sends again what got lost."""
        failures = 0
        while len(self._open) > most:
            if self._confirmed(self._open[0]):
                self._note(True, 4 * len(self._open.popleft().values))
                failures = 0
                continue
            failures += 1
            if failures > FAILURES:
                raise LinkError(
                    f"what is written to {self.description} keeps getting lost",
                    "check the cable, or lower the baud rate",
                )
            self._go_back()

    def _confirmed(self, span: _Span) -> bool:
        size = sum(4 * len(item.values) for item in self._open)
        try:
            answer = self._collect(4, self._patience(size))
        except ConnectionLost as error:
            self._reopen(error)
            return False
        return answer == span.mark.to_bytes(4, "big")

    def _go_back(self) -> None:
        """Sends all open spans again, once the bridge listens."""
        _log.debug("a mark is missing; sending %d spans again", len(self._open))
        self._note(False, 0)
        spans, self._open = self._open, deque()
        assert self._mark_address is not None
        self._resynchronise()
        self._read_burst(self._mark_address, 1)
        self._span_words = max(LEAST_SPAN_WORDS, self._span_words // 2)
        for span in spans:
            for start in range(0, len(span.values), self._span_words):
                part = span.values[start : start + self._span_words]
                self._open.append(_Span(span.address + 4 * start, part, 0))
        for span in self._open:
            self._send_span(span)

    def _send_span(self, span: _Span) -> None:
        assert self._mark_address is not None
        span.mark = self._next_mark()
        self._send(
            _write_requests(span.address, span.values)
            + _write_requests(self._mark_address, [span.mark])
            + _read_request(self._mark_address, 1)
        )

    def _send(self, data: bytes) -> None:
        try:
            self._stream.send(data)
        except ConnectionLost as error:
            self._reopen(error)
            self._stream.send(data)

    # Faults.

    def _next_mark(self) -> int:
        """Another number each time, of four bytes that differ."""
        self._mark = (self._mark + 0x9E3779B1) & 0xFFFFFFFF
        return self._mark

    def _note(self, good: bool, size: int) -> None:
        """Keeps count of an access of so many bytes; asks for another rate where too much fails."""
        self.accesses += 1
        self.failures += not good
        self._good = self._good + 1 if good else 0
        if self._good >= GOOD_ACCESSES and self._span_words < SPAN_WORDS:
            self._span_words = min(SPAN_WORDS, 2 * self._span_words)
        if not self._stream.baud:
            return
        if good:
            self._useful_s += size * BITS_PER_BYTE / self._stream.baud
        else:
            self._lost_s += FAILURE_S
        if self._lost_s > max(self._useful_s, TOLERATED * FAILURE_S):
            self._forget()
            self._relax()
        elif self._useful_s + self._lost_s > MEMORY_S:
            self._useful_s, self._lost_s = self._useful_s / 2, self._lost_s / 2

    def _forget(self) -> None:
        """Begins to count failures anew, as another rate has others."""
        self._useful_s = self._lost_s = 0.0

    def _resynchronise(self) -> None:
        """Lets the bridge forget a request that is not complete."""
        try:
            self._stream.drain()
            time.sleep(1.5 * BRIDGE_TIMEOUT_S)
            self._stream.discard_input()
        except ConnectionLost as error:
            self._reopen(error)

    def _reopen(self, loss: ConnectionLost) -> None:
        """Makes the connection come back; who knows how overrides it."""
        raise loss


def _read_request(address: int, words: int) -> bytes:
    return _header(Command.READ, words, address)


def _write_requests(address: int, values: Sequence[int]) -> bytes:
    """Requests of up to MAX_BURST words, one behind the other."""
    parts = []
    for start in range(0, len(values), MAX_BURST):
        part = values[start : start + MAX_BURST]
        parts.append(_header(Command.WRITE, len(part), address + 4 * start))
        parts += [value.to_bytes(4, "big") for value in part]
    return b"".join(parts)


def _header(command: Command, words: int, address: int) -> bytes:
    assert address % 4 == 0, "bus accesses are word by word"
    return bytes([command, words]) + (address >> 2).to_bytes(4, "big")
