"""``jalhost power``: what a meter says for some time, and a board's sensors."""

import json
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from jalhost.cli.options import Debug, GatewareText, Json, complete_target, say
from jalhost.cli.power_options import MeterText, check_power
from jalhost.errors import UsageError

if TYPE_CHECKING:
    from jalhost.engine.target import Target
    from jalhost.power.report import PowerReport, SensorReport


def power(
    target: Annotated[
        str | None,
        typer.Option(
            "--target",
            help="Whose sensors: sim, sim:LINK, uart[:PORT], eth:HOST, pcie or labgrid:PLACE.",
            show_default="none, for meters that are not on a board",
            autocompletion=complete_target,
        ),
    ] = None,
    meter: MeterText = None,
    duration: Annotated[
        str, typer.Option("--time", help="How long to measure.", metavar="TIME")
    ] = "10s",
    gateware: GatewareText = None,
    soc: Annotated[
        Path | None,
        typer.Option(help="Bundle or soc.json of the build that a board should have."),
    ] = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Measure power for some time, and read a board's temperature and supplies.

    Example: jalhost power --target uart --meter ina226:0x40,shunt=0.01 --time 10s
    """
    from jalhost.power.report import PowerResult, as_dict, sensor_reports
    from jalhost.power.sensors import read_sensors
    from jalhost.power.spec import ESTIMATE
    from jalhost.power.units import parse_time

    check_power(meter, None)
    seconds = parse_time("--time", duration)
    if meter == ESTIMATE:
        raise UsageError("nothing runs that could be estimated", "use it in generate or bench")
    if target is None and meter is None:
        raise UsageError("there is nothing to measure", "name --meter, --target, or both")
    with ExitStack() as stack:
        engine = stack.enter_context(_open(target, soc, gateware)) if target else None
        readings = sensor_reports(read_sensors(engine)) if engine else []
        found = _measure(meter, engine, seconds) if meter else None
    if as_json:
        result = PowerResult(target=target, power=found, sensors=readings)
        print(json.dumps(as_dict(result), indent=2, ensure_ascii=False))
        return
    _print(found, readings)
    if engine and not readings and not found:
        say(f"{target} has no sensors that are known")


@contextmanager
def _open(name: str, soc: Path | None, gateware: str | None) -> "Iterator[Target]":
    """A target whose sensors can be read: a simulator runs, without a model."""
    from jalhost.engine.simulator import Simulator
    from jalhost.engine.targets import open_target

    with open_target(name, say, soc, gateware) as target:
        if isinstance(target, Simulator):
            target.start()
        yield target


def _measure(meter: str, target: "Target | None", seconds: float) -> "PowerReport":
    from jalhost.power.session import open_power

    with open_power(meter, target) as session:
        with session.run():
            time.sleep(seconds)
        return session.report()


def _print(found: "PowerReport | None", readings: "list[SensorReport]") -> None:
    from jalhost.cli.render import table
    from jalhost.power.report import power_line

    if readings:
        print(table([(item.name, _reading(item)) for item in readings]))
    if found:
        print(power_line(found))


def _reading(item: "SensorReport") -> str:
    text = f"{item.value:.4g} {item.unit}"
    if item.low is None or item.high is None:
        return text
    verdict = "" if item.fine else ": OUT OF LIMITS"
    return f"{text} ({item.low:.4g} to {item.high:.4g}){verdict}"
