"""The guard: what it runs never outlives whoever asked for it."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from jalhost.errors import BuildError
from jalsoc.guard import last_error, run_guarded
from jaltest.processes import alive

DEADLINE_S = 20.0

FAMILY = "sleep 1000 & echo $! > child; echo $$ > program; wait"
"""A program with a child of its own; both leave their process ids."""


def wait_until(condition: object, what: str) -> None:
    deadline = time.monotonic() + DEADLINE_S
    assert callable(condition)
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)


def pids(folder: Path) -> list[int]:
    files = [folder / "child", folder / "program"]
    wait_until(lambda: all(file.exists() and file.read_text() for file in files), "no start")
    return [int(file.read_text()) for file in files]


def test_output_goes_to_the_log(tmp_path: Path) -> None:
    log = tmp_path / "log"
    run_guarded(["sh", "-c", "echo out; echo err >&2; pwd"], tmp_path, log)
    run_guarded(["sh", "-c", "echo more"], tmp_path, log)
    lines = log.read_text().splitlines()
    assert [line for line in lines if line[0] != "$"] == ["out", "err", str(tmp_path), "more"]


def test_failures_name_program_reason_and_log(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with pytest.raises(BuildError, match="sh failed: Error: no such cell") as error:
        run_guarded(["sh", "-c", "echo Error: no such cell; echo bye; exit 3"], tmp_path, log)
    assert str(log) in error.value.hint


def test_the_last_line_speaks_where_nothing_looks_like_an_error(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("one\ntwo\n")
    assert last_error(log) == "two"
    log.write_text("")
    assert last_error(log) == "no output"


def test_an_outer_make_stays_outside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAKEFLAGS", "--jobserver-auth=3,4")
    monkeypatch.setenv("MAKELEVEL", "1")
    run_guarded(["sh", "-c", 'echo "[$MAKEFLAGS$MAKELEVEL]"'], tmp_path, tmp_path / "log")
    assert "[]" in (tmp_path / "log").read_text()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_everything_ends_with_the_parent(tmp_path: Path, number: signal.Signals) -> None:
    code = f"""
from pathlib import Path
from jalsoc.guard import run_guarded
run_guarded(["sh", "-c", {FAMILY!r}], Path({str(tmp_path)!r}), Path({str(tmp_path / "log")!r}))
"""
    parent = subprocess.Popen([sys.executable, "-c", code])
    family = pids(tmp_path)
    assert all(alive(pid) for pid in family)
    os.kill(parent.pid, number)
    parent.wait()
    wait_until(lambda: not any(alive(pid) for pid in family), "orphans")


def test_an_interrupt_ends_everything(tmp_path: Path) -> None:
    code = f"""
from pathlib import Path
from jalsoc.guard import run_guarded
try:
    run_guarded(["sh", "-c", {FAMILY!r}], Path({str(tmp_path)!r}), Path({str(tmp_path / "log")!r}))
except KeyboardInterrupt:
    raise SystemExit(130)
"""
    parent = subprocess.Popen([sys.executable, "-c", code])
    family = pids(tmp_path)
    os.kill(parent.pid, signal.SIGINT)
    assert parent.wait() == 130
    assert not any(alive(pid) for pid in family)
