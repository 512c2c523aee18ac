"""A long test: generation, DRAM and link under load, for as long as one likes."""

import random
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from jalgateware.contract.config import STANDARD
from jalgateware.contract.image_header import ALIGNMENT
from jalgateware.contract.mailbox import Command, Result
from jalgateware.golden.sampler import Sampling
from jalhost.device import Device
from jalhost.dram import DeviceDram
from jalhost.engine.target import Request, Target, choose_drafts
from jalhost.errors import DeviceError, JalError, LinkError, UsageError
from jalhost.models.blob import build_blob
from jalhost.models.image import Image
from jalhost.progress import Report
from jalhost.verify.golden import Golden
from jalhost.verify.soak_log import VERSION, SoakLog, Totals
from jalhost.verify.verify import device_of

Clock = Callable[[], float]
"""Seconds, from whenever."""

Sensors = Callable[[], Mapping[str, float]]
"""What sensors say, by their names; ``temperature`` is in degrees Celsius."""

PROMPTS = ("Once upon a time", "The big dog", "One day, a little girl", "Tom and Anna went")

TEXTS = 8
"""Different texts: what the golden model says of them is computed once each."""

TEMPERATURE = 0.8

WINDOW_BYTES = 16 << 10
"""Of free DRAM, written and read in each round."""

MOST_FAILURES = 3
"""Rounds in a row that a target may break off."""

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def parse_duration(text: str) -> float:
    """Seconds of ``90s``, ``10m``, ``1h30m`` or ``2d``; a number alone is seconds.

    Raises:
        UsageError: it is none of these, or no time at all.
    """
    parts = re.findall(r"(\d+(?:\.\d+)?)([smhd]?)", text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise UsageError(f"{text!r} is no time", "give one like 90s, 10m, 1h30m or 2d")
    seconds = sum(float(number) * _UNITS[unit or "s"] for number, unit in parts)
    if seconds <= 0:
        raise UsageError("the time is more than 0", "give one like 90s, 10m, 1h30m or 2d")
    return seconds


def no_sensors() -> Mapping[str, float]:
    """Of a target without any."""
    return {}


@dataclass(frozen=True)
class Plan:
    """What to do: ``seconds`` in all, ``max_tokens`` of each text."""

    seconds: float
    max_tokens: int


class Soak:
    """Tests one target.

    Args:
        target: where to run; the emulator has neither DRAM nor link to test.
        image: the model.
        log: takes a line for each round.
        report: takes lines for people.
        sensors: what else is written down in each round.
        clock: measures the time.
    """

    def __init__(
        self,
        target: Target,
        image: Image,
        log: SoakLog,
        report: Report,
        sensors: Sensors = no_sensors,
        clock: Clock = time.monotonic,
    ) -> None:
        self._target, self._image, self._log, self._report = target, image, log, report
        self._sensors, self._clock = sensors, clock
        self._golden: Golden | None = None
        self._expected: dict[int, tuple[tuple[int, ...], list[int]]] = {}
        self._random = random.Random(0)

    @property
    def totals(self) -> Totals:
        """Sums so far."""
        return self._log.totals

    def run(self, plan: Plan) -> str:
        """Tests until the time is up; returns why it ended: ``time`` or ``failed``.

        The log's last line says so, too, and ``interrupted`` where Ctrl-C ended it.

        Raises:
            UsageError: the time or the number of tokens makes no sense.
            JalError: the target cannot be used at all.
        """
        if plan.max_tokens < 1:
            raise UsageError(f"the number of tokens is 1 or more, not {plan.max_tokens}")
        before = self._log.start
        if before and before.get("model") != self._image.name:
            raise UsageError(
                f"the log is of the model {before.get('model')}, not of {self._image.name}",
                "resume with the same model, or begin another log",
            )
        reason = "failed"
        try:
            self._target.load(self._image)
            self._begin(plan)
            reason = self._rounds(plan)
        except (KeyboardInterrupt, SystemExit):
            reason = "interrupted"
            raise
        finally:
            self._log.write("end", time=_now(), reason=reason, **self.totals.as_dict())
            self._log.close()
        return reason

    def _begin(self, plan: Plan) -> None:
        """The first line, or that which says that an earlier test goes on."""
        info = self._target.info
        about = {"target": info.name, "provenance": str(info.provenance), "model": self._image.name}
        event = "resume" if self._log.start else "start"
        self._log.write(event, version=VERSION, time=_now(), seconds=plan.seconds, **about)

    def _rounds(self, plan: Plan) -> str:
        start, before, failures = self._clock(), self.totals.elapsed_s, 0
        while (elapsed := before + self._clock() - start) < plan.seconds:
            self.totals.elapsed_s = elapsed
            numbers: dict[str, Any] = {"round": self.totals.rounds + self.totals.failed_rounds}
            try:
                self._round(numbers, plan)
                numbers["rounds"], failures = 1, 0
            except JalError as error:
                numbers["failed_rounds"] = 1
                numbers["error"] = error.what
                failures += 1
            numbers["elapsed_s"] = round(before + self._clock() - start, 3)
            self.totals.add(numbers)
            self._log.write("round", time=_now(), **numbers)
            self._tell(numbers, plan)
            if failures == MOST_FAILURES:
                return "failed"
            if failures:
                self._again()
        return "time"

    def _again(self) -> None:
        """Starts anew behind a round that was broken off; the next one tells whether it helped."""
        try:
            self._target.load(self._image)
        except JalError as error:
            self._report(f"starting anew failed: {error.what}")

    def _round(self, numbers: dict[str, Any], plan: Plan) -> None:
        """One round; ``numbers`` has what is done, also where it is broken off."""
        self._generate(numbers, plan)
        device = device_of(self._target)
        if device:
            self._check_image(device, numbers)
            self._check_dram(device, numbers)
        readings = self._sensors()
        numbers["temperature_c"] = readings.get("temperature")
        numbers["sensors"] = dict(readings)

    def _generate(self, numbers: dict[str, Any], plan: Plan) -> None:
        text = numbers["round"] % TEXTS
        rows = self._target.info.token_rows
        prompt, expected = self._text(text, plan.max_tokens)
        drafts = choose_drafts(None, 1, rows)
        sampling = Sampling.from_temperature(self._temperature, text)
        request = Request((prompt,), plan.max_tokens, sampling, drafts)
        start = self._clock()
        got = [sampled.token for sampled in self._target.run(request)]
        numbers["text"] = text
        numbers["tokens"] = len(got)
        numbers["seconds"] = round(self._clock() - start, 3)
        numbers["wrong_tokens"] = int(got != expected)

    @property
    def _temperature(self) -> float:
        return TEMPERATURE if self._target.info.noise else 0.0

    def _text(self, number: int, max_tokens: int) -> tuple[tuple[int, ...], list[int]]:
        """A prompt's tokens, and what the golden model samples behind them."""
        if number not in self._expected:
            device = device_of(self._target)
            config = device.identity.config if device else STANDARD
            self._golden = self._golden or Golden(self._image, config)
            # No longer than what fits a model of a short context.
            most = self._image.plan.architecture.context - 1
            prompt = tuple(self._image.tokenizer.encode(PROMPTS[number % len(PROMPTS)])[:most])
            sampling = Sampling.from_temperature(self._temperature, number)
            expected = self._golden.generate(prompt, max_tokens, sampling)
            self._expected[number] = prompt, expected
        return self._expected[number]

    def _check_image(self, device: Device, numbers: dict[str, Any]) -> None:
        """The device checks the CRCs of the whole image; what is damaged is sent again."""
        accept = (Result.OK, Result.CRC_MISMATCH, Result.NO_IMAGE, Result.HEADER_DAMAGED)
        answer = device.mailbox.command(Command.VERIFY_IMAGE, 0, 0, accept=accept)
        numbers["image_checks"] = 1
        numbers["image_errors"] = 0
        if answer.result is not Result.OK:
            mismatch = answer.result is Result.CRC_MISMATCH
            numbers["image_errors"] = answer.words[1] if mismatch else 1
            self._target.load(self._image)

    def _check_dram(self, device: Device, numbers: dict[str, Any]) -> None:
        """Random bytes to a random place behind the KV caches, checked in place and read back."""
        dram = DeviceDram(device)
        config = device.identity.config
        first = build_blob(self._image, config).memory_for(config.tokens)
        first = -(-first // ALIGNMENT) * ALIGNMENT
        room = (dram.size - first) // ALIGNMENT * ALIGNMENT
        size = min(WINDOW_BYTES, room)
        numbers.update(dram_bytes=0, dram_errors=0, link_readings=0, link_damaged=0)
        if size <= 0:
            return
        offset = first + self._random.randrange((room - size) // ALIGNMENT + 1) * ALIGNMENT
        data = self._random.randbytes(size)
        try:
            dram.write(offset, data)
            if dram.read(offset, size) != data:
                numbers["dram_errors"] = 1
        except LinkError:
            # What never arrives, however often it is sent, is no matter of the link alone.
            numbers["dram_errors"] = 1
        numbers["dram_bytes"] = size
        numbers["link_readings"] = dram.readings
        numbers["link_damaged"] = dram.damaged

    def _tell(self, numbers: Mapping[str, Any], plan: Plan) -> None:
        total = self.totals
        left = max(0.0, plan.seconds - total.elapsed_s)
        heat = numbers.get("temperature_c")
        line = (
            f"round {numbers['round']}: {total.tokens:,} tokens, {total.device_errors} errors,"
            f" {total.link_damaged} of {total.link_readings:,} readings damaged,"
        )
        line += f" {heat:.1f} degrees," if heat is not None else ""
        self._report(f"{line} {left:,.0f} s left")
        if "error" in numbers:
            self._report(f"round {numbers['round']} was broken off: {numbers['error']}")


def _now() -> str:
    """The date and time, for people who look for what else happened then."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def failure(totals: Totals) -> JalError | None:
    """What a test's sums say: None if nothing went wrong."""
    if totals.device_errors:
        return DeviceError(
            f"{totals.device_errors} errors in {totals.rounds + totals.failed_rounds} rounds:"
            f" {totals.wrong_tokens} wrong texts, {totals.image_errors} damaged pieces of the"
            f" image, {totals.dram_errors} of DRAM, {totals.failed_rounds} rounds broken off",
            "jalhost verify finds the first place that differs",
        )
    if totals.link_damaged:
        return LinkError(
            f"{totals.link_damaged} of {totals.link_readings} pieces arrived damaged",
            "check the cable, or lower the baud rate",
        )
    return None
