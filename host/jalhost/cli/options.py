"""Options that several commands share, and what turns them into objects."""

import atexit
import logging
import sys
import time
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from jalhost.errors import ModelError

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress
    from rich.progress import TaskID

    from jalhost.models.image import Image
    from jalhost.progress import Progress

PLAIN_PROGRESS_S = 5.0
"""Between two lines of progress where there is no terminal."""

DEMO_MODEL = Path(__file__).resolve().parents[1] / "data" / "demo.jal"
"""The model that comes with the package."""


def _start_logging(value: bool) -> None:
    if value:
        logging.basicConfig(
            level=logging.DEBUG, format="%(relativeCreated)7d ms %(name)s: %(message)s"
        )


OPEN_NETWORK = "(no authentication: whoever reaches it reads and writes all of the system)"
"""What is to be known of a board with Ethernet."""

Debug = Annotated[
    bool,
    typer.Option(
        "--debug", callback=_start_logging, help="Log every step, and show a traceback on errors."
    ),
]


class MatrixFormat(StrEnum):
    """Formats of matrices as options name them."""

    MXINT8 = "mxint8"
    MXFP4 = "mxfp4"


Json = Annotated[bool, typer.Option("--json", help="Print one JSON object instead.")]


def complete_target() -> list[str]:
    """What a shell may complete a target to."""
    from jalhost.engine.targets import COMPLETIONS

    return list(COMPLETIONS)


TargetName = Annotated[
    str | None,
    typer.Option(
        "--target",
        help="emu, sim, sim:LINK, uart[:PORT], eth:HOST, pcie or labgrid:PLACE.",
        show_default="sim if its tools are installed, else emu",
        autocompletion=complete_target,
    ),
]

GatewareText = Annotated[
    str | None,
    typer.Option(
        "--gateware",
        help="Gateware to simulate or emulate: sizes of the engine, dram, clock_hz, sensors.",
        metavar="KEY=VALUE,...",
        show_default="the default gateware",
    ),
]

ModelFile = Annotated[
    Path | None,
    typer.Option(
        "--model",
        help="A .jal image, or a model to convert in memory (llama2.c's with --tokenizer).",
        show_default="the demo model",
    ),
]

TokenizerFile = Annotated[
    Path | None,
    typer.Option("--tokenizer", help="llama2.c tokenizer.bin that belongs to a checkpoint."),
]


def show_help_alone(context: typer.Context) -> None:
    """Shows a command group's help where none of its commands is named."""
    if context.invoked_subcommand is None:
        print(context.get_help())
        raise typer.Exit


def say(line: str) -> None:
    """Prints a message for people: to standard error, so that results stay clean.

    How far something is replaces itself on a terminal; elsewhere it is a line now and then.
    """
    from jalhost.progress import Progress

    if isinstance(line, Progress):
        _progress.show(line)
        return
    _progress.end()
    print(line, file=sys.stderr, flush=True)


class _ProgressLine:
    """The one line about how far something is."""

    def __init__(self) -> None:
        self._bar: RichProgress | None = None
        self._task: TaskID | None = None
        self._shown: float | None = None

    def show(self, line: "Progress") -> None:
        """Shows the present state."""
        if not sys.stderr.isatty():
            now = time.monotonic()
            if self._shown is None:
                self._shown = now
            elif now - self._shown >= PLAIN_PROGRESS_S:
                self._shown = now
                print(line, file=sys.stderr, flush=True)
            return
        if self._bar is None or self._task is None:
            self._start()
        assert self._bar
        assert self._task is not None
        self._bar.update(self._task, completed=line.share, description=str(line))
        if line.share >= 1:
            self.end()

    def _start(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, TextColumn
        from rich.progress import Progress as Bar

        columns = (BarColumn(), TextColumn("{task.description}"))
        self._bar = Bar(*columns, console=Console(stderr=True), transient=True)
        self._task = self._bar.add_task("", total=1.0)
        self._bar.start()

    def end(self) -> None:
        """Takes the line away; another message follows, or nothing."""
        if self._bar:
            self._bar.stop()
        self._bar = self._task = self._shown = None


_progress = _ProgressLine()
atexit.register(_progress.end)  # a terminal gets its cursor back, whatever happened


def default_target() -> str:
    """The target where none is named; says which, and why."""
    from jalhost.engine.targets import choose_target

    target, reason = choose_target()
    say(f"target {target}: {reason}")
    return target


def open_model(path: Path | None, tokenizer: Path | None) -> "Image":
    """Reads an image, or a checkpoint with its tokenizer; None stands for the demo model.

    Raises:
        ModelError: the model cannot be used.
    """
    from jalhost.models.convert import read_model
    from jalhost.models.image_file import is_image, load_image
    from jalhost.models.store import find, find_tokenizer

    if path is None and not DEMO_MODEL.is_file():
        raise ModelError("this installation has no demo model", "name a model by --model FILE")
    if path is None:
        return load_image(DEMO_MODEL)
    path = find(path)
    tokenizer = tokenizer or find_tokenizer(path)
    if path.is_dir() or not is_image(path):
        return read_model(path, tokenizer)
    return load_image(path)
