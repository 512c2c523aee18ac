"""Targets by name."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from jalgateware.contract.config import STANDARD
from jalhost.device import Report
from jalhost.engine.gateware import Gateware, engine_config, parse_gateware
from jalhost.engine.target import Target
from jalhost.environment import SIMULATION
from jalhost.errors import EnvironmentProblem, UsageError
from jalhost.links.open import ALONE, LINKS, names_board

if TYPE_CHECKING:
    from jalhost.engine.farm import FarmBoard

SIMULATORS = ("sim", "sim:uart", "sim:eth", "sim:pcie", "sim:pcie-dma")

FARM = "labgrid"
"""What targets start with that are places of a farm."""

COMPLETIONS = ("emu", *SIMULATORS, *ALONE, *(f"{kind}:" for kind in LINKS), f"{FARM}:")
"""Targets as far as a shell can complete them."""

TARGETS = f"emu, {', '.join(SIMULATORS)}, uart[:PORT], eth:HOST, pcie[:ADDRESS], labgrid:PLACE"


def choose_target() -> tuple[str, str]:
    """The target to use when none is named, and the reason why."""
    missing = SIMULATION.missing()
    if missing:
        names = ", ".join(item.name for item in missing)
        return "emu", f"the simulator needs {names} (jalhost doctor tells how to get it)"
    return "sim", "the whole system in a Verilog simulator (--target emu is faster)"


@contextmanager
def open_target(
    name: str, report: Report, soc: Path | None = None, gateware: str | None = None
) -> Iterator[Target]:
    """Opens a target: :data:`TARGETS` says which there are; closes it behind the block.

    ``soc``: description of the build that a board should have; None takes any. ``gateware``: what
    to emulate or simulate, as ``KEY=VALUE[,KEY=VALUE...]``.

    Raises:
        UsageError: there is no such target, or no such gateware.
        EnvironmentProblem: the target needs what is not installed.
    """
    with target_address(name, report) as place:
        target = _create(place, report, soc, parse_gateware(gateware) if gateware else Gateware())
        try:
            yield target
        finally:
            target.close()


@contextmanager
def target_address(name: str, report: Report) -> Iterator[str]:
    """Yields the name of the link to a target; what it takes to reach it is given back behind it.

    A board of a farm is reserved meanwhile; other targets are their own addresses.

    Raises:
        LinkError: somebody else has the board, or nobody tells where it is.
    """
    with target_board(name, report) as board:
        yield board.address


@contextmanager
def target_board(name: str, report: Report) -> Iterator["FarmBoard"]:
    """The same, with what a farm tells of the cable that flashes its board.

    Raises:
        LinkError: somebody else has the board, or nobody tells where it is.
    """
    from jalhost.engine.farm import FarmBoard, reserved

    kind, _, place = name.partition(":")
    if kind != FARM:
        yield FarmBoard("", name)
        return
    with reserved(place, report) as board:
        yield board


def _create(name: str, report: Report, soc: Path | None, gateware: Gateware) -> Target:
    if name == "emu":
        from jalhost.engine.emulator import Emulator

        if gateware.system:
            raise UsageError(
                f"the emulator has no {' and no '.join(gateware.system)}", "use --target sim"
            )
        return Emulator(engine_config(gateware.engine, STANDARD), gateware.text)
    if name in SIMULATORS:
        require_simulation()
        from jalhost.engine.simulator import Simulator
        from jalhost.engine.simulator_process import simulated_engine

        return Simulator(name, report, simulated_engine(gateware), gateware)
    if names_board(name):
        from jalhost.engine.hardware import Board

        if gateware.text:
            raise UsageError("a board has the gateware that it was built with", "drop --gateware")
        return Board(name, report, soc)
    raise UsageError(f"there is no target {name!r}", f"targets: {TARGETS}")


def require_simulation() -> None:
    """Refuses where the simulator cannot be built.

    Raises:
        EnvironmentProblem: names what is missing and the command that installs it.
    """
    missing = SIMULATION.missing()
    if missing:
        raise EnvironmentProblem(
            f"the simulator needs {', '.join(item.name for item in missing)}",
            "; ".join(SIMULATION.fixes()),
        )
