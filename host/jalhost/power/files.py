"""Anything else that tells power: a program that prints it, or a file that another one writes."""

import csv
import shlex
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from jalhost.errors import DeviceError, LinkError, UsageError
from jalhost.power.meter import Source
from jalhost.power.units import NUMBER, parse_power

COMMAND_INTERVAL_S = 0.2
COMMAND_TIMEOUT_S = 5.0

CSV_INTERVAL_S = 0.5
STALE_S = 10.0

TAIL_BYTES = 1 << 16
"""Lines are shorter than that."""

POWER_WORDS = ("power", "watt")
"""What the heading of the column is looked for by."""


class CommandMeter:
    """A program that is run for each reading and prints a number, with its unit or in watts."""

    source = Source.METERED
    interval_s = COMMAND_INTERVAL_S

    def __init__(self, command: list[str], timeout_s: float = COMMAND_TIMEOUT_S) -> None:
        self._command, self._timeout_s = command, timeout_s
        self.description = f"command {shlex.join(command)}"

    def read_w(self) -> float:
        """Runs the program.

        Raises:
            UsageError: there is no such program.
            LinkError: it fails, or does not end in time.
            DeviceError: it prints no power.
        """
        try:
            run = subprocess.run(
                self._command,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
                check=False,
                timeout=self._timeout_s,
            )
        except subprocess.TimeoutExpired:
            raise LinkError(
                f"{self.description} did not end within {self._timeout_s:g} s",
                "have it print one reading, and end",
            ) from None
        except OSError as error:
            raise UsageError(
                f"{self.description} cannot be run: {error.strerror or error}",
                "command:PROGRAM ARGUMENTS, without a shell",
            ) from error
        if run.returncode:
            last = run.stderr.strip().rpartition("\n")[2]
            said = f": {last}" if last else ""
            raise LinkError(
                f"{self.description} failed with {run.returncode}{said}", "run it alone"
            )
        return parse_power(run.stdout.strip(), "W", self.description)

    def close(self) -> None:
        """Nothing: each run has ended."""


class CsvMeter:
    """A file that another program appends to: its last complete line is the reading.

    Args:
        path: the file.
        column: its heading, or its number from 1; empty looks for "power" or "watt" in the
            headings, and takes the last column where there are none.
        unit: of the numbers.
        stale_s: how long the last line counts; 0: for ever.
        interval_s: between two readings.
        clock: seconds.
    """

    source = Source.METERED

    def __init__(
        self,
        path: Path,
        column: str,
        unit: str,
        stale_s: float,
        interval_s: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._path, self._column, self._unit = path, column, unit
        self._stale_s, self._clock = stale_s, clock
        self.interval_s = interval_s
        self.description = f"csv {path}"
        self._last = (-1, "")
        self._changed = clock()

    def read_w(self) -> float:
        """The last line's power.

        Raises:
            LinkError: the file cannot be read, has no line, or does not grow any more.
            DeviceError: the line has no power.
        """
        try:
            with self._path.open("rb") as file:
                first = file.readline(TAIL_BYTES).decode(errors="replace")
                size = file.seek(0, 2)
                file.seek(max(0, size - TAIL_BYTES))
                lines = file.read().decode(errors="replace").split("\n")[:-1]
        except OSError as error:
            raise LinkError(
                f"cannot read {self._path}: {error.strerror}", "check --meter"
            ) from error
        lines = [line for line in lines if line.strip()]
        headings = _cells(first)
        named = not any(NUMBER.fullmatch(cell) for cell in headings)
        if not lines or (named and lines[-1].strip() == first.strip()):
            raise LinkError(f"{self._path} has no reading yet", "start what writes it first")
        self._check_age(size, lines[-1])
        cells = _cells(lines[-1])
        place = self._place(headings if named else [""] * len(cells))
        if place >= len(cells):
            raise DeviceError(
                f"the last line of {self._path} has {len(cells)} columns, not {place + 1}",
                "name the one with the power: column=NAME",
            )
        return parse_power(cells[place], self._unit, self.description)

    def _check_age(self, size: int, line: str) -> None:
        now = self._clock()
        if (size, line) != self._last:
            self._last, self._changed = (size, line), now
        if self._stale_s and now - self._changed > self._stale_s:
            raise LinkError(
                f"{self._path} has had no new line for {self._stale_s:g} s",
                "check what writes it; stale=0 takes a last line of any age",
            )

    def _place(self, headings: list[str]) -> int:
        wanted = self._column
        if wanted.isdecimal() and int(wanted) > 0:
            return int(wanted) - 1
        if wanted:
            if wanted in headings:
                return headings.index(wanted)
            known = ", ".join(name for name in headings if name) or "none: give a number"
            raise UsageError(f"{self._path} has no column {wanted!r}", f"its columns: {known}")
        for index, name in enumerate(headings):
            if any(word in name.lower() for word in POWER_WORDS):
                return index
        return len(headings) - 1

    def close(self) -> None:
        """Nothing: the file is opened for each reading."""


def open_command(place: str) -> CommandMeter:
    """The meter ``command:PROGRAM ARGUMENTS``.

    Raises:
        UsageError: quotes do not match.
    """
    try:
        return CommandMeter(shlex.split(place))
    except ValueError as error:
        raise UsageError(f"the meter command:{place}: {error}") from error


def open_csv(
    place: str,
    column: str = "",
    unit: str = "W",
    stale: float = STALE_S,
    interval: float = CSV_INTERVAL_S,
) -> CsvMeter:
    """The meter ``csv:FILE``."""
    return CsvMeter(Path(place).expanduser(), column, unit, stale, interval)


def _cells(line: str) -> list[str]:
    return [cell.strip() for cell in next(csv.reader([line.strip()]), [])]
