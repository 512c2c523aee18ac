"""Targets by name."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from jalhost.engine.target import Target
from jalhost.environment import SIMULATION
from jalhost.errors import EnvironmentProblem, UsageError

Report = Callable[[str], None]
"""Takes a line of progress for people."""


def choose_target() -> tuple[str, str]:
    """The target to use when none is named, and the reason why."""
    missing = SIMULATION.missing()
    if missing:
        names = ", ".join(item.name for item in missing)
        return "emu", f"the simulator needs {names} (jalhost doctor tells how to get it)"
    return "sim", "the whole system in a Verilog simulator (--target emu is faster)"


@contextmanager
def open_target(name: str, report: Report) -> Iterator[Target]:
    """Opens a target: ``emu``, ``sim``, ``sim:uart`` or ``uart:PORT``; closes it behind the block.

    Raises:
        UsageError: there is no such target.
        EnvironmentProblem: the target needs what is not installed.
    """
    target = _create(name, report)
    try:
        yield target
    finally:
        target.close()


def _create(name: str, report: Report) -> Target:
    if name == "emu":
        from jalhost.engine.emulator import Emulator

        return Emulator()
    raise UsageError(f"there is no target {name!r}", "targets: emu, sim, sim:uart, uart:PORT")


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
