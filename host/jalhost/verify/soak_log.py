"""The log of a long test: JSON lines, each complete or not there, and its sums."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import IO, Any

from jalhost.errors import UsageError

VERSION = 1
"""Of the log's format."""


@dataclass
class Totals:
    """Sums over all rounds, earlier parts of the log included.

    Args:
        elapsed_s: time spent testing.
        rounds: complete rounds.
        failed_rounds: rounds that the target broke off.
        tokens: tokens that were compared.
        wrong_tokens: texts that went wrong, counted once each.
        image_checks: checks of the whole image in DRAM.
        image_errors: chunks of it that were damaged.
        dram_bytes: bytes of free DRAM that were written and checked.
        dram_errors: blocks of them that did not keep what was written.
        link_readings: pieces that were read over the link.
        link_damaged: of these, those that the link damaged.
        temperature_max_c: highest temperature; None without a sensor.
    """

    elapsed_s: float = 0.0
    rounds: int = 0
    failed_rounds: int = 0
    tokens: int = 0
    wrong_tokens: int = 0
    image_checks: int = 0
    image_errors: int = 0
    dram_bytes: int = 0
    dram_errors: int = 0
    link_readings: int = 0
    link_damaged: int = 0
    temperature_max_c: float | None = None

    @property
    def device_errors(self) -> int:
        """What the target did wrong."""
        return self.failed_rounds + self.wrong_tokens + self.image_errors + self.dram_errors

    def add(self, numbers: Mapping[str, Any]) -> None:
        """Adds what a round's line says; keys that are no sums are left out."""
        for item in fields(self):
            value = numbers.get(item.name)
            if value is None or item.name in ("elapsed_s", "temperature_max_c"):
                continue
            setattr(self, item.name, getattr(self, item.name) + value)
        temperature = numbers.get("temperature_c")
        if temperature is not None:
            known = self.temperature_max_c
            self.temperature_max_c = temperature if known is None else max(known, temperature)
        self.elapsed_s = max(self.elapsed_s, numbers.get("elapsed_s", 0.0))

    def as_dict(self) -> dict[str, Any]:
        """For the log."""
        return asdict(self)


class SoakLog:
    """Lines of a test, appended to a file if there is one.

    Args:
        path: the file; None keeps nothing.
        resume: continue what is in it.

    Raises:
        UsageError: the file is there already, or to be continued and not there, or no log.
    """

    def __init__(self, path: Path | None, resume: bool) -> None:
        self.totals = Totals()
        self.start: dict[str, Any] | None = None
        self._path, self._whole = path, 0
        self._file: IO[str] | None = None
        if path is not None and resume:
            self._continue(path)
        elif path is not None and path.exists():
            raise UsageError(f"{path} is there already", "give another --log, or --resume it")

    def _continue(self, path: Path) -> None:
        try:
            data = path.read_bytes()
        except OSError as error:
            raise UsageError(f"cannot read {path}: {error.strerror}") from error
        whole, _, rest = data.rpartition(b"\n")
        try:
            lines = [json.loads(line) for line in whole.splitlines()]
            kinds = [line["event"] for line in lines]
        except (ValueError, KeyError, TypeError) as error:
            raise UsageError(f"{path} is no log of jalhost soak: {error}") from error
        if not lines or kinds[0] != "start" or lines[0].get("version") != VERSION:
            raise UsageError(f"{path} is no log of jalhost soak", "name the log of an earlier run")
        self.start = lines[0]
        for line in lines:
            if line["event"] == "round":
                self.totals.add(line)
        # A line that was being written when the power went: what it said is lost.
        self._whole = len(data) - len(rest)

    def _open(self, path: Path) -> IO[str]:
        try:
            file = path.open("a", encoding="utf-8")
        except OSError as error:
            raise UsageError(f"cannot write {path}: {error.strerror}") from error
        file.truncate(self._whole)
        return file

    def write(self, event: str, **values: Any) -> None:
        """Appends a line; it is in the file when this returns, and the file there from then on.

        Raises:
            UsageError: it cannot be written.
        """
        if self._path and not self._file:
            self._file = self._open(self._path)
        if self._file:
            self._file.write(json.dumps({"event": event} | values) + "\n")
            self._file.flush()

    def close(self) -> None:
        """Closes the file."""
        if self._file:
            self._file.close()
            self._file = None
