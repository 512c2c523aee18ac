"""A device: who it is, getting an image into it, running it, and its counters."""

import logging
import threading
from collections.abc import Generator, Sequence

from jalgateware.contract.image_header import Word
from jalgateware.contract.mailbox import (
    COUNTERS,
    LIMITS,
    RING_ENTRIES,
    RING_ENTRY_WORDS,
    RUN_LOGITS,
    Command,
    Field,
    Flag,
    Result,
    State,
    check,
    run_check,
)
from jalgateware.golden.sampler import Sampling
from jalhost.errors import DeviceError, DeviceRestarted, LinkError, ModelError, UsageError
from jalhost.identity import Identity, engine_config, format_names, read_device_fingerprint
from jalhost.links.link import Link
from jalhost.links.shared import SharedLink
from jalhost.mailbox import Mailbox, Status
from jalhost.mailbox_words import OutputEntry, prompt_words
from jalhost.models.blob import Blob
from jalhost.progress import Report
from jalhost.transfer import Transfer

__all__ = ["Device", "Report"]

READINGS = 32
"""How often entries of the output ring are read until they are whole."""

READINGS_BEFORE_RECOUNT = 4
"""After as many it is asked again how many there are: of as many answers, the least counts."""

PROMPT_TRIES = 8
"""How often a prompt is written until it arrives."""

IDLE_LOOKS = 8
"""Looks without a new token after which the host says again how far it has read."""

ENDS = (Result.OK, Result.STOP_TOKEN, Result.CONTEXT_FULL)
"""How a run ends that went well."""

_log = logging.getLogger(__name__)


class Device:
    """A device behind a link.

    Args:
        link: closed together with the device.
        expected_fingerprint: of the build that the device should be; None takes any.
        ready_timeout_s: how long the firmware may take to start.
        patience_s: how long the firmware's heartbeat may stand still.

    Raises:
        LinkError: the link does not work.
        DeviceError: the device is another, does not start, or does not work.
    """

    def __init__(
        self,
        link: Link,
        expected_fingerprint: int | None = None,
        ready_timeout_s: float = 10.0,
        patience_s: float = 5.0,
    ) -> None:
        self._link = link = SharedLink(link)
        self.logits_offset = 0
        """Where the last run's logits are, in bytes from the image's start in DRAM; 0: none."""
        self.sensor_lock = threading.RLock()
        """Held by who uses the sensor bus: steps of several users must not mix."""
        self._ready_timeout_s = ready_timeout_s
        self._mailbox = Mailbox(link, patience_s)
        fingerprint = read_device_fingerprint(link)
        if expected_fingerprint is not None and fingerprint != expected_fingerprint:
            raise DeviceError(
                f"{link.description} is another build: its fingerprint is {fingerprint:016x}, "
                f"expected {expected_fingerprint:016x}",
                "flash the device with that build, or name the build that it has",
            )
        self._mailbox.wait_until_ready(ready_timeout_s)
        status = self._mailbox.finish_commands()
        self._mailbox.check_state(status)
        if status.state == State.RUNNING:
            _log.debug("stopping a run that an earlier program left")
            self.stop()
        self.identity = self._identify(fingerprint)

    @property
    def link(self) -> Link:
        """The way to it."""
        return self._link

    @property
    def mailbox(self) -> Mailbox:
        """For what is asked of the firmware besides."""
        return self._mailbox

    def wait_until_ready(self) -> None:
        """Waits until the firmware takes commands, where it is known to start again.

        Raises:
            DeviceError: it does not.
        """
        self._mailbox.wait_until_ready(self._ready_timeout_s)
        self._mailbox.check_state(self._mailbox.finish_commands())

    def _identify(self, fingerprint: int) -> Identity:
        words = self._mailbox.command(Command.IDENTIFY).words
        _, version, clock_hz, dram_bytes, image_offset, low, high = words[:7]
        if high << 32 | low != fingerprint:
            raise self._mailbox.failure(Result.WRONG_FIRMWARE, Command.IDENTIFY.name)
        flags, lanes, port_bytes, rows, formats = self._mailbox.read_steady(Field.FLAGS, 5)
        limits = dict(
            zip(LIMITS, self._mailbox.read_steady(Field.LIMITS, len(LIMITS)), strict=True)
        )
        return Identity(
            fingerprint=fingerprint,
            firmware=".".join(str(version >> shift & 0xFF) for shift in (16, 8, 0)),
            clock_hz=clock_hz,
            dram_bytes=dram_bytes,
            image_offset=image_offset,
            port_bytes=port_bytes,
            simulated=bool(flags >> Flag.SIMULATED & 1),
            tunable=bool(flags >> Flag.TUNABLE & 1),
            config=engine_config(lanes, rows, formats, limits),
        )

    def check_size(self, blob: Blob) -> None:
        """Refuses what does not fit into the device's DRAM.

        Raises:
            ModelError: with both sizes.
        """
        room = self.identity.dram_bytes - self.identity.image_offset
        if blob.memory_bytes > room:
            raise ModelError(
                f"the model needs {blob.memory_bytes:,} bytes of DRAM, the device has {room:,}",
                "choose a smaller model",
            )

    def transfer_image(self, blob: Blob, report: Report) -> None:
        """Gets an image into DRAM over the link, unless it is there already.

        The device checks the CRC of each chunk in place; what arrived damaged is sent again.

        Raises:
            DeviceError: some of it stays damaged.
        """
        self.check_size(blob)
        Transfer(self._mailbox, blob, self.identity.image_offset, report).run()

    def load(self) -> None:
        """Makes the image in DRAM the one to run.

        Raises:
            ModelError: the gateware is too small for it.
            DeviceError: it is refused for another reason.
        """
        accept = (Result.OK, Result.LIMIT_EXCEEDED, Result.WRONG_FORMAT)
        answer = self._mailbox.command(Command.LOAD, accept=accept)
        if answer.result is Result.LIMIT_EXCEEDED:
            index, value, limit = answer.words[:3]
            name = Word(index).name.lower().replace("_", " ")
            raise ModelError(f"the model's {name} is {value}, this gateware's limit is {limit}")
        if answer.result is Result.WRONG_FORMAT:
            _, needed, taken = answer.words[:3]
            raise ModelError(
                f"the model has matrices in {format_names(needed)}, this gateware takes "
                f"{format_names(taken)}",
                "convert the model for it",
            )

    def run(
        self,
        prompts: Sequence[Sequence[int]],
        count: int,
        sampling: Sampling,
        drafts: int = 0,
        position: int = 0,
        logits: bool = False,
    ) -> Generator[OutputEntry, None, None]:
        """Runs the loaded image and yields tokens as they are sampled; closing it stops the run.

        ``prompts``: of each stream. ``count``: tokens to sample for each. ``drafts``: most drafted
        tokens in a pass. ``position``: of the prompts' first tokens. ``logits``: those of the last
        sample can be read then; only with one stream and no drafts.

        Raises:
            UsageError: the prompts are longer than the mailbox, or their KV caches do not fit.
            DeviceRestarted: the device's CPU started again meanwhile.
            DeviceError: the run failed.
        """
        boots = self._mailbox.read_steady(Field.BOOTS)[0]
        words = prompt_words(prompts)
        self.logits_offset = 0
        asked = drafts | (RUN_LOGITS if logits else 0)
        arguments = (len(words), count, position, sampling.inverse_temperature, sampling.seed)
        run = self._start_run(words, *arguments, 0, len(prompts), asked, check(words))
        running, tail, watch, idle = True, 0, self._mailbox.watch(), 0
        try:
            while True:
                status, fresh = self._look(run, tail, boots)
                taken = yield from self._take(run, tail, fresh)
                tail += taken
                if status.state != State.RUNNING and taken == fresh:
                    running = False
                    break
                if not fresh:
                    watch.look(status.heartbeat)
                    idle += 1
                    if idle % IDLE_LOOKS == 0:  # what it said before may have been lost
                        self._tell_tail(tail)
            self._check_end(status, boots)
        except (LinkError, DeviceRestarted):
            running = False  # nobody there to stop, or nothing
            raise
        finally:
            if running:
                self._abandon()

    def _start_run(self, words: list[int], *arguments: int) -> int:
        """Returns the run's number."""
        accept = (Result.OK, Result.BAD_ARGUMENT, Result.DOES_NOT_FIT, Result.PROMPT_DAMAGED)
        for _ in range(PROMPT_TRIES):
            self._mailbox.write(Field.PROMPT, words)
            answer = self._mailbox.command(Command.RUN, *arguments, accept=accept)
            if answer.result is not Result.PROMPT_DAMAGED:
                break
        first, second = answer.words[:2]
        if answer.result is Result.DOES_NOT_FIT and arguments[7] & RUN_LOGITS:
            raise UsageError(
                "the device's DRAM has no room for logits behind the model and its KV cache",
                "leave out what samples on the host, or choose a smaller model",
            )
        if answer.result is Result.DOES_NOT_FIT:
            raise UsageError(
                f"the device's DRAM holds the KV caches of {second} streams, not of {arguments[6]}",
                "lower --streams",
            )
        if answer.result is not Result.OK:
            detail = f", argument {first} has the limit {second}"
            bad = answer.result is Result.BAD_ARGUMENT
            raise self._mailbox.failure(answer.result, Command.RUN.name, detail if bad else "")
        self.logits_offset = second
        return first

    def _look(self, run: int, tail: int, boots: int) -> tuple[Status, int]:
        """The run's status, and how many entries of the output ring are new.

        A single look that says anything but "goes on" may be damaged: only a second one that says
        the same counts.
        """
        status = self._mailbox.status()
        if status.state != State.RUNNING or not _plausible(status, run, tail):
            status = self._mailbox.steady_status()
            if not _plausible(status, run, tail):
                self._mailbox.check_boots(boots)
                raise DeviceError(
                    f"the run on {self._link.description} was replaced by another",
                    "another program uses the device, or its CPU was reset",
                )
        return status, _fresh(status, tail)

    def _take(self, run: int, tail: int, count: int) -> Generator[OutputEntry, None, int]:
        """Reads ``count`` entries of the output ring, at most to its end at a time.

        Returns how many there were: the count may have been damaged on its way.
        """
        taken = 0
        while taken < count:
            part = min(count - taken, RING_ENTRIES - (tail + taken) % RING_ENTRIES)
            entries = self._entries(run, tail + taken, part)
            taken += len(entries)
            self._tell_tail(tail + taken)
            yield from entries
            if len(entries) < part:
                break
        return taken

    def _entries(self, run: int, first: int, count: int) -> list[OutputEntry]:
        """Reads entries until each of them is whole; not those that turn out not to be there.

        Raises:
            LinkError: one of them never is.
        """
        size = RING_ENTRY_WORDS
        found: dict[int, OutputEntry] = {}
        for reading in range(READINGS):
            if reading and reading % READINGS_BEFORE_RECOUNT == 0:
                heads = [self._mailbox.status() for _ in range(READINGS_BEFORE_RECOUNT)]
                count = min(count, *(_fresh(head, first) for head in heads))
            missing = [number for number in range(first, first + count) if number not in found]
            if not missing:
                return [found[number] for number in range(first, first + count)]
            start, end = missing[0], missing[-1] + 1
            words = self._mailbox.read(
                Field.OUTPUT_RING, size * (end - start), 4 * size * (start % RING_ENTRIES)
            )
            for number in missing:
                place = size * (number - start)
                entry = OutputEntry.unpack(words[place : place + size], run, number & 0xFFFFFFFF)
                if entry:
                    found[number] = entry
        raise LinkError(
            f"tokens keep arriving damaged from {self._link.description}",
            "check the cable, or lower the baud rate",
        )

    def _tell_tail(self, tail: int) -> None:
        self._mailbox.write(Field.OUTPUT_TAIL, [tail & 0xFFFFFFFF, ~tail & 0xFFFFFFFF])

    def _check_end(self, status: Status, boots: int) -> None:
        self._mailbox.check_boots(boots)
        words = (status.run_id, status.output_head, status.run_result, status.run_detail)
        if self._mailbox.read_steady(Field.RUN_CHECK)[0] != run_check(*words):
            raise DeviceError(
                f"what {self._link.description} says of the end of the run does not fit together",
                "the link damages what it carries: check the cable, or lower the baud rate",
            )
        result = Result(status.run_result)
        if result not in ENDS:
            detail = f", engine error {status.run_detail}" if status.run_detail else ""
            raise self._mailbox.failure(result, Command.RUN.name, detail)

    def _abandon(self) -> None:
        """Stops a run whose reader has gone; what fails here would hide why it has gone."""
        try:
            self.stop()
        except (LinkError, DeviceError) as error:
            _log.debug("stopping the run failed: %s", error)

    def stop(self) -> None:
        """Ends the run, if there is one."""
        self._mailbox.command(Command.STOP)

    def counters(self) -> dict[str, int]:
        """The engine's counters."""
        self._mailbox.command(Command.STATUS)
        words = self._mailbox.read_steady(Field.COUNTERS, 2 * len(COUNTERS))
        pairs = zip(words[0::2], words[1::2], strict=True)
        return dict(zip(COUNTERS, (low | high << 32 for low, high in pairs), strict=True))

    def close(self) -> None:
        """Gives the link back."""
        self._link.close()


def _fresh(status: Status, tail: int) -> int:
    """Entries of the output ring that have not been read."""
    return (status.output_head - tail) & 0xFFFFFFFF


def _plausible(status: Status, run: int, tail: int) -> bool:
    return status.run_id == run and _fresh(status, tail) <= RING_ENTRIES
