"""The options ``--meter`` and ``--idle-baseline``, and what commands do with them."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from jalhost.cli.options import say
from jalhost.errors import UsageError

if TYPE_CHECKING:
    from jalhost.engine.target import Target
    from jalhost.power.session import Power

MeterText = Annotated[
    str | None,
    typer.Option(
        "--meter",
        help="What measures power (docs/power.md), for example ina226:0x40,shunt=0.01,"
        " scpi:RESOURCE, shelly:HOST, command:PROGRAM; or estimate.",
        metavar="SPEC",
        show_default="none",
    ),
]

IdleText = Annotated[
    str | None,
    typer.Option(
        "--idle-baseline",
        help="First measure for so long what is drawn while nothing runs, and subtract it.",
        metavar="TIME",
        show_default="no",
    ),
]


def check_power(meter: str | None, idle: str | None) -> None:
    """Refuses what makes no sense before anything is started.

    Raises:
        UsageError: as the options' texts have it.
    """
    from jalhost.power.spec import ESTIMATE, parse_meter
    from jalhost.power.units import parse_time

    if idle is not None:
        if meter is None or meter == ESTIMATE:
            raise UsageError(
                "--idle-baseline is measured, and there is no meter", "add --meter SPEC"
            )
        parse_time("--idle-baseline", idle)
    if meter is not None:
        parse_meter(meter)


@contextmanager
def measuring(
    meter: str | None, idle: str | None, target: "Target | None"
) -> "Iterator[Power | None]":
    """What ``--meter`` names, its idle baseline measured; None without ``--meter``.

    Raises:
        JalError: the meter cannot be used.
    """
    if meter is None:
        yield None
        return
    from jalhost.power.session import open_power
    from jalhost.power.units import parse_time

    idle_s = parse_time("--idle-baseline", idle) if idle else None
    if idle_s:
        say(f"measuring for {idle_s:g} s what is drawn while nothing runs ...")
    with open_power(meter, target, idle_s) as power:
        yield power
