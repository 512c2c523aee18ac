"""What the gateware's logic analyzer sees: triggers, and LiteScope's driver in a process beside."""

import contextlib
import csv
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jalgateware.golden.rounding import Integers
from jalhost import errors
from jalhost.device import Device, Report
from jalhost.dram import read_logits
from jalhost.engine.access import Access, require_scope
from jalhost.engine.hardware import device_info, run_on
from jalhost.engine.target import Request, Sampled, TargetInfo
from jalhost.errors import BuildError, DeviceError, JalError, UsageError
from jalhost.models.blob import build_blob
from jalhost.models.image import Image
from jalhost.register_map import parse_number, suggest

COMMAND = (sys.executable, "-m", "jalsoc.capture")

ANALYZER = "analyzer_"
"""What the names of the analyzer's registers begin with."""

PREFIX = "scope_"
"""What the names of all signals begin with; it may be left out."""

SLACK = 8
"""Samples less than the analyzer's depth that can be had (:mod:`jalsoc.capture`)."""

MOST_SUBSAMPLING = 1 << 16

FORMATS = (".vcd", ".sr", ".csv")

QUIT_TIMEOUT_S = 5.0


@dataclass(frozen=True)
class Scope:
    """A build's analyzer: widths of its signals by name, and how many samples it keeps."""

    signals: dict[str, int]
    depth: int
    samplerate: int

    def name(self, text: str) -> str:
        """A signal's full name.

        Raises:
            UsageError: there is none; suggests the nearest.
        """
        for name in (text, PREFIX + text):
            if name in self.signals:
                return name
        raise suggest("signal", text, self.signals, "jalhost capture --list shows all")


def read_scope(analyzer: bytes) -> Scope:
    """Reads ``analyzer.csv``."""
    rows = list(csv.reader(analyzer.decode().splitlines()))
    config = {name: int(value) for kind, _, name, value in rows if kind == "config"}
    signals = {name: int(width) for kind, _, name, width in rows if kind == "signal"}
    return Scope(signals, config["depth"], config["samplerate"])


def parse_trigger(text: str, scope: Scope) -> dict[str, Any]:
    """Reads ``NAME``, ``rising:NAME``, ``falling:NAME`` or ``NAME=VALUE[,NAME=VALUE...]``.

    A value may have ``x`` for bits, or hexadecimal digits, that do not matter: ``0b1x``, ``0xfx``.

    Raises:
        UsageError: there is no such signal, or it has no such value.
    """
    if "=" not in text:
        kind, colon, name = text.partition(":")
        if not colon:
            kind, name = "rising", text
        if kind not in ("rising", "falling"):
            raise UsageError(
                f"there is no trigger {kind!r}", "rising:NAME, falling:NAME or NAME=VALUE"
            )
        full = scope.name(name)
        if scope.signals[full] > 1:
            raise UsageError(f"{full} has several bits, and no edge", f"give {full}=VALUE")
        return {"kind": kind, "name": full}
    values = {}
    for part in text.split(","):
        name, _, value = part.partition("=")
        full = scope.name(name.strip())
        values[full] = _value(value.strip().lower(), full, scope.signals[full])
    return {"kind": "value", "values": values}


def _value(text: str, name: str, bits: int) -> str:
    """A value as LiteScope's driver takes it.

    Raises:
        UsageError: the signal never has it.
    """
    digit = {"0b": "1", "0x": "f"}.get(text[:2])
    highest = parse_number(text[:2] + text[2:].replace("x", digit) if digit else text)
    lowest = parse_number(text[:2] + text[2:].replace("x", "0") if digit else text)
    if lowest < 0 or lowest >= 1 << bits:
        raise UsageError(f"{name} has {bits} bits, and is never {text}")
    return text if digit and highest != lowest else hex(lowest)


class AttachedTarget:
    """A target on a device that is open already, for a run that the analyzer watches."""

    def __init__(self, name: str, device: Device, report: Report) -> None:
        self._name, self._device, self._report = name, device, report
        self._vocabulary = 0

    @property
    def info(self) -> TargetInfo:
        """As the device has it."""
        return device_info(self._name, self._device)

    def load(self, image: Image) -> None:
        """Sends the image, unless it is there."""
        self._device.transfer_image(build_blob(image, self._device.identity.config), self._report)
        self._device.load()
        self._vocabulary = image.plan.architecture.vocabulary

    def run(self, request: Request) -> Generator[Sampled, None, None]:
        """Yields sampled tokens."""
        return run_on(self._device, request)

    def counters(self) -> dict[str, int]:
        """The engine's."""
        return self._device.counters()

    def logits(self) -> Integers:
        """Of the last run."""
        return read_logits(self._device, self._vocabulary)

    def close(self) -> None:
        """Nothing: whoever opened the device closes it."""


@dataclass(frozen=True)
class Plan:
    """What to capture. ``offset``: samples before the trigger; ``subsampling``: cycles a sample."""

    triggers: Sequence[dict[str, Any]]
    offset: int
    length: int
    subsampling: int

    def check(self, scope: Scope) -> None:
        """Refuses what the analyzer cannot do.

        Raises:
            UsageError: with what it can.
        """
        most = scope.depth - SLACK
        if not 1 <= self.length <= most:
            raise UsageError(f"a capture has 1 to {most} samples, not {self.length}")
        if not 0 <= self.offset < self.length:
            raise UsageError(
                f"the offset is 0 to {self.length - 1}, within the capture, not {self.offset}"
            )
        if not 1 <= self.subsampling <= MOST_SUBSAMPLING:
            raise UsageError(f"subsampling is 1 to {MOST_SUBSAMPLING}, not {self.subsampling}")


def capture(
    access: Access, plan: Plan, output: Path, timeout_s: float, armed: Callable[[], None]
) -> int:
    """Captures into a file; returns the number of samples.

    Args:
        access: to the device.
        plan: what to capture.
        output: file that is written, of one of :data:`FORMATS`.
        timeout_s: how long to wait for the trigger, behind ``armed``.
        armed: is called when the analyzer waits for its trigger.

    Raises:
        DeviceError: the trigger does not come.
        JalError: whatever else goes wrong.
    """
    registers = {
        name: (item.address, item.words)
        for name, item in access.named.registers.items()
        if name.startswith(ANALYZER)
    }
    with tempfile.NamedTemporaryFile(prefix="jalhost-", suffix=".csv") as file:
        file.write(require_scope(access.maps, access.name))
        file.flush()
        request = {
            "signals": file.name,
            "registers": registers,
            "triggers": list(plan.triggers),
            "offset": plan.offset,
            "length": plan.length,
            "subsampling": plan.subsampling,
            "output": str(output.absolute()),
        }
        return _converse(access, request, timeout_s, armed)


def _converse(
    access: Access, request: dict[str, Any], timeout_s: float, armed: Callable[[], None]
) -> int:
    """Answers what the process asks for, until it is done."""
    # A session of its own: Ctrl-C is for this process, which then ends that one.
    process = subprocess.Popen(
        COMMAND, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True, start_new_session=True,
    )  # fmt: skip
    deadline = 0.0
    with process:
        assert process.stdin
        assert process.stdout
        assert process.stderr
        try:
            answer: dict[str, Any] = request
            while True:
                with contextlib.suppress(BrokenPipeError):  # what it said last is read below
                    process.stdin.write(json.dumps(answer) + "\n")
                    process.stdin.flush()
                line = process.stdout.readline()
                if not line:
                    last = process.stderr.read().strip().rpartition("\n")[2]
                    raise BuildError(f"the capture ended in the middle: {last}", "run with --debug")
                message = json.loads(line)
                if message.get("event") == "done":
                    return int(message["samples"])
                if message.get("event") == "error":
                    raise _error(message)
                if message["op"] == "armed":
                    armed()
                    deadline = time.monotonic() + timeout_s
                elif message["op"] == "waiting" and time.monotonic() > deadline:
                    raise DeviceError(
                        f"the trigger did not come within {timeout_s:g} s",
                        "--prompt runs the engine meanwhile, --timeout waits longer",
                    )
                answer = {"words": _carry_out(access, message)}
        finally:
            process.kill()
            with contextlib.suppress(BrokenPipeError):
                process.stdin.close()


def _carry_out(access: Access, message: dict[str, Any]) -> list[int]:
    """An access to the bus."""
    link = access.link
    if message["op"] == "write":
        link.write(message["address"], [message["value"]])
    if message["op"] != "read":
        return []
    address, words = message["address"], message["words"]
    if message.get("fixed"):
        return [link.read(address)[0] for _ in range(words)]
    return link.read(address, words)


def _error(message: dict[str, Any]) -> JalError:
    """What an event of an error stands for."""
    kind = getattr(errors, str(message["kind"]), DeviceError)
    error: JalError = kind(str(message["what"]), str(message.get("hint") or ""))
    return error
