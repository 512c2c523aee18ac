"""Processes that are not children of the tests: whether they live, and waiting for their end."""

import time
from pathlib import Path

PATIENCE_S = 60.0


def alive(pid: int) -> bool:
    """Whether a process runs; one that has ended and was not waited for does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):  # before opening, and before reading
        return False


def wait_until_gone(pid: int) -> None:
    """Returns when a process has ended."""
    deadline = time.monotonic() + PATIENCE_S
    while alive(pid):
        assert time.monotonic() < deadline, f"process {pid} stays"
        time.sleep(0.02)
