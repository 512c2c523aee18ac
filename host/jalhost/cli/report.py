"""``jalhost report``: one file for whoever helps."""

from pathlib import Path
from typing import Annotated

import typer

from jalhost.cli.bus import BundleFile, show
from jalhost.cli.options import Debug, GatewareText, Json, complete_target, say


def report(
    output: Annotated[Path, typer.Option("--output", "-o", help="Zip file.")] = Path(
        "jalhost-report.zip"
    ),
    target: Annotated[
        str | None,
        typer.Option(
            "--target",
            help="Ask this device, too.",
            show_default="none",
            autocompletion=complete_target,
        ),
    ] = None,
    bundle: BundleFile = None,
    gateware: GatewareText = None,
    bringup: Annotated[Path | None, typer.Option(help="Report of a bring-up to add.")] = None,
    log: Annotated[list[Path] | None, typer.Option("--log", help="A log to add.")] = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Collect what helps to find a fault, without names, addresses and serial numbers.

    For example: jalhost report --target uart:/dev/ttyUSB0 --bundle board.jalb
    """
    from jalhost.engine.records import ReportRecord
    from jalhost.engine.redact import personal
    from jalhost.engine.report import Wanted, write_report

    redact = personal()
    wanted = Wanted(target, bundle, gateware, bringup, log or ())
    members, problems = write_report(output, wanted, redact, say)
    record = ReportRecord(
        output=str(output), members=members, replaced=dict(redact.counts), problems=problems
    )
    lines = [f"{size:9,}  {name}" for name, size in members.items()]
    lines += [f"not in it: {problem}" for problem in problems]
    replaced = ", ".join(f"{kind} {count}" for kind, count in sorted(redact.counts.items()))
    lines.append(f"{output}; replaced: {replaced or 'nothing'}; look through it before you send it")
    show(record, lines, as_json)
