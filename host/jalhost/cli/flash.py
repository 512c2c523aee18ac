"""``jalhost flash``: a bundle's bitstream into a board."""

import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from jalhost.cli.options import Debug, say
from jalhost.cli.render import printable
from jalhost.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from rich.progress import Progress, TaskID

    from jalhost.bundle import Bundle
    from jalhost.flash.sequence import Request, Stage
    from jalhost.identity import Identity

PLAIN_STEP = 25.0
"""Percent between two lines of progress where there is no terminal."""


def flash(
    bundle: Annotated[Path, typer.Argument(metavar="BUNDLE", help="A .jalb file.")],
    permanent: Annotated[
        bool,
        typer.Option("--permanent", help="Write flash memory, which outlives the power, not SRAM."),
    ] = False,
    target: Annotated[
        str | None,
        typer.Option(
            "--target",
            help="Where the board answers: uart:PORT, eth[:HOST], pcie[:ADDRESS] or labgrid:PLACE.",
        ),
    ] = None,
    no_wait: Annotated[
        bool, typer.Option("--no-wait", help="Do not wait until the board answers.")
    ] = False,
    cable: Annotated[
        str | None,
        typer.Option(help="openFPGALoader's name of the cable.", show_default="the board's own"),
    ] = None,
    serial: Annotated[
        str | None, typer.Option(help="Serial number of the cable, where there are several.")
    ] = None,
    bitstream: Annotated[
        Path | None,
        typer.Option(help="What Vivado made of a bundle's project, where it has no bitstream."),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the calls of openFPGALoader, and do nothing.")
    ] = False,
    debug: Debug = False,
) -> None:
    """Write a bundle's bitstream into a board with openFPGALoader."""
    from jalhost.bundle import open_bundle, with_bitstream
    from jalhost.flash.loader import find_loader
    from jalhost.flash.sequence import Request
    from jalhost.flash.sequence import flash as run

    opened = open_bundle(bundle)
    if bitstream is not None:
        opened = with_bitstream(opened, bitstream)
    request = Request(permanent, cable, serial)
    if dry_run:
        _print_calls(opened, request, bitstream)
        return
    with ExitStack() as stack:
        if target:
            from jalhost.engine.targets import target_board

            board = stack.enter_context(target_board(target, say))
            target = board.address
            request = Request(permanent, cable or board.cable, serial or board.cable_serial)
        wait = _waiting(opened, target, no_wait)
        reporter = stack.enter_context(_Reporter())
        run(opened, request, find_loader, wait, reporter)


def _waiting(
    bundle: "Bundle", target: str | None, no_wait: bool
) -> "Callable[[], Identity] | None":
    """What waits for the board; None where nobody shall.

    Raises:
        UsageError: it is not clear whether to wait, and where.
    """
    if no_wait == (target is not None):
        raise UsageError(
            "how is the board reached afterwards?",
            "give either --target uart:PORT, eth or pcie, or --no-wait",
        )
    if target is None:
        return None
    from jalhost.flash.ready import wait_until_ready, way_to

    way = way_to(target, bundle.manifest, say)
    return lambda: wait_until_ready(way.open, bundle.fingerprint, revive=way.revive, hint=way.hint)


def _print_calls(bundle: "Bundle", request: "Request", bitstream: Path | None) -> None:
    """Lines for a shell that do what the command would do, but for its checks."""
    import shlex

    from jalhost.errors import EnvironmentProblem
    from jalhost.flash.loader import NAME, Loader, find_loader
    from jalhost.flash.sequence import command_lines, file_name

    try:
        loader = find_loader()
    except EnvironmentProblem:
        loader = Loader(Path(NAME), {})
    lines = command_lines(bundle, request, loader)
    names = [bundle.bitstream_name, "-o", file_name(bundle)]
    get = ["jalhost", "bundle", "extract", str(bundle.path), *names]
    if bitstream is not None:
        get = ["cd", str(bitstream.absolute().parent)]
    print("\n".join([shlex.join(get), *lines]))


class _Reporter:
    """Verdicts on standard output, progress on standard error: a bar there, or a few lines."""

    def __init__(self) -> None:
        self._stage: Stage | None = None
        self._bars: Progress | None = None
        self._tasks: dict[str, TaskID] = {}
        self._reached: dict[str, float] = {}

    def __enter__(self) -> "_Reporter":
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        self._stop_bars()
        if kind and self._stage:
            print(f"{self._stage:<7} failed", flush=True)

    def started(self, stage: "Stage") -> None:
        self._stage = stage

    def passed(self, stage: "Stage", verdict: str) -> None:
        self._stop_bars()
        print(f"{stage:<7} ok: {printable(verdict)}", flush=True)
        self._stage = None

    def progress(self, what: str, percent: float) -> None:
        if sys.stderr.isatty():
            self._move_bar(what, percent)
            return
        if percent >= self._reached.get(what, 0.0):
            self._reached[what] = percent // PLAIN_STEP * PLAIN_STEP + PLAIN_STEP
            say(f"{printable(what)}: {percent:.0f} %")

    def _move_bar(self, what: str, percent: float) -> None:
        from rich.console import Console
        from rich.progress import Progress

        if self._bars is None:
            self._bars = Progress(console=Console(stderr=True), transient=True)
            self._bars.start()
        if what not in self._tasks:
            self._tasks[what] = self._bars.add_task(printable(what), total=100.0)
        self._bars.update(self._tasks[what], completed=percent)

    def _stop_bars(self) -> None:
        if self._bars:
            self._bars.stop()
            self._bars = None
            self._tasks.clear()
