"""Boards and their bundles, by ``python -m jalboards``: JSON lines on its standard output."""

import contextlib
import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any

from jalgateware.contract.config import EngineConfig
from jalhost import errors
from jalhost.errors import BuildError, JalError, ModelError

if TYPE_CHECKING:
    from jalhost.models.plan import Plan

COMMAND = (sys.executable, "-m", "jalboards")

QUIT_TIMEOUT_S = 10.0

Event = dict[str, Any]


@dataclass(frozen=True)
class Estimate:
    """What the DRAM allows for a model on a board: the roofline, not a measurement.

    ``tokens_per_s``: of one text without drafts, from its first token, or None where the model does
    not fit the board.
    """

    model: str
    tokens_per_s: float | None


def list_boards() -> list[Event]:
    """Facts of all boards, as ``python -m jalboards list`` has them.

    Raises:
        BuildError: nobody answers.
    """
    return [event for event in _events(["list"]) if event["event"] == "board"]


def build_bundle(arguments: Sequence[str], report: Callable[[Event], None]) -> Event:
    """Builds a bundle; returns what the last event says of it.

    Args:
        arguments: of ``python -m jalboards build``.
        report: takes the events of stages as they come.

    Raises:
        JalError: whatever went wrong.
    """
    for event in _events(["build", *arguments]):
        match event["event"]:
            case "build":
                report(event)
            case "built":
                return event
    raise BuildError("the build ended in the middle", "run with --debug")


def _events(arguments: Sequence[str]) -> Iterator[Event]:
    """The events of a process, which ends with this generator.

    Raises:
        JalError: what the process says went wrong.
        BuildError: it ended without saying anything.
    """
    # A session of its own: Ctrl-C is for this process, which then ends that one in order.
    process = subprocess.Popen(
        [*COMMAND, *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    with process:
        try:
            assert process.stdout
            assert process.stderr
            yield from _parse(process.stdout)
            problems = process.stderr.read().strip().splitlines()
            if process.wait() and problems:
                raise BuildError(f"the boards cannot be used: {problems[-1]}", "run with --debug")
        finally:
            _end(process)


def _parse(lines: IO[str]) -> Iterator[Event]:
    for line in lines:
        with contextlib.suppress(json.JSONDecodeError):
            event: Event = json.loads(line)
            if event["event"] == "error":
                raise _error(event)
            yield event


def _end(process: "subprocess.Popen[str]") -> None:
    if process.poll() is not None:
        return
    process.terminate()
    try:
        process.wait(QUIT_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        process.kill()


def _error(event: Event) -> JalError:
    """What an event of an error stands for."""
    kind = getattr(errors, str(event.get("kind")), BuildError)
    return kind(str(event["what"]), str(event.get("hint") or ""))


def estimate(name: str, plan: "Plan", board: Event) -> Estimate:
    """The roofline: bytes that a token needs, and bytes that the DRAM moves at most."""
    from jalhost.models.compiler import check_limits

    needed = plan.weight_bytes() + plan.token_bytes(0)
    try:
        check_limits(plan, EngineConfig(**board["engine"]))
    except ModelError:
        return Estimate(name, None)
    if needed > board["dram"]["bytes"]:
        return Estimate(name, None)
    return Estimate(name, board["peak_bytes_per_s"] / needed)
