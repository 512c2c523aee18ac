"""Boards for other processes: ``python -m jalboards list`` or ``build``.

Standard output speaks JSON, one object per line: ``list`` writes one for each board, ``build``
events as ``python -m jalsoc.sim`` does, and one that says ``built`` at the end.
"""

import argparse
import json
import signal
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from jalboards.board import Board
from jalboards.build import STAGES
from jalboards.catalogue import all_boards, find_board
from jalboards.config import configure
from jalboards.make import make_bundle
from jalhost.errors import INTERRUPTED, JalError, UsageError


def emit(event: str, **fields: Any) -> None:
    """Writes an event."""
    print(json.dumps({"event": event} | fields), flush=True)


def facts(board: Board) -> dict[str, Any]:
    """What ``list`` says of a board."""
    return {
        "name": board.name,
        "title": board.title,
        "part": board.part,
        "idcode": f"{board.idcode:#010x}",
        "tier": board.tier,
        "dram": {"title": board.dram.title, "chip": board.dram.chip, "bytes": board.dram.bytes},
        "clock_hz": board.clock_hz,
        "peak_bytes_per_s": board.peak_bytes_per_s,
        "engine": asdict(board.engine),
        "links": list(board.links),
        "sensors": board.sensors is not None,
        "flash": asdict(board.flash),
        "stages": list(STAGES[board.flow]),
    }


def report_progress(step: str, state: str, seconds: float, cached: bool) -> None:
    """Tells how building goes on."""
    emit("build", step=step, state=state, seconds=round(seconds, 3), cached=cached)


def parse(arguments: list[str]) -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(prog="python -m jalboards", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("list", help="say what boards there are")
    build = commands.add_parser("build", help="build a bundle")
    build.add_argument("board")
    build.add_argument("output", type=Path)
    build.add_argument("--engine", default="{}", help="fields of EngineConfig as JSON")
    build.add_argument("--clock-hz", type=int)
    build.add_argument("--baud", type=int)
    build.add_argument("--seed", type=int)
    build.add_argument("--tries", type=int)
    build.add_argument("--allow-timing-failure", action="store_true")
    build.add_argument("--with-ethernet", action="store_true")
    build.add_argument("--ip")
    build.add_argument("--with-scope", action="store_true")
    build.add_argument("--with-sensors", action="store_true")
    build.add_argument("--with-pcie", action=argparse.BooleanOptionalAction)
    return parser.parse_args(arguments)


def build(arguments: argparse.Namespace) -> None:
    """Builds a bundle.

    Raises:
        JalError: it cannot be built.
    """
    try:
        engine = json.loads(arguments.engine)
    except ValueError as error:
        raise UsageError(f"--engine: {error}", "fields of EngineConfig as JSON") from error
    config = configure(
        find_board(arguments.board),
        engine,
        arguments.clock_hz,
        arguments.baud,
        arguments.seed,
        arguments.tries,
        arguments.with_ethernet,
        arguments.ip,
        arguments.with_pcie,
        arguments.with_scope,
        arguments.with_sensors,
    )
    output = arguments.output.absolute()
    made = make_bundle(config, output, report_progress, arguments.allow_timing_failure)
    emit("built", **made)


def main() -> int:
    """Runs the command; returns the exit status."""
    arguments = parse(sys.argv[1:])
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        if arguments.command == "list":
            for board in all_boards():
                emit("board", **facts(board))
        else:
            build(arguments)
    except JalError as error:
        emit("error", kind=type(error).__name__, what=error.what, hint=error.hint)
        return error.exit_code
    except KeyboardInterrupt:
        return INTERRUPTED
    return 0


if __name__ == "__main__":
    sys.exit(main())
