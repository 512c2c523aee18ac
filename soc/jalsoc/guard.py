"""Runs a program and everything it starts, and ends them all when whoever asked for it is gone.

``python -m jalsoc.guard PROGRAM ARGUMENTS...`` exits as the program does. It ends the program's
process group on SIGTERM, on SIGINT, and when its own parent dies, even by SIGKILL.
"""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType

from jalhost.errors import BuildError

POLL_S = 0.1

WATCH_S = 2.0
"""How often a watch is asked."""


def run_guarded(
    command: Sequence[str], folder: Path, log: Path, watch: Callable[[], None] | None = None
) -> None:
    """Runs a program in ``folder`` below a guard; its output goes to ``log``.

    ``watch`` is called every now and then; what it raises ends the program.

    Raises:
        BuildError: the program failed; the message carries its last error line.
    """
    # The make in there must not talk to a make around us.
    environment = {name: value for name, value in os.environ.items() if name[:4] != "MAKE"}
    environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environment.get('PATH', '')}"
    with log.open("a", encoding="utf-8") as output:
        output.write(f"$ {' '.join(command)}\n")
        output.flush()
        guard = subprocess.Popen(
            [sys.executable, "-m", "jalsoc.guard", *command],
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            status = None
            while status is None:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    status = guard.wait(WATCH_S if watch else None)
                if watch:
                    watch()
        except BaseException:
            guard.terminate()
            guard.wait()
            raise
    if status:
        raise BuildError(f"{Path(command[0]).name} failed: {last_error(log)}", f"log: {log}")


def last_error(log: Path) -> str:
    """The last line of a log that looks like an error, or its last line."""
    lines = [line.strip() for line in log.read_text("utf-8", "replace").splitlines()]
    errors = [line for line in lines if "error" in line.lower()]
    return (errors or lines or ["no output"])[-1]


def guard(command: Sequence[str]) -> int:
    """Starts the program and waits for its end; returns its exit status."""
    parent = os.getppid()
    signal.signal(signal.SIGTERM, _interrupt)
    with subprocess.Popen(command, process_group=0) as program:
        try:
            while os.getppid() == parent:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    return program.wait(POLL_S)
        except KeyboardInterrupt:
            return _end(program)
        return _end(program)


def _interrupt(_signal: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _end(program: "subprocess.Popen[bytes]") -> int:
    """Ends the group: first asks, then kills."""
    for signal_number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(program.pid, signal_number)
        time.sleep(POLL_S)
    return program.wait()


if __name__ == "__main__":
    sys.exit(guard(sys.argv[1:]))
