"""A device: who it is, getting an image into it, running it, and its counters."""

import logging
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jalgateware.contract.config import EngineConfig
from jalgateware.contract.image_header import Preamble, Word
from jalgateware.contract.isa import Format
from jalgateware.contract.mailbox import (
    COUNTERS,
    LIMITS,
    MAX_BAD_CHUNKS,
    RING_ENTRIES,
    RING_ENTRY_WORDS,
    Command,
    Field,
    Flag,
    Result,
    State,
)
from jalgateware.contract.memory_map import FINGERPRINT_ADDRESS, MAIN_RAM_ORIGIN
from jalgateware.golden.sampler import Sampling
from jalhost.errors import DeviceError, LinkError, ModelError, UsageError
from jalhost.links.link import Link
from jalhost.mailbox import Mailbox, Status
from jalhost.mailbox_words import OutputEntry, prompt_words
from jalhost.models.blob import Blob

MAX_ROUNDS = 4
"""How often chunks that arrived damaged are sent again."""

REPORT_EVERY_S = 5.0
"""Between two reports of a transfer's progress."""

ENDS = (Result.OK, Result.STOP_TOKEN, Result.CONTEXT_FULL)
"""How a run ends that went well."""

Report = Callable[[str], None]
"""Takes a line of progress for people."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Identity:
    """What a device says about itself. ``port_bytes``: what its DRAM can deliver per cycle."""

    fingerprint: int
    firmware: str
    clock_hz: int
    dram_bytes: int
    image_offset: int
    port_bytes: int
    simulated: bool
    config: EngineConfig


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
        self._link = link
        self._mailbox = Mailbox(link, patience_s)
        high, low = link.read(FINGERPRINT_ADDRESS, 2)
        fingerprint = high << 32 | low
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

    def _identify(self, fingerprint: int) -> Identity:
        words = self._mailbox.command(Command.IDENTIFY).words
        _, version, clock_hz, dram_bytes, image_offset, low, high = words[:7]
        if high << 32 | low != fingerprint:
            raise self._mailbox.failure(Result.WRONG_FIRMWARE, Command.IDENTIFY.name)
        flags, lanes, port_bytes, rows, formats = self._mailbox.read(Field.FLAGS, 5)
        limits = dict(zip(LIMITS, self._mailbox.read(Field.LIMITS, len(LIMITS)), strict=True))
        return Identity(
            fingerprint=fingerprint,
            firmware=".".join(str(version >> shift & 0xFF) for shift in (16, 8, 0)),
            clock_hz=clock_hz,
            dram_bytes=dram_bytes,
            image_offset=image_offset,
            port_bytes=port_bytes,
            simulated=bool(flags >> Flag.SIMULATED & 1),
            config=_config(lanes, rows, formats, limits),
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
            DeviceError: chunks stay damaged.
        """
        self.check_size(blob)
        if not self._holds(blob):
            report(f"sending {len(blob.data):,} bytes to {self._link.description}")
            self._send_all(blob, report)
        bad = self.damaged_chunks()
        for _ in range(MAX_ROUNDS):
            if bad is None:
                report("the image's header was damaged on the way; sending it again")
                self._send(0, blob.data[: blob.header.header_bytes])
            elif bad:
                report(f"damaged on the way: {_chunks(bad)}; sending again")
                for index in bad:
                    self._send(*blob.chunk(index))
            else:
                return
            bad = self.damaged_chunks()
        if bad or bad is None:
            what = "its header" if bad is None else _chunks(bad)
            raise DeviceError(
                f"the image keeps arriving damaged: {what}, after sending it {MAX_ROUNDS} times",
                "check the cable, lower the baud rate, or test the board's DRAM",
            )

    def damaged_chunks(self) -> list[int] | None:
        """Has the image in DRAM checked: damaged chunks (the first ones), None for the header.

        Raises:
            DeviceError: the check itself failed.
        """
        answer = self._mailbox.command(
            Command.VERIFY_IMAGE,
            0,
            0,
            accept=(Result.OK, Result.CRC_MISMATCH, Result.NO_IMAGE, Result.HEADER_DAMAGED),
        )
        if answer.result in (Result.NO_IMAGE, Result.HEADER_DAMAGED):
            return None
        count = min(answer.words[1], MAX_BAD_CHUNKS)
        return self._mailbox.read(Field.BAD_CHUNKS, count) if count else []

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
                f"the model has matrices in {_formats(needed)}, this gateware takes "
                f"{_formats(taken)}",
                "convert the model for it",
            )

    def run(
        self,
        prompts: Sequence[Sequence[int]],
        count: int,
        sampling: Sampling,
        drafts: int = 0,
        position: int = 0,
    ) -> Generator[OutputEntry, None, None]:
        """Runs the loaded image and yields tokens as they are sampled; closing it stops the run.

        ``prompts``: of each stream. ``count``: tokens to sample for each. ``drafts``: most drafted
        tokens in a pass. ``position``: of the prompts' first tokens.

        Raises:
            UsageError: the prompts are longer than the mailbox, or their KV caches do not fit.
            DeviceError: the run failed.
        """
        boots = self._mailbox.read(Field.BOOTS)[0]
        words = prompt_words(prompts)
        self._mailbox.write(Field.PROMPT, words)
        arguments = (len(words), count, position, sampling.inverse_temperature, sampling.seed)
        run = self._start_run(*arguments, 0, len(prompts), drafts)
        running = True
        try:
            tail, watch = 0, self._mailbox.watch()
            while True:
                status = self._mailbox.status()
                fresh = (status.output_head - tail) & 0xFFFFFFFF
                self._check_run(status, run, fresh)
                yield from self._take(tail, fresh)
                tail += fresh
                if status.state != State.RUNNING:
                    running = False
                    break
                if not fresh:
                    watch.look(status.heartbeat)
            self._check_end(status, boots)
        except LinkError:
            running = False  # nobody there to stop
            raise
        finally:
            if running:
                self._abandon()

    def _start_run(self, *arguments: int) -> int:
        """Returns the run's number."""
        accept = (Result.OK, Result.BAD_ARGUMENT, Result.DOES_NOT_FIT)
        answer = self._mailbox.command(Command.RUN, *arguments, accept=accept)
        first, limit = answer.words[:2]
        if answer.result is Result.DOES_NOT_FIT:
            raise UsageError(
                f"the device's DRAM holds the KV caches of {limit} streams, not of {arguments[6]}",
                "lower --streams",
            )
        if answer.result is Result.BAD_ARGUMENT:
            detail = f", argument {first} has the limit {limit}"
            raise self._mailbox.failure(answer.result, Command.RUN.name, detail)
        return first

    def _check_run(self, status: Status, run: int, fresh: int) -> None:
        if status.run_id != run or fresh > RING_ENTRIES:
            raise DeviceError(
                f"the run on {self._link.description} was replaced by another",
                "another program uses the device, or its CPU was reset",
            )

    def _take(self, tail: int, count: int) -> Iterator[OutputEntry]:
        """Reads ``count`` entries of the output ring, at most to its end at a time."""
        while count:
            place = tail % RING_ENTRIES
            part = min(count, RING_ENTRIES - place)
            size = RING_ENTRY_WORDS
            words = self._mailbox.read(Field.OUTPUT_RING, size * part, 4 * size * place)
            tail, count = tail + part, count - part
            self._mailbox.write(Field.OUTPUT_TAIL, [tail & 0xFFFFFFFF])
            for i in range(0, len(words), size):
                yield OutputEntry.unpack(words[i : i + size])

    def _check_end(self, status: Status, boots: int) -> None:
        self._mailbox.check_boots(boots)
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
        words = self._mailbox.read(Field.COUNTERS, 2 * len(COUNTERS))
        pairs = zip(words[0::2], words[1::2], strict=True)
        return dict(zip(COUNTERS, (low | high << 32 for low, high in pairs), strict=True))

    def close(self) -> None:
        """Gives the link back."""
        self._link.close()

    def _holds(self, blob: Blob) -> bool:
        """Whether DRAM holds this image's header: its CRC covers the chunks' CRCs."""
        size = 4 * len(Preamble)
        words = self._link.read(self._address(0), size // 4)
        data = b"".join(word.to_bytes(4, "little") for word in words)
        return data == blob.data[:size]

    def _send_all(self, blob: Blob, report: Report) -> None:
        self._send(0, blob.data[: blob.header.header_bytes])
        reported = time.monotonic()
        for index in range(len(blob.header.chunk_crcs)):
            offset, data = blob.chunk(index)
            self._send(offset, data)
            if time.monotonic() - reported > REPORT_EVERY_S:
                reported = time.monotonic()
                report(f"{(offset + len(data)) / len(blob.data):.0%} sent")

    def _send(self, offset: int, data: bytes) -> None:
        words = [int.from_bytes(data[i : i + 4], "little") for i in range(0, len(data), 4)]
        self._link.write(self._address(offset), words)

    def _address(self, offset: int) -> int:
        return MAIN_RAM_ORIGIN + self.identity.image_offset + offset


def _config(lanes: int, rows: int, formats: int, limits: dict[str, int]) -> EngineConfig:
    sizes: dict[str, Any] = {f"max_{name}": limits[name] for name in LIMITS}
    # Of no concern to a host, but there are no more than groups and rows have queries.
    sizes["attention_slots"] = min(EngineConfig.attention_slots, limits["group"] * rows)
    mxfp4 = bool(formats >> Format.MXFP4 & 1)
    try:
        return EngineConfig(lanes=lanes, tokens=rows, mxfp4=mxfp4, **sizes)
    except ValueError as error:
        raise DeviceError(f"the device reports an impossible engine: {error}") from error


def _formats(bits: int) -> str:
    """Names of formats, by their bits."""
    return ", ".join(item.name for item in Format if bits >> item & 1)


def _chunks(indices: list[int]) -> str:
    """``chunk 3`` or ``chunks 3, 5``."""
    return f"chunk{'s' if len(indices) > 1 else ''} {', '.join(map(str, indices))}"


def read_fingerprint(path: Path) -> int:
    """Fingerprint of a build, from its bundle or its ``soc.json``.

    Raises:
        UsageError: the file is missing or no such description.
        BundleError: the bundle is damaged.
    """
    import json

    from jalhost.bundle import is_bundle, open_bundle

    if is_bundle(path):
        return open_bundle(path).fingerprint
    try:
        description: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return int(description["fingerprint"], 16)
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise UsageError(f"{path} does not describe a build") from error
