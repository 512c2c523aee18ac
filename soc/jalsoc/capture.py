"""Captures by LiteScope's own driver, for a host that holds the link: ``python -m jalsoc.capture``.

Standard input and output speak JSON, a line each. The first line of input is what to capture; then
this asks for accesses to the bus: ``{"op": "read", "address": A, "words": N}``, ``fixed`` where all
words are from one address, or ``{"op": "write", "address": A, "value": V}``. Each is answered by
``{"words": [...]}``, and so are ``armed`` and ``waiting``: the host decides how long to wait. The
last line is ``{"event": "done"}`` or ``{"event": "error"}``.
"""

import json
import os
import re
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jalhost.errors import EnvironmentProblem, JalError, LinkError, UsageError

SLACK = 8
"""Samples that stay in the way between LiteScope's memory and its register."""

AHEAD = 2
"""Samples before the trigger that the same way takes from those that were asked for."""

LOOK_S = 0.02


class Bus:
    """Accesses, by asking the host."""

    def __init__(self) -> None:
        # What the driver prints of its progress is no part of the protocol.
        self._output = os.fdopen(os.dup(1), "w")
        sys.stdout = sys.stderr

    def say(self, **message: Any) -> None:
        """Writes a line."""
        print(json.dumps(message), file=self._output, flush=True)

    def ask(self, **message: Any) -> list[int]:
        """Writes a line and returns the words of its answer.

        Raises:
            EOFError: the host has gone.
        """
        self.say(**message)
        line = sys.stdin.readline()
        if not line:
            raise EOFError
        return [int(word) for word in json.loads(line)["words"]]


@dataclass
class Register:
    """A register as LiteX's drivers expect it."""

    bus: Bus
    addr: int
    words: int

    def read(self) -> int:
        """Its value."""
        value = 0
        for word in self.bus.ask(op="read", address=self.addr, words=self.words):
            value = value << 32 | word
        return value

    def write(self, value: int) -> None:
        """Writes it, the most significant word first."""
        for index in range(self.words):
            shift = 32 * (self.words - 1 - index)
            word = value >> shift & 0xFFFFFFFF
            self.bus.ask(op="write", address=self.addr + 4 * index, value=word)

    def readfn(self, address: int, length: int, burst: str) -> list[int]:
        """Words that were read one after the other from the same address."""
        assert burst == "fixed"
        return self.bus.ask(op="read", address=address, words=length, fixed=True)


class Samples(Register):
    """The register that samples are read from; each reading takes one away.

    Args:
        level: register with how many are left.
        words_each: readings for a sample.
    """

    def __init__(self, register: Register, level: Register, words_each: int) -> None:
        super().__init__(register.bus, register.addr, register.words)
        self._level, self._words_each = level, words_each
        self._left: int | None = None

    def readfn(self, address: int, length: int, burst: str) -> list[int]:
        """Words of samples, checked to be as many as were taken away.

        Raises:
            LinkError: the link repeated a reading, so a sample is lost.
        """
        if self._left is None:
            self._left = self._level.read()
        last = self._words_each
        words: list[int] = []
        for part in (length - last, last):
            if part:
                words += super().readfn(address, part, burst)
                self._left -= part // self._words_each
                # Without any left, one that was taken too many would not be seen.
                if self._left and self._level.read() != self._left:
                    raise LinkError(
                        "a sample was lost on the way", "the link repeated a reading; capture again"
                    )
        return words


@dataclass(frozen=True)
class Registers:
    """What LiteScope's driver finds its registers by."""

    d: dict[str, Register]


def capture(bus: Bus, request: dict[str, Any]) -> dict[str, Any]:
    """Captures, and writes the file.

    Args:
        bus: of the device.
        request: ``signals`` (file ``analyzer.csv``), ``registers`` (address and words by name),
            ``triggers`` (kind ``rising``, ``falling`` or ``value``, with ``name`` or ``values``),
            ``offset``, ``length``, ``subsampling``, ``output``.

    Returns:
        The number of samples.

    Raises:
        EnvironmentProblem: LiteScope is not installed.
        UsageError: there are more conditions than the analyzer keeps.
        LinkError: a sample was lost.
    """
    try:
        from litescope.software.driver.analyzer import LiteScopeAnalyzerDriver
    except ImportError as error:
        raise EnvironmentProblem(
            f"captures need LiteScope: {error}", "pip install 'jalhost[sim]'"
        ) from error

    registers = {
        name: Register(bus, address, words)
        for name, (address, words) in request["registers"].items()
    }
    driver = LiteScopeAnalyzerDriver(Registers(registers), "analyzer", request["signals"])
    words_each = -(-driver.data_width // 32)
    level = registers["analyzer_storage_mem_level"]
    driver.storage_mem_data = Samples(driver.storage_mem_data, level, words_each)
    driver.configure_group(0)
    _arm(driver, request["triggers"])
    driver.configure_subsampler(request["subsampling"])
    offset, length = request["offset"], request["length"]
    driver.run(offset + AHEAD, min(length + SLACK, driver.depth))
    bus.ask(op="armed")
    while not driver.done():
        bus.ask(op="waiting")
        time.sleep(LOOK_S)
    driver.upload()
    del driver.data[length:]
    _write(driver, Path(request["output"]), offset)
    return {"samples": len(driver.data)}


def _arm(driver: Any, triggers: list[dict[str, Any]]) -> None:
    """Puts conditions into the trigger's memory; they must come true one after the other.

    Raises:
        UsageError: it has no room for all of them.
    """
    kinds: dict[str, Callable[[dict[str, Any]], None]] = {
        "rising": lambda item: driver.add_rising_edge_trigger(item["name"]),
        "falling": lambda item: driver.add_falling_edge_trigger(item["name"]),
        "value": lambda item: driver.add_trigger(cond=item["values"]),
    }
    try:
        for item in triggers:
            kinds[item["kind"]](item)
        if not triggers:
            driver.configure_trigger()
    except ValueError as error:
        raise UsageError("the analyzer keeps fewer conditions", "name fewer triggers") from error


def _write(driver: Any, output: Path, offset: int) -> None:
    """Writes what was captured, in the format that the name ends with.

    LiteScope makes a folder beside a sigrok file, in the present one, and removes what is there:
    so this happens in a folder of its own.
    """
    here = Path.cwd()
    with tempfile.TemporaryDirectory(prefix="jalhost-capture-") as folder:
        os.chdir(folder)
        try:
            name = f"capture{output.suffix}"
            # LiteScope counts the trigger in the halves of cycles that its files have.
            driver.offset = 2 * offset
            driver.save(name)
            if output.suffix == ".sr":
                _correct_rate(Path(name), round(2 * driver.samplerate / driver.subsampling))
            content = Path(name).read_bytes()
        finally:
            os.chdir(here)
    output.write_bytes(content)


def _correct_rate(path: Path, samples_per_s: int) -> None:
    """Has a sigrok file tell the rate in full: LiteScope tells whole MHz, and so may tell 0."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    rate = f"samplerate={samples_per_s} Hz".encode()
    members["metadata"] = re.sub(rb"samplerate=.*", rate, members["metadata"])
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)


def main() -> int:
    """Serves one capture; returns the exit status."""
    bus = Bus()
    try:
        result = capture(bus, json.loads(sys.stdin.readline()))
    except JalError as error:
        bus.say(event="error", kind=type(error).__name__, what=error.what, hint=error.hint)
        return error.exit_code
    except EOFError:
        return 1
    bus.say(event="done", **result)
    return 0


if __name__ == "__main__":
    sys.exit(main())
