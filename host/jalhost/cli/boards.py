"""``jalhost boards`` and ``jalhost build``: what boards there are, and bitstreams for them."""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from jalhost.cli.options import OPEN_NETWORK, Debug, Json, say
from jalhost.errors import UsageError

if TYPE_CHECKING:
    from jalhost.engine.boards import Estimate, Event

HEADINGS = (
    "board",
    "FPGA",
    "DRAM",
    "peak MB/s",
    "links",
    "tier",
    "MHz",
    "lanes",
    "T",
)

LONGEST_LINE = 400


def boards(as_json: Json = False, debug: Debug = False) -> None:
    """List the boards that gateware can be built for."""
    from jalhost.engine.boards import list_boards

    facts = list_boards()
    estimates = [_estimates(board) for board in facts]
    if as_json:
        records = [
            {key: value for key, value in board.items() if key != "event"}
            | {"estimated_tokens_per_s": {item.model: item.tokens_per_s for item in own}}
            for board, own in zip(facts, estimates, strict=True)
        ]
        print(json.dumps(records, indent=2))
        return
    _print_table(facts, estimates)


def _estimates(board: "Event") -> "list[Estimate]":
    """For the demo model and for the shape of llama2.c's stories15M."""
    from jalhost.cli.options import open_model
    from jalhost.engine.boards import estimate
    from jalhost.models.architecture import Architecture
    from jalhost.models.plan import Plan

    shape = Architecture(
        dim=288, hidden=768, layers=6, heads=6, kv_heads=6, head_dim=48, vocabulary=32000,
        context=256,
    )  # fmt: skip
    plans = {"demo": open_model(None, None).plan, "15M": Plan(shape, ())}
    return [estimate(name, plan, board) for name, plan in plans.items()]


def _print_table(facts: "list[Event]", estimates: "list[list[Estimate]]") -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table

    table = Table(
        box=box.SIMPLE_HEAD,
        caption="tokens/s: estimated, what the DRAM allows at most without drafts; tier 1: built to"
        " a bitstream, tier 2: a project for the vendor's tools",
    )
    models = [f"{item.model} tokens/s" for item in estimates[0]]
    for index, heading in enumerate((*HEADINGS, *models)):
        number = index in (3, 5) or index > 5
        table.add_column(heading, justify="right" if number else "left", no_wrap=True)
    for board, own in zip(facts, estimates, strict=True):
        table.add_row(*_row(board), *(_speed(item.tokens_per_s) for item in own))
    # Lines are as long as they must be: a figure that is cut off is none.
    Console(markup=False, highlight=False, width=LONGEST_LINE).print(table)


def _row(board: "Event") -> tuple[str, ...]:
    dram, engine = board["dram"], board["engine"]
    return (
        board["name"],
        board["part"],
        f"{dram['title']}, {dram['bytes'] >> 20} MiB",
        f"{board['peak_bytes_per_s'] / 1e6:,.0f}",
        ", ".join(board["links"]),
        str(board["tier"]),
        f"{board['clock_hz'] / 1e6:g}",
        str(engine["lanes"]),
        str(engine["tokens"]),
    )


def _speed(value: float | None) -> str:
    return f"{value:,.0f}" if value else "does not fit"


def build(
    board: Annotated[str, typer.Argument(help="Its name (see `jalhost boards`).")],
    lanes: Annotated[
        int | None, typer.Option(help="Bytes of weights per cycle.", show_default="the board's")
    ] = None,
    tokens: Annotated[
        int | None, typer.Option(help="Token rows.", show_default="the board's")
    ] = None,
    clock: Annotated[
        float | None, typer.Option(help="Clock in MHz.", show_default="the board's")
    ] = None,
    gateware: Annotated[
        str | None,
        typer.Option(
            help="Other sizes of the engine, as in max_dim=576,max_context=2048.",
            metavar="KEY=VALUE,...",
            show_default="the board's",
        ),
    ] = None,
    baud: Annotated[
        int | None, typer.Option(help="Rate of the UART after reset.", show_default="115200")
    ] = None,
    seed: Annotated[
        int | None, typer.Option(help="First seed of the placer.", show_default="the board's")
    ] = None,
    tries: Annotated[
        int | None,
        typer.Option(help="Seeds to try, until wires and clocks are good.", show_default="3"),
    ] = None,
    with_ethernet: Annotated[
        bool,
        typer.Option("--with-ethernet", help="Ethernet, which lets in whoever can reach it."),
    ] = False,
    ip: Annotated[
        str | None, typer.Option(help="Address on the network.", show_default="192.168.1.50")
    ] = None,
    with_pcie: Annotated[
        bool | None,
        typer.Option("--with-pcie/--without-pcie", help="PCIe.", show_default="the board's"),
    ] = None,
    with_scope: Annotated[
        bool, typer.Option("--with-scope", help="LiteScope's logic analyzer on the engine.")
    ] = False,
    with_sensors: Annotated[
        bool, typer.Option("--with-sensors", help="Sensors of temperature and supplies.")
    ] = False,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Bundle.", show_default="BOARD.jalb")
    ] = None,
    allow_timing_failure: Annotated[
        bool,
        typer.Option("--allow-timing-failure", help="Write the bundle even if a clock is missed."),
    ] = False,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Build a board's gateware and firmware into one file."""
    from jalhost.engine.boards import build_bundle

    path = output or Path(f"{board}.jalb")
    if not path.absolute().parent.is_dir():
        raise UsageError(f"cannot write {path}: there is no folder {path.parent}")
    arguments = [board, str(path), "--engine", json.dumps(_engine(gateware, lanes, tokens))]
    if clock is not None:
        arguments += ["--clock-hz", str(round(clock * 1e6))]
    if baud is not None:
        arguments += ["--baud", str(baud)]
    if seed is not None:
        arguments += ["--seed", str(seed)]
    if tries is not None:
        arguments += ["--tries", str(tries)]
    if ip is not None:
        arguments += ["--ip", ip]
    switches = {
        "--allow-timing-failure": allow_timing_failure,
        "--with-ethernet": with_ethernet,
        "--with-scope": with_scope,
        "--with-sensors": with_sensors,
    }
    arguments += [name for name, wanted in switches.items() if wanted]
    if with_pcie is not None:
        arguments.append("--with-pcie" if with_pcie else "--no-with-pcie")
    built = build_bundle(arguments, Stages())
    del built["event"]
    if as_json:
        print(json.dumps(built, indent=2))
    else:
        print("\n".join(_summary(built)))


def _engine(gateware: str | None, lanes: int | None, tokens: int | None) -> dict[str, Any]:
    """The engine's sizes that differ from the board's.

    Raises:
        UsageError: ``gateware`` names something else, or a size twice.
    """
    from jalhost.engine.gateware import parse_gateware

    given = parse_gateware(gateware) if gateware else None
    if given and given.system:
        raise UsageError(
            f"--gateware: a board decides on its {', '.join(given.system)}",
            "name sizes of the engine; the clock is --clock",
        )
    engine: dict[str, Any] = dict(given.engine) if given else {}
    for name, value in (("lanes", lanes), ("tokens", tokens)):
        if value is not None:
            if name in engine:
                raise UsageError(f"--{name} and --gateware {name} are the same size")
            engine[name] = value
    return engine


class Stages:
    """Says what goes on: a line for each stage, with the time that it took, and for notes."""

    def __call__(self, event: "Event") -> None:
        """Takes an event of a stage."""
        step, seconds = event["step"], event["seconds"]
        if event["state"] == "note":
            say(step)
        elif event["state"] == "done":
            how = "unchanged" if event["cached"] else f"{seconds:,.1f} s"
            say(f"{step:10} {how}")
        elif sys.stderr.isatty():
            print(f"{step:10} ...", end="\r", file=sys.stderr, flush=True)


def _summary(built: dict[str, Any]) -> list[str]:
    lines = [f"{built['path']}  sha256 {built['sha256']}"]
    if built["ethernet"]:
        lines.append(f"Ethernet {built['ethernet']} {OPEN_NETWORK}")
    if built["seed"] is not None:
        number = len(built["tries"])
        lines.append(f"seed {built['seed']}, " + (f"try {number}" if number > 1 else "first try"))
    for name, (achieved, constraint) in built["clocks"].items():
        verdict = "met" if achieved >= constraint else "MISSED"
        lines.append(f"clock {name}: {achieved:g} MHz of {constraint:g} MHz, {verdict}")
    if not built["clocks"]:
        lines.append("clocks: not placed and routed; that takes the vendor's tools")
    for name, item in built["utilisation"].items():
        used, available = item["used"], item["available"]
        # Of some cells nextpnr counts none as available.
        of = f" of {available:,} ({used / available:.0%})" if available else ""
        lines.append(f"{name}: {used:,}{of}")
    return lines
