"""Boards of a labgrid farm, by labgrid's own client.

It runs as a program: labgrid brings another package ``serial`` than ours, so it lives in an
environment of its own (docs/labgrid.md).
"""

import ast
import logging
import os
import re
import shutil
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jalhost.device import Report
from jalhost.errors import EnvironmentProblem, JalError, LinkError, UsageError

CLIENT = "labgrid-client"

ENVIRONMENT = "labgrid"
"""Folder in this program's virtual environment where labgrid may have one of its own."""

ANSWER_TIMEOUT_S = 60.0

READY_TIMEOUT_S = 30.0
"""How long an exporter may take until a port of an acquired place is served."""

LOOK_S = 0.2

DEFAULT_COORDINATOR = "127.0.0.1:20408"
"""labgrid's."""

_HEADING = re.compile(r"^Acquired resource '.*' \((.*)\):$", re.MULTILINE)
_ERROR = re.compile(r"^(labgrid-client: |Server error: )?(Error: )?(?P<what>.*)$")

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class FarmBoard:
    """What a place says of its board.

    ``address``: name of the link to it. ``cable``, ``cable_serial``: how it is flashed, where its
    exporter tells.
    """

    place: str
    address: str
    cable: str | None = None
    cable_serial: str | None = None


@contextmanager
def reserved(place: str, report: Report) -> Iterator[FarmBoard]:
    """Acquires a place, and releases it behind the block, unless it was the user's before.

    Raises:
        UsageError: the place has no name.
        EnvironmentProblem: labgrid's client is not installed.
        LinkError: somebody else has the place, or it has no board.
    """
    if not place:
        raise UsageError("which place?", f"--target labgrid:PLACE; {CLIENT} places lists them")
    client = find_client()
    ours = False
    try:
        with _signals_wait():
            ours = _acquire(client, place, report)
        yield _board(client, place)
    finally:
        if ours:
            with _signals_wait():
                _release(client, place, report)


@contextmanager
def _signals_wait() -> Iterator[None]:
    """Has Ctrl-C and SIGTERM wait until the block's end, so that nothing stays acquired."""
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread gets signals
        return
    waiting: list[int] = []
    numbers = (signal.SIGINT, signal.SIGTERM)
    handlers = {
        number: signal.signal(number, lambda came, _: waiting.append(came)) for number in numbers
    }
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        for came in waiting:
            signal.raise_signal(came)


def find_client() -> str:
    """Where labgrid's client is: beside this Python, in an environment below it, or on PATH.

    Raises:
        EnvironmentProblem: it is nowhere.
    """
    folders = [Path(sys.executable).parent, Path(sys.prefix) / ENVIRONMENT / "bin"]
    for folder in folders:
        if (folder / CLIENT).is_file():
            return str(folder / CLIENT)
    found = shutil.which(CLIENT)
    if not found:
        raise EnvironmentProblem(
            "boards of a farm need labgrid's client",
            "pipx install labgrid gives it an environment of its own",
        )
    return found


def _acquire(client: str, place: str, report: Report) -> bool:
    """Whether it is acquired by this; it was by the user before otherwise."""
    process = _start(client, place, "acquire")
    _, problem = _answer(process)
    if process.returncode == 0:
        report(f"acquired {place}")
        return True
    what = _what(problem)
    if what == f"You have already acquired place {place}.":
        report(f"{place} is acquired already, and stays so")
        return False
    raise _refusal(place, what)


def _answer(process: "subprocess.Popen[str]") -> tuple[str, str]:
    """What a client prints, and what it complains of; it does not outlive the wait for that.

    Raises:
        LinkError: it says nothing.
    """
    try:
        return process.communicate(timeout=ANSWER_TIMEOUT_S)
    except BaseException as error:
        process.kill()
        process.communicate()
        if isinstance(error, subprocess.TimeoutExpired):
            raise _unreachable() from None
        raise


def _release(client: str, place: str, report: Report) -> None:
    """Gives a place back; a failure is told, but hides nothing that failed before."""
    process = _start(client, place, "release")
    try:
        _, problem = process.communicate(timeout=ANSWER_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        _, problem = process.communicate()
    if process.returncode == 0:
        report(f"released {place}")
    else:
        report(f"releasing {place} failed: {_what(problem)}")


def _board(client: str, place: str) -> FarmBoard:
    """What an acquired place says of its board, once its exporter serves it."""
    deadline = time.monotonic() + READY_TIMEOUT_S
    while True:
        process = _start(client, place, "show")
        output, problem = _answer(process)
        if process.returncode:
            raise _refusal(place, _what(problem))
        resources = parse_resources(output)
        board = board_of(place, resources)
        if board:
            return board
        if time.monotonic() > deadline:
            names = ", ".join(str(item["cls"]) for item in resources) or "nothing"
            raise LinkError(
                f"place {place} has no board that is available: it has {names}",
                "its exporter exports a JalhostBoard or a serial port",
            )
        time.sleep(LOOK_S)


def parse_resources(text: str) -> list[dict[str, Any]]:
    """Acquired resources, as ``labgrid-client show`` prints them: class, state and parameters."""
    parts = _HEADING.split(text)[1:]
    resources = []
    for path, content in zip(parts[::2], parts[1::2], strict=True):
        try:
            resources.append(dict(ast.literal_eval(textwrap.dedent(content).strip())))
        except (SyntaxError, ValueError) as error:
            raise LinkError(f"{CLIENT} says of {path} what cannot be read: {error}") from error
    return resources


def board_of(place: str, resources: list[dict[str, Any]]) -> FarmBoard | None:
    """The board among a place's resources: one of ours, or else a serial port.

    Raises:
        LinkError: it can only be reached through a proxy.
    """
    available = [item for item in resources if item.get("avail")]
    board = _parameters(available, "JalhostBoard")
    port = _parameters(available, "NetworkSerialPort")
    address = str(board.get("address") or "")
    if not address and port.get("host") and port.get("port"):
        if port.get("extra", {}).get("proxy_required"):
            raise LinkError(
                f"place {place} is behind a proxy",
                "forward its port by ssh, and name it by --target uart:rfc2217://HOST:PORT",
            )
        scheme = "tcp" if port.get("protocol") == "raw" else "rfc2217"
        address = f"uart:{scheme}://{port['host']}:{port['port']}"
    if not address:
        return None
    return FarmBoard(place, address, board.get("cable"), board.get("cable_serial"))


def _parameters(resources: list[dict[str, Any]], kind: str) -> dict[str, Any]:
    """Parameters of the first resource of a class; empty where there is none."""
    return next((dict(item["params"]) for item in resources if item["cls"] == kind), {})


def _start(client: str, place: str, command: str) -> "subprocess.Popen[str]":
    # A session of its own: Ctrl-C is for this process, which then gives the place back.
    process = subprocess.Popen(
        [client, "-p", place, command],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    _log.debug("process %d is %s %s %s", process.pid, client, place, command)
    return process


def _what(problem: str) -> str:
    """What the client complains of: its last line."""
    lines = [line for line in problem.splitlines() if line.strip()] or ["it says nothing"]
    match = _ERROR.match(lines[-1].strip())
    assert match, "each part of it may be empty"
    return match["what"]


def _refusal(place: str, what: str) -> JalError:
    """The error that stands for what the client complains of."""
    holder = re.search(r"already acquired by ([^\s,]+/[^\s,.]+)", what)
    if holder:
        return LinkError(
            f"place {place} is taken: {holder[1]} has it",
            f"wait, or ask them for {CLIENT} -p {place} release",
        )
    if "matches nothing" in what:
        return LinkError(f"the farm has no place {place}", f"{CLIENT} places lists them")
    if "Could not connect" in what:
        return _unreachable()
    return LinkError(
        f"place {place} cannot be used: {what}", f"{CLIENT} -p {place} show tells more"
    )


def _unreachable() -> LinkError:
    coordinator = os.environ.get("LG_COORDINATOR", DEFAULT_COORDINATOR)
    return LinkError(
        f"no labgrid coordinator answers at {coordinator}",
        "LG_COORDINATOR=HOST:PORT says where it is",
    )
