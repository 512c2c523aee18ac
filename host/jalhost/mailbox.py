"""Talks to a device's firmware through its mailbox (:mod:`jalgateware.contract.mailbox`)."""

import logging
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import count

from jalgateware.contract.mailbox import (
    ARGUMENTS,
    MAGIC,
    PROTOCOL,
    RESPONSES,
    BootReason,
    Command,
    Field,
    Result,
    State,
    answer_check,
    command_check,
)
from jalgateware.contract.memory_map import MAILBOX
from jalhost.errors import DeviceError, DeviceRestarted, LinkError
from jalhost.links.link import Link

PAUSE_S = 0.002
"""Between two looks at the mailbox that showed nothing new."""

READINGS = 12
"""How often something is read until two readings agree."""

LOOKS_BEFORE_REPEAT = 8
"""Looks at the mailbox without an answer after which a command is written again."""

RESTARTS = (Result.RESTARTED, Result.NOT_LOADED)
"""Results by which the CPU has started again."""

_log = logging.getLogger(__name__)

_EXPLANATIONS = {
    Result.UNKNOWN_COMMAND: ("does not know this command", "its firmware is older than jalhost"),
    Result.BUSY: ("is busy with a run", "another program uses it"),
    Result.BAD_ARGUMENT: ("refuses an argument", ""),
    Result.NO_IMAGE: ("finds no image in its DRAM", ""),
    Result.HEADER_DAMAGED: ("finds the image's header damaged", ""),
    Result.CRC_MISMATCH: ("finds the image damaged", ""),
    Result.WRONG_LANES: ("has engine words of another width than the image", ""),
    Result.LIMIT_EXCEEDED: ("is too small for the image", ""),
    Result.WRONG_FORMAT: ("does not take the format of the image's matrices", ""),
    Result.WRONG_ISA: ("knows another instruction set than the image", "update its bitstream"),
    Result.DOES_NOT_FIT: ("has too little DRAM for the image", "choose a smaller model"),
    Result.NOT_LOADED: ("has no image loaded", ""),
    Result.CRC_TIMEOUT: ("could not check its DRAM: the CRC engine hangs", "reset the device"),
    Result.ENGINE_TIMEOUT: ("could not bring its engine to rest", "reset the device"),
    Result.WATCHDOG: ("found its engine hanging and reset it", "see its counters"),
    Result.ENGINE_ERROR: ("reports an error of its engine", ""),
    Result.STOPPED: ("was stopped by someone else", "another program uses it"),
    Result.FAILED: ("failed its self-test", ""),
    Result.DRAM_FAILED: ("has no working DRAM", "check the board and its memory"),
    Result.RESTARTED: ("started again in the middle", "try again, or look at its console"),
    Result.PROMPT_DAMAGED: ("found the prompt damaged", "the link damages what it carries"),
    Result.WRONG_FIRMWARE: (
        "runs firmware that was built for other gateware",
        "build and flash both together",
    ),
}


@dataclass(frozen=True)
class Status:
    """What one look at the mailbox tells; the order of the fields is that of the mailbox."""

    heartbeat: int
    state: int
    answered: int
    result: int
    output_head: int
    run_result: int
    run_detail: int
    run_id: int


@dataclass(frozen=True)
class Answer:
    """A command's result and its response words."""

    result: Result
    words: tuple[int, ...]


class Mailbox:
    """Commands and fields.

    Args:
        link: the way to the device.
        patience_s: how long the firmware's heartbeat may stand still.
    """

    def __init__(self, link: Link, patience_s: float) -> None:
        self.link = link
        self._patience_s = patience_s

    def read(self, field: Field, words: int = 1, offset: int = 0) -> list[int]:
        """Reads words from a field on, ``offset`` bytes into it."""
        return self.link.read(MAILBOX.origin + field + offset, words)

    def read_steady(self, field: Field, words: int = 1, offset: int = 0) -> list[int]:
        """Reads words that do not change, each until two readings agree: a link may damage some.

        Raises:
            LinkError: they never do.
        """
        seen: list[set[int]] = [set() for _ in range(words)]
        steady: dict[int, int] = {}
        for _ in range(READINGS):
            for place, value in enumerate(self.read(field, words, offset)):
                if value in seen[place]:
                    steady.setdefault(place, value)
                seen[place].add(value)
            if len(steady) == words:
                return [steady[place] for place in range(words)]
        raise self._unsteady()

    def _unsteady(self) -> LinkError:
        return LinkError(
            f"{self.link.description} says something else each time that it is asked",
            "the link damages what it carries: check the cable, or lower the baud rate",
        )

    def write(self, field: Field, values: Sequence[int], offset: int = 0) -> None:
        """Writes words from a field on."""
        self.link.write(MAILBOX.origin + field + offset, values)

    def status(self) -> Status:
        """One look at everything that changes."""
        return Status(*self.read(Field.HEARTBEAT, 8))

    def steady_status(self) -> Status:
        """The same, as two looks in turn agree on: neither is damage on the way.

        The heartbeat may differ, and while a run goes on, so may the head of its ring.

        Raises:
            LinkError: they never agree.
        """
        last = None
        for _ in range(READINGS):
            status = self.status()
            head = 0 if status.state == State.RUNNING else status.output_head
            lasting = replace(status, heartbeat=0, output_head=head)
            if lasting == last:
                return status
            last = lasting
        raise self._unsteady()

    def wait_until_ready(self, timeout_s: float) -> None:
        """Waits until the firmware takes commands.

        Raises:
            DeviceError: it does not, within the time, or it speaks another protocol.
        """
        deadline = time.monotonic() + timeout_s
        while (magic := self.read_steady(Field.MAGIC)[0]) != MAGIC:
            if time.monotonic() > deadline:
                raise DeviceError(
                    f"no jalhost firmware answers on {self.link.description} "
                    f"(mailbox reads 0x{magic:08x})",
                    "is the bitstream one of jalhost's, and does the board's DRAM start?",
                )
            time.sleep(PAUSE_S)
        protocol = self.read_steady(Field.PROTOCOL)[0]
        if protocol != PROTOCOL:
            raise DeviceError(
                f"the firmware speaks mailbox protocol {protocol}, this program {PROTOCOL}",
                "build and flash the device with this version of jalhost",
            )

    def watch(self) -> "Watch":
        """Starts watching the firmware's heartbeat."""
        return Watch(self.link.description, self._patience_s)

    def finish_commands(self) -> Status:
        """Waits until nothing is left of a command that an earlier program gave.

        What never was whole stays unanswered, so this does not wait for ever.

        Raises:
            DeviceError: the firmware does not answer.
        """
        watch = self.watch()
        while (status := self.steady_status()).state in (State.CHECKING, State.BOOTING):
            watch.look(status.heartbeat)
        return status

    def command(
        self, command: Command, *arguments: int, accept: Iterable[Result] = (Result.OK,)
    ) -> Answer:
        """Has a command carried out, once, however often the link damages it.

        Raises:
            DeviceRestarted: the firmware started again meanwhile.
            DeviceError: the result is none of ``accept``, or the firmware does not answer.
        """
        assert len(arguments) <= ARGUMENTS
        number = (self.read_steady(Field.DOORBELL)[0] + 1) & 0xFFFFFFFF
        words = [command, *arguments, *[0] * (ARGUMENTS - len(arguments))]
        words += [command_check(number, words), number]
        answer = self._carried_out(number, words)
        _log.debug("%s%s -> %s %s", command.name, arguments, answer.result.name, answer.words)
        if answer.result not in accept:
            raise self.failure(answer.result, command.name)
        return answer

    def _carried_out(self, number: int, words: list[int]) -> Answer:
        """Writes a command as often as it takes, and waits for its answer."""
        watch = self.watch()
        for look in count():
            if look % LOOKS_BEFORE_REPEAT == 0:
                self.write(Field.COMMAND, words)
            status = self.status()
            if status.answered == number:
                answer = self._answer(number)
                if answer:
                    return answer
            watch.look(status.heartbeat)
        raise AssertionError("count() has no end")

    def _answer(self, number: int) -> Answer | None:
        """The answer to a command, unless what arrives of it is damaged."""
        result = self.read(Field.RESULT)[0]
        *responses, fitting = self.read(Field.RESPONSE_0, RESPONSES + 1)
        if fitting != answer_check(number, result, responses):
            return None
        return Answer(Result(result), tuple(responses))

    def check_boots(self, boots: int) -> None:
        """Refuses to go on where the firmware started again.

        Raises:
            DeviceRestarted: with the reason of the restart.
        """
        if self.read_steady(Field.BOOTS)[0] != boots:
            reason = BootReason(self.read_steady(Field.BOOT_REASON)[0])
            raise DeviceRestarted(
                f"the CPU of the device on {self.link.description} started again ({reason.name})",
                "try again; if it goes on, look at its console",
            )

    def failure(self, result: Result, what: str, detail: str = "") -> DeviceError:
        """The error that says why something failed.

        A device that has no image any more, where one was loaded, started again meanwhile.
        """
        text, hint = _EXPLANATIONS.get(result, ("fails", ""))
        reason = f"{what}: {result.name}{detail}"
        kind = DeviceRestarted if result in RESTARTS else DeviceError
        return kind(f"the device on {self.link.description} {text} ({reason})", hint)

    def check_state(self, status: Status) -> None:
        """Refuses a device that does not work.

        Raises:
            DeviceError: its firmware found a fault.
        """
        if status.state == State.FAULT:
            raise self.failure(Result(self.read_steady(Field.FAULT)[0]), "fault")


class Watch:
    """Tells a slow device from a dead one: the heartbeat of a slow one still changes."""

    def __init__(self, description: str, patience_s: float) -> None:
        self._description = description
        self._patience_s = patience_s
        self._heartbeat = -1
        self._since = time.monotonic()

    def look(self, heartbeat: int) -> None:
        """Notes a heartbeat, and pauses.

        Raises:
            DeviceError: the heartbeat has been the same for too long.
        """
        now = time.monotonic()
        if heartbeat != self._heartbeat:
            self._heartbeat, self._since = heartbeat, now
        elif now - self._since > self._patience_s:
            raise DeviceError(
                f"the firmware on {self._description} stopped: its heartbeat stands still",
                "reset the device",
            )
        time.sleep(PAUSE_S)
