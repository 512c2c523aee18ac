"""``jalhost bringup``: which layer of a board is broken."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from jalhost.cli.options import (
    Debug,
    GatewareText,
    Json,
    ModelFile,
    TargetName,
    TokenizerFile,
    default_target,
    open_model,
    say,
)
from jalhost.cli.render import printable

if TYPE_CHECKING:
    from jalhost.bringup.report import Report, StageReport
    from jalhost.bringup.stages import Stage

EXAMPLE = "Example: jalhost bringup --target uart --bundle ulx3s.jalb --html ulx3s.html"

WIDTH = 14
"""Of the longest stage's name."""


def bringup(
    target: TargetName = None,
    bundle: Annotated[
        Path | None,
        typer.Option(help="The build in the board, with its FPGA, cable and register map."),
    ] = None,
    stage: Annotated[
        list[str] | None, typer.Option("--stage", help="Only this stage; may be given again.")
    ] = None,
    until: Annotated[str | None, typer.Option(help="All stages up to this one.")] = None,
    repeat: Annotated[int, typer.Option(min=1, help="Rounds, each from the start.")] = 1,
    model: ModelFile = None,
    tokenizer: TokenizerFile = None,
    gateware: GatewareText = None,
    fault: Annotated[
        str,
        typer.Option(
            metavar="NAME[=ARGS]", help="Break the simulated system first, for example dram-data=5."
        ),
    ] = "",
    cable: Annotated[
        str | None,
        typer.Option(help="openFPGALoader's name of the cable.", show_default="the board's own"),
    ] = None,
    serial: Annotated[
        str | None, typer.Option(help="Serial number of the cable, where there are several.")
    ] = None,
    junit: Annotated[Path | None, typer.Option(help="Write a JUnit file, too.")] = None,
    html: Annotated[
        Path | None, typer.Option(help="Write a report with pictures, as one HTML file.")
    ] = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Find out which layer of a board is broken, from the cable to the tokens, and what to do.

    What DRAM holds is lost.
    """
    from jalhost.bringup.session import Request, bring_up
    from jalhost.files import check_writable
    from jalhost.power.sensors import read_sensors

    for path in filter(None, (junit, html)):
        check_writable(path)
    request = Request(
        target=target or default_target(),
        stages=tuple(stage or ()),
        until=until,
        repeat=repeat,
        gateware=gateware,
        fault=fault,
        bundle=bundle,
        cable=cable,
        cable_serial=serial,
    )
    printer = _Printer(quiet=as_json)
    report = bring_up(request, lambda: open_model(model, tokenizer), say, printer, read_sensors)
    _write_files(report, junit, html)
    if as_json:
        print(report.model_dump_json(indent=2))
    else:
        printer.conclude(report)
    code = exit_code(report)
    if code:
        raise typer.Exit(code)


def exit_code(report: "Report") -> int:
    """0: nothing is broken; else that of the error that the first broken layer is."""
    from jalhost.bringup.stages import Stage
    from jalhost.errors import DeviceError, LinkError

    if report.broken is None:
        return 0
    return (LinkError if report.broken in (Stage.CABLE, Stage.LINK) else DeviceError).exit_code


def _write_files(report: "Report", junit: Path | None, html: Path | None) -> None:
    from jalhost.files import write_text

    if junit:
        from jalhost.bringup.junit import junit_xml

        write_text(junit, junit_xml(report))
    if html:
        from jalhost.bringup.html import html_page

        write_text(html, html_page(report))


class _Printer:
    """A line for each stage, as it ends; a failure has its causes below."""

    def __init__(self, quiet: bool) -> None:
        self._quiet = quiet

    def round_started(self, number: int, of: int) -> None:
        """Says which round begins, where there are several."""
        if of > 1 and not self._quiet:
            print(f"round {number} of {of}", flush=True)

    def started(self, stage: "Stage") -> None:
        """Shows the stage's name on a terminal, until its verdict is there."""
        if not self._quiet and sys.stdout.isatty():
            print(f"{stage:<{WIDTH}} ...", end="\r", flush=True)

    def ended(self, report: "StageReport") -> None:
        """Prints the verdict."""
        if self._quiet:
            return
        line = f"{report.stage:<{WIDTH}} {report.verdict} {report.seconds:5.1f} s  "
        print(line + printable(report.summary), flush=True)
        for cause in report.causes:
            print(f"{'':<{WIDTH}} perhaps: {printable(cause)}")
        if report.next_command:
            print(f"{'':<{WIDTH}} next: {printable(report.next_command)}", flush=True)

    def conclude(self, report: "Report") -> None:
        """Prints the layer that is broken."""
        rounds = report.rounds
        good = sum(item.broken is None for item in rounds)
        many = f" in {len(rounds) - good} of {len(rounds)} rounds" if len(rounds) > 1 else ""
        if report.broken is None:
            figures = f", figures are {report.provenance}" if report.provenance else ""
            print(f"nothing is broken ({report.seconds:.0f} s{figures})")
        else:
            print(f"broken: {report.broken}{many}")
