"""Placements with one seed after the other, until one is good."""

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from jalboards.config import BuildConfig
from jalboards.timing import Clock, clocks, timing_problem
from jalboards.tools import REPORT
from jalhost.errors import BuildError

GIVEN_UP = "given_up.txt"
"""In place of a layout: why there is none."""


@dataclass(frozen=True)
class Try:
    """What came of a seed.

    ``folder``: with layout and report; ``clocks``: as routed; empty where the wires found no way;
    ``problem``: what is wrong with it, if anything is.
    """

    seed: int
    folder: Path
    clocks: tuple[Clock, ...]
    problem: BuildError | None

    @property
    def outcome(self) -> str:
        """In words."""
        return self.problem.what if self.problem else "good"

    @property
    def speed(self) -> float:
        """Of the clock that is worst, as a part of what it should reach; 0 without wires."""
        return min((clock.achieved_mhz / clock.constraint_mhz for clock in self.clocks), default=0)


def find_layout(
    config: BuildConfig,
    place: Callable[[BuildConfig], Path],
    note: Callable[[str], None],
    allow_timing_failure: bool,
) -> tuple[Try, list[Try]]:
    """Tries seeds until one is good enough: that one, and all that were tried.

    Args:
        config: what is built, and how many seeds are tried.
        place: places and routes a seed; returns the folder of its layout.
        note: is told why it goes on with another seed.
        allow_timing_failure: the first one that has its wires is good enough.

    Raises:
        BuildError: none is; the message is about the one that came nearest.
    """
    tries: list[Try] = []
    for seed in config.seeds:
        if tries:
            note(f"{tries[-1].outcome}; seed {seed} is try {len(tries) + 1} of {config.tries}")
        tries.append(_judged(config, seed, place(replace(config, seed=seed))))
        if not tries[-1].problem or (allow_timing_failure and tries[-1].clocks):
            return tries[-1], tries
    best = max(tries, key=lambda item: item.speed)
    assert best.problem
    raise best.problem


def _judged(config: BuildConfig, seed: int, folder: Path) -> Try:
    given_up = folder / GIVEN_UP
    if given_up.exists():
        reason = given_up.read_text(encoding="utf-8")
        hint = f"try other seeds (--seed {config.seeds.stop}), or take fewer --lanes or --tokens"
        return Try(seed, folder, (), BuildError(reason, hint))
    found = clocks(json.loads((folder / REPORT).read_text(encoding="utf-8")))
    return Try(seed, folder, tuple(found), timing_problem(found, config, seed))
