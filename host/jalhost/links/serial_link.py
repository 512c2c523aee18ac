"""UARTBone over a serial port whose rate can change: finds it, raises it, and falls back.

A device starts at a rate that every adapter has, and keeps the one that a program has left it at.
So the host tries rates until the device answers; then it writes the tuning word of a faster one,
follows, and stays if patterns come back whole. The firmware takes a rate back that the host does
not confirm in time (``TUNING_MS``): whatever gets lost on the way, the device is found again.
"""

import logging
import random
import time
from collections.abc import Callable
from typing import TypeVar

from jalgateware.contract.mailbox import TUNING_MS, Field
from jalgateware.contract.memory_map import (
    FINGERPRINT_ADDRESS,
    MAILBOX,
    MAIN_RAM_ORIGIN,
    SCRATCH_OFFSET,
    TUNING_WORD_ADDRESS,
)
from jalgateware.contract.serial_port import (
    BASE_BAUD,
    BAUD_RATES,
    BITS_PER_BYTE,
    possible_rates,
    tuning_word,
)
from jalhost.errors import ConnectionLost, LinkError
from jalhost.links.link import TunableStream
from jalhost.links.uartbone import BRIDGE_TIMEOUT_S, PATIENT_RETRIES, UartBone
from jalhost.progress import Report

SEARCHES = 3
"""How often all rates are tried, more patiently each time."""

SETTLE_S = 0.02
"""Until an adapter has sent what the operating system calls sent, and has changed its rate."""

PATTERN_WORDS = 64
PATTERNS = 4
PATTERNS_WHOLE = 3
"""So many of PATTERNS come back whole at a rate that works: a link may err at any rate."""

CONFIRMATIONS = 6
"""How often the device is told that the rate is to stay."""

CALLS = 8
"""How often a device that is not understood is told to be slow."""

RECOVERIES = 8
"""How often in the life of a link the device may have to be searched again."""

RELAXATIONS = 3
"""How often the link gets slower because of errors: if that does not help, the rate is not why."""

MARK_ADDRESS = MAILBOX.origin + Field.MARK

_log = logging.getLogger(__name__)

T = TypeVar("T")


class SerialLink(UartBone):
    """A link over a serial port.

    Args:
        stream: the port; closed together with the link.
        report: takes lines for people.
        pinned: the only rate to use, in baud; None takes the fastest one that works.
    """

    def __init__(self, stream: TunableStream, report: Report, pinned: int | None = None) -> None:
        super().__init__(stream, None, PATIENT_RETRIES, MARK_ADDRESS)
        self._port = stream
        self._report = report
        self._pinned = pinned
        self._clock_hz: int | None = None
        self._fingerprint: int | None = None
        self._recoveries = 0
        self._relaxations = 0
        self._used: tuple[int, ...] = ()
        """Rates that the device may have stayed at."""
        self._finding = False
        self._busy = False

    @property
    def baud(self) -> int:
        """The rate, in baud."""
        return self._port.baud

    def find(self) -> None:
        """Finds the rate at which the device answers.

        Raises:
            LinkError: it does not, at any rate; or another device does than before.
        """
        rates = list(dict.fromkeys([self._pinned or BASE_BAUD, BASE_BAUD, *BAUD_RATES]))
        self._finding = True
        try:
            for search in range(SEARCHES):
                if any(self._answers_at(baud, search) for baud in rates):
                    _log.debug("%s answers at %d baud", self.description, self.baud)
                    return
                for baud in self._used:
                    self._call_down(baud)
        finally:
            self._finding = False
        raise LinkError(
            f"no answer from {self.description} at {BASE_BAUD} to {max(rates)} baud",
            "is the board powered and configured, and is this its UARTBone port?",
        )

    def tune(self, clock_hz: int) -> None:
        """Goes to the fastest rate that works, or to the pinned one.

        ``clock_hz``: of the device, from which the rate is made.

        Raises:
            LinkError: the pinned rate does not work, or the device got lost.
        """
        self._settle(0)
        self._clock_hz = clock_hz
        if self._pinned:
            pinned = self._pinned
            if self.baud != pinned and not self._exclusively(lambda: self._switch(pinned)):
                raise LinkError(
                    f"{self.description} does not work at {self._pinned} baud",
                    "name a lower rate, or none",
                )
        else:
            self._exclusively(lambda: self._go_to_fastest(max(BAUD_RATES)))
        self._confirm()
        self._report(f"{self.description} at {self.baud:,} baud")

    def _go_to_fastest(self, most: int) -> None:
        """Goes to the fastest rate that works, up to ``most``.

        Behind one that does not, the device is at the rate of its start: the others come all the
        same, as that rate is far slower than what the line may be good for.
        """
        assert self._clock_hz is not None
        for baud in possible_rates(self._clock_hz):
            if baud <= most and (baud == self.baud or self._switch(baud)):
                return

    # What the link does when it is in trouble.

    def _recover(self) -> None:
        self._recoveries += 1
        if self._recoveries > RECOVERIES:
            raise self._no_answer()
        wanted = self.baud
        self.find()
        if self._clock_hz is not None and self.baud < wanted:
            self._exclusively(lambda: self._go_to_fastest(wanted))
            self._confirm()
            if self.baud < wanted:
                self._report(
                    f"{self.description} did not answer any more: going on at {self.baud:,} baud"
                )

    def _reopen(self, loss: ConnectionLost) -> None:
        _log.debug("%s", loss)
        self._port.reopen()
        if not self._finding:
            self._recover()

    def _relax(self) -> None:
        if self._finding or self._busy or self._clock_hz is None or self._pinned:
            return
        self._relaxations += 1
        if self._relaxations > RELAXATIONS:
            return
        slower = [baud for baud in possible_rates(self._clock_hz) if baud < self.baud]
        if slower:
            before = self.baud
            self._exclusively(lambda: self._slow_down(slower[0]))
            self._report(f"many errors at {before:,} baud: going on at {self.baud:,}")

    def _slow_down(self, most: int) -> None:
        self._go_to_fastest(most)
        self._confirm()

    def _exclusively(self, action: Callable[[], T]) -> T:
        """Does something whose own failures ask for nothing further."""
        before, self._busy = self._busy, True
        try:
            return action()
        finally:
            self._busy = before
            self._forget()

    # Steps.

    def _set(self, baud: int) -> bool:
        """Sets this end's rate; returns whether that worked."""
        try:
            self._port.set_baud(baud)
            self._port.discard_input()
        except ConnectionLost as error:
            self._reopen(error)
            return False
        except ValueError:  # the adapter does not have it
            return False
        return True

    def _answers_at(self, baud: int, search: int) -> bool:
        """Whether the device answers at a rate; the bridge has forgotten the request if not.

        Each search waits longer: what is at the other end may be a simulator, and slow.
        """
        try:
            if self._set(baud) and self._answers(search):
                return True
        except ConnectionLost as error:
            self._reopen(error)
        time.sleep(1.2 * BRIDGE_TIMEOUT_S)
        return False

    def _call_down(self, baud: int) -> None:
        """Sends the device, which may hear us but not be understood, to the rate of its start.

        Only where nothing else helps: what is written may be damaged, address included.
        """
        if self._clock_hz is None or not self._set(baud):
            return
        for _ in range(CALLS):
            self._write_now(TUNING_WORD_ADDRESS, tuning_word(BASE_BAUD, self._clock_hz))
            time.sleep(1.2 * BRIDGE_TIMEOUT_S)

    def _answers(self, search: int) -> bool:
        """Whether the device answers at this rate; a read first, as that changes nothing."""
        self._port.send(bytes([2, 2]) + (FINGERPRINT_ADDRESS >> 2).to_bytes(4, "big"))
        answer = self._collect(8, self._patience(14, search))
        if len(answer) != 8:
            return False
        words = self._exchange(FINGERPRINT_ADDRESS, 2, search)
        if words is None or answer != b"".join(word.to_bytes(4, "big") for word in words):
            return False
        fingerprint = words[0] << 32 | words[1]
        if self._fingerprint not in (None, fingerprint):
            raise LinkError(
                f"another device answers on {self.description} now: its fingerprint is"
                f" {fingerprint:016x}, that of the one before was {self._fingerprint:016x}"
            )
        self._fingerprint = fingerprint
        return True

    def _switch(self, baud: int) -> bool:
        """Takes both ends to a rate; where that fails, the device is found again at another."""
        assert self._clock_hz is not None
        before = self.baud
        if not self._set(baud):
            return False
        self._set(before)
        word = tuning_word(baud, self._clock_hz)
        self._used = (baud, before)
        self._tell_word(0)  # whatever comes now, the firmware takes back
        self._write_now(TUNING_WORD_ADDRESS, word)
        time.sleep(SETTLE_S)
        self._set(baud)
        if sum(self._pattern_is_whole() for _ in range(PATTERNS)) >= PATTERNS_WHOLE:
            return True
        _log.debug("%d baud does not work", baud)
        time.sleep(1.5 * TUNING_MS / 1000)
        self._set(before)
        self.find()
        return self.baud == baud

    def _pattern_is_whole(self) -> bool:
        """Whether random words come back from DRAM as they were sent, at the first try."""
        values = [random.getrandbits(32) for _ in range(PATTERN_WORDS)]
        address = MAIN_RAM_ORIGIN + SCRATCH_OFFSET
        self._write_now(address, *values)
        if self._exchange(address, len(values)) == values:
            return True
        time.sleep(1.5 * BRIDGE_TIMEOUT_S)
        return False

    def _confirm(self) -> None:
        """Tells the firmware that the rate is to stay."""
        assert self._clock_hz is not None
        self._used = (self.baud,)
        self._tell_word(tuning_word(self.baud, self._clock_hz))

    def _tell_word(self, word: int) -> None:
        """Writes the tuning word that is to stay into the mailbox."""
        address = MAILBOX.origin + Field.TUNING_WORD
        for _ in range(CONFIRMATIONS):
            self._write_now(address, word)
            if self._exchange(address, 1) == [word]:
                return
            time.sleep(1.5 * BRIDGE_TIMEOUT_S)

    def _write_now(self, address: int, *values: int) -> None:
        """Writes past all open spans, and returns when it has left."""
        header = bytes([1, len(values)]) + (address >> 2).to_bytes(4, "big")
        self._send(header + b"".join(value.to_bytes(4, "big") for value in values))
        try:
            self._port.drain()
        except ConnectionLost as error:
            self._reopen(error)
        time.sleep(len(values) * 4 * BITS_PER_BYTE / self.baud)
