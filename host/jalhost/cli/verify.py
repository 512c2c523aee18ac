"""``jalhost verify`` and ``jalhost soak``: is a target right, and does it stay right."""

import json
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
from jalhost.engine import defaults
from jalhost.errors import INTERRUPTED, DeviceError, LinkError, UsageError

if TYPE_CHECKING:
    from jalhost.engine.target import Target
    from jalhost.verify.report import Verification
    from jalhost.verify.soak import Sensors

FAILED = DeviceError.exit_code
"""Exit code where a target does not do what it should."""

LINK_FAILED = LinkError.exit_code
"""Exit code where it does, and the link to it damages what it carries."""


def verify(
    prompt: Annotated[str, typer.Argument(help="Text to continue.")] = defaults.PROMPT,
    target: TargetName = None,
    model: ModelFile = None,
    tokenizer: TokenizerFile = None,
    max_tokens: Annotated[
        int, typer.Option("--max-tokens", "-n", help="Tokens to generate and compare.")
    ] = 24,
    temperature: Annotated[
        float, typer.Option("--temperature", "-t", help="0 takes the likeliest token.")
    ] = 0.0,
    seed: Annotated[int, typer.Option("--seed", help="Of the samples, above temperature 0.")] = 0,
    gateware: GatewareText = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Compare a target with the golden model, and find the first place where it differs.

    Example: jalhost verify --target uart:/dev/ttyUSB0 --model stories260K.jal
    """
    from jalhost.engine.targets import open_target
    from jalhost.verify.verify import Verifier

    image = open_model(model, tokenizer)
    with open_target(target or default_target(), say, gateware=gateware) as opened:
        found = Verifier(opened, image, say).run(prompt, max_tokens, temperature, seed)
    if as_json:
        print(json.dumps(found.as_dict(), indent=2))
    else:
        _print(found)
    if not found.passed:
        raise typer.Exit(_exit_code(found))


def _print(found: "Verification") -> None:
    """The verdict, and what is wrong."""
    for finding in found.findings:
        print(f"{finding.cause}: {finding.what}")
        print(f"    {finding.hint}")
    verdict = "right" if found.passed else "WRONG"
    print(
        f"{verdict}: {found.target} ({found.provenance}) with {found.model}, {found.tokens} tokens"
        f" and the keys and values of {found.positions} positions compared with the golden model"
    )


def _exit_code(found: "Verification") -> int:
    link_only = all(finding.cause == "link" for finding in found.findings)
    return LINK_FAILED if link_only else FAILED


def soak(
    duration: Annotated[
        str, typer.Option("--time", help="How long in all: 90s, 10m, 1h30m, 2d.")
    ] = "10m",
    target: TargetName = None,
    model: ModelFile = None,
    tokenizer: TokenizerFile = None,
    max_tokens: Annotated[
        int, typer.Option("--max-tokens", "-n", help="Tokens of each text.")
    ] = 32,
    log: Annotated[
        Path | None, typer.Option("--log", help="New file for JSON lines, one for each round.")
    ] = None,
    resume: Annotated[
        Path | None, typer.Option("--resume", help="Log of an earlier test that goes on.")
    ] = None,
    gateware: GatewareText = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Test a target for a long time: generation, DRAM and link, with a log.

    Example: jalhost soak --time 8h --target uart:/dev/ttyUSB0 --log night.jsonl
    """
    from jalhost.engine.targets import open_target
    from jalhost.verify.soak import Plan, Soak, failure, parse_duration
    from jalhost.verify.soak_log import SoakLog

    if log and resume:
        raise UsageError("--log begins a log, --resume goes on with one", "give one of them")
    plan = Plan(parse_duration(duration), max_tokens)
    image = open_model(model, tokenizer)
    lines = SoakLog(resume or log, resume is not None)
    with open_target(target or default_target(), say, gateware=gateware) as opened:
        test = Soak(opened, image, lines, say, sensors=_sensors(opened))
        try:
            reason = test.run(plan)
        except KeyboardInterrupt:
            reason = "interrupted"
        _print_soak(test.totals.as_dict() | {"reason": reason}, as_json)
    if reason == "interrupted":
        raise typer.Exit(INTERRUPTED)
    error = failure(test.totals)
    if error:
        raise error


def _sensors(target: "Target") -> "Sensors":
    """What the target's sensors say, by name; volts and amperes of a supply share theirs."""
    from jalhost.power.sensors import read_sensors

    return lambda: {
        f"{item.name} ({item.unit})" if item.unit in ("V", "A") else item.name: item.value
        for item in read_sensors(target)
    }


def _print_soak(values: dict[str, object], as_json: bool) -> None:
    """The sums, as a table or an object."""
    if as_json:
        print(json.dumps(values, indent=2))
        return
    for name, value in values.items():
        print(f"{name.replace('_', ' '):<18} {'-' if value is None else value}")
