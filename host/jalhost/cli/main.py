"""The command ``jalhost``: its commands, and what happens when one of them fails.

Modules that take long to import are imported inside commands, so that help and completion answer at
once.
"""

import io
import os
import signal
import sys
import traceback
from itertools import takewhile
from typing import Annotated, NoReturn

import typer

from jalhost.cli import (
    bench,
    boards,
    bringup,
    bundle,
    bus,
    capture,
    chat,
    flash,
    generate,
    labgrid,
    memory,
    model,
    pcie,
    power,
    report,
    system,
    verify,
)
from jalhost.cli.options import show_help_alone
from jalhost.errors import INTERRUPTED, JalError

INTERNAL_ERROR = 70
"""Exit code of a defect in this program (EX_SOFTWARE of sysexits.h)."""

app = typer.Typer(
    name="jalhost",
    help="Run language models on an FPGA inference engine: emulated, simulated, or on a board.",
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command()(generate.generate)
app.command()(chat.chat)
app.command()(bench.bench)
app.command()(verify.verify)
app.command()(verify.soak)
app.add_typer(model.app, name="model")
app.command()(boards.boards)
app.command()(boards.build)
app.add_typer(bundle.app, name="bundle")
app.command()(flash.flash)
app.command(epilog=bringup.EXAMPLE)(bringup.bringup)
app.add_typer(pcie.app, name="pcie")
app.command()(power.power)
app.add_typer(labgrid.app, name="labgrid")
app.add_typer(bus.csr, name="csr")
app.add_typer(memory.mem, name="mem")
app.command()(bus.console)
app.command()(capture.capture)
app.command()(system.targets)
app.command()(system.doctor)
app.command()(report.report)


def _print_version(value: bool) -> None:
    if value:
        from importlib.metadata import version

        typer.echo(f"jalhost {version('jalhost')}")
        raise typer.Exit


@app.callback()
def _options(
    context: typer.Context,
    _version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version and exit."
        ),
    ] = False,
) -> None:
    show_help_alone(context)


def main() -> NoReturn:
    """Runs the command line; each failure is one line on standard error and an exit code."""
    signal.signal(signal.SIGTERM, _terminate)
    debug = "--debug" in takewhile(lambda argument: argument != "--", sys.argv)
    if isinstance(sys.stdout, io.TextIOWrapper):
        # A terminal that cannot show a character shows a question mark.
        sys.stdout.reconfigure(errors="replace")
    try:
        code = app(standalone_mode=False)
        sys.stdout.flush()
    except BrokenPipeError:
        # Whoever read our output has gone: end as Typer does when a command meets this, and keep
        # Python from complaining when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except JalError as error:
        if debug:
            traceback.print_exc()
        _fail(f"error: {error}", error.exit_code)
    except typer.TyperException as error:
        _fail(f"error: {_usage_message(error)}", getattr(error, "exit_code", 2))
    except Exception as error:
        if debug:
            traceback.print_exc()
        name = type(error).__name__
        _fail(f"internal error: {name}: {error} (run with --debug for details)", INTERNAL_ERROR)
    if code == INTERRUPTED:  # what Typer makes of KeyboardInterrupt
        _fail("interrupted", INTERRUPTED)
    sys.exit(code)


def _usage_message(error: Exception) -> str:
    """What is wrong with the arguments."""
    format_message = getattr(error, "format_message", None)
    return format_message() if format_message else str(error)


def _terminate(_number: int, _frame: object) -> NoReturn:
    """Ends like Ctrl-C does, so that child processes and ports are given back."""
    sys.exit(128 + signal.SIGTERM)


def _fail(line: str, code: int) -> NoReturn:
    """Prints one line, whatever the message contains."""
    print("jalhost: " + " ".join(line.split()), file=sys.stderr)
    sys.exit(code)
