"""What nextpnr reports: clocks and resources, and whether a build is good for its board."""

import re
from dataclasses import dataclass
from typing import Any

from jalboards.config import BuildConfig
from jalhost.errors import BuildError

LOWER = {
    "lut": "fewer --lanes or --tokens",
    "ram": "fewer --lanes, or smaller limits (--gateware max_hidden=..., max_dim=...)",
    "dsp": "fewer --lanes or --tokens",
}
"""What takes less of a kind of resource."""

KINDS = {
    "TRELLIS_COMB": "lut",
    "TRELLIS_FF": "lut",
    "TRELLIS_RAMW": "lut",
    "LUT4": "lut",
    "ALU": "lut",
    "DFF": "lut",
    "RAM16SDP4": "lut",
    "DP16KD": "ram",
    "BSRAM": "ram",
    "MULT18X18D": "dsp",
    "MULT18X18": "dsp",
    "MULT9X9": "dsp",
    "MULT36X36": "dsp",
    "DSP": "dsp",
}
"""Kinds of resources by nextpnr's names."""


GOWIN_SYSTEM_CLOCK = "crg_clkout"
"""The PLL's output in LiteX's CRGs for Gowin, which drives the system's clock without a buffer."""


@dataclass(frozen=True)
class Clock:
    """A clock's name in the design, what it reaches, and what it must reach."""

    name: str
    achieved_mhz: float
    constraint_mhz: float

    @property
    def met(self) -> bool:
        """Whether it is fast enough."""
        return self.achieved_mhz >= self.constraint_mhz


def clocks(report: dict[str, Any]) -> list[Clock]:
    """Clocks of nextpnr's report after routing."""
    return [
        Clock(_short(name), round(item["achieved"], 2), round(item["constraint"], 2))
        for name, item in sorted(report["fmax"].items())
    ]


def _short(net: str) -> str:
    """A clock's name without what nextpnr and Migen put around it: ``sys`` for ``sys_clk``."""
    if net == GOWIN_SYSTEM_CLOCK:
        return "sys"
    return re.sub(r"^\$glbnet\$", "", net).removesuffix("_clk").replace("$", ".").strip(".")


def utilisation(report: dict[str, Any]) -> dict[str, dict[str, int]]:
    """Used and available resources of those that a design has."""
    return {
        name: {"used": item["used"], "available": item["available"]}
        for name, item in sorted(report["utilization"].items())
        if item["used"]
    }


def timing_problem(found: list[Clock], config: BuildConfig, seed: int) -> BuildError | None:
    """The error for the clock that misses most with a seed, if one does."""
    missed = [clock for clock in found if not clock.met]
    if not missed:
        return None
    worst = min(missed, key=lambda clock: clock.achieved_mhz / clock.constraint_mhz)
    what = f"timing of {config.board} is not met: clock {worst.name} reaches"
    reached = f"{worst.achieved_mhz:.1f} of {worst.constraint_mhz:.1f} MHz with seed {seed}"
    others = f"try other seeds (--seed {config.seeds.stop})"
    anyway = "--allow-timing-failure writes the bundle nevertheless"
    if worst.name.startswith("eth_"):
        return BuildError(f"{what} {reached}", f"{others}, or leave out --with-ethernet; {anyway}")
    slower = int(config.clock_hz / 1e6 * worst.achieved_mhz / worst.constraint_mhz)
    return BuildError(
        f"{what} {reached}",
        f"lower --clock to {slower}, take fewer --lanes or --tokens, or {others}; {anyway}",
    )


def overfull_problem(overfull: dict[str, tuple[int, int]], config: BuildConfig) -> BuildError:
    """The error for the resource that is missing most."""
    name = max(overfull, key=lambda name: overfull[name][0] / max(1, overfull[name][1]))
    needed, available = overfull[name]
    advice = LOWER[KINDS.get(name, "lut")]
    return BuildError(
        f"the design does not fit {config.facts.part}: it needs {needed:,} {name}, and there are"
        f" {available:,}",
        f"take {advice}",
    )
