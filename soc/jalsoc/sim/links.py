"""Links that a simulated system can have besides its serial port, by name."""

from collections.abc import Callable
from typing import Any


def _uart(soc: Any, platform: Any) -> dict[str, int]:
    """The serial port is there in any case."""
    return {}


def _pcie(soc: Any, platform: Any) -> dict[str, int]:
    from jalsoc.sim.pcie import add_simulated_pcie

    return add_simulated_pcie(soc, platform)


ADD_LINK: dict[str, Callable[[Any, Any], dict[str, int]]] = {"uart": _uart, "pcie": _pcie}
"""Each takes a system and its platform, adds the link, and returns the harness's constants."""
