"""Watches nextpnr by its log, and gives up on a placement whose wires it would route for hours.

Router1 connects one arc (a net and one of its cells) per iteration; where wires are short, it takes
others apart for that, which then are to be connected again. A crowded placement costs more and more
iterations per arc, and each takes longer. What the log says of iterations and arcs is the same on
all machines, so all give up on the same placements, and a build has the same result everywhere.
"""

import re
import time
from collections.abc import Callable
from pathlib import Path

from jalhost.errors import BuildError

MOST_ITERATIONS = 3.0
"""Per arc of the design, if it goes on as in the last of them. Placements that were routed took 1.3
to 2.1, and none looked worse than 2.7 on the way; those that once looked worse than 3 were far from
their end when they were stopped by hand, after up to 40 minutes."""

WINDOW = 0.15
"""What tells the pace: so many iterations per arc of the design."""

LIMIT_S = 4 * 3600
"""Longest time for one placement and its wires. Above this, a build fails, instead of going on with
what only a slow machine would go on with."""

_ARCS = re.compile(r"^Info: Routing (\d+) arcs\.$", re.M)

_ROW = re.compile(r"^Info:\s+(\d+) \|\s+\d+\s+\d+ \|\s+\d+\s+\d+ \|\s+(\d+)\|", re.M)
"""Iterations and remaining arcs in a row of the router's table."""


class HopelessError(BuildError):
    """The router would take too long; another seed makes another placement."""


def hopeless(log: str) -> str | None:
    """Why a placement is to be given up, by nextpnr's log so far; None if it is not."""
    start = _ARCS.search(log)
    if not start:
        return None
    arcs = int(start[1])
    rows = [(0, arcs)]
    rows += [(int(found[1]), int(found[2])) for found in _ROW.finditer(log, start.end())]
    first = 0
    for done, remaining in rows:
        while first + 1 < len(rows) and done - rows[first + 1][0] >= WINDOW * arcs:
            first += 1
        before, more = rows[first]
        if done - before < WINDOW * arcs or not remaining:
            continue
        pace = max((more - remaining) / (done - before), 0)
        if done + remaining / max(pace, 1e-3) > MOST_ITERATIONS * arcs:
            return (
                f"after {done:,} iterations {remaining:,} of {arcs:,} wires are left,"
                f" and {pace:.2f} fewer with each"
            )
    return None


class Watch:
    """Is asked every now and then while nextpnr runs, and once when it is done.

    Args:
        log: of nextpnr.
        board, seed: for the message.
        clock: seconds, from any origin.
    """

    def __init__(
        self, log: Path, board: str, seed: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._log, self._board, self._seed = log, board, seed
        self._clock = clock
        self._end = clock() + LIMIT_S

    def __call__(self) -> None:
        """Looks at the log, and then at the time.

        Raises:
            HopelessError: another seed is better.
            BuildError: it takes too long, though it looks well.
        """
        reason = hopeless(self._log.read_text("utf-8", "replace"))
        if reason:
            raise HopelessError(
                f"the wires of {self._board} find no way with seed {self._seed}: {reason}",
                f"log: {self._log}",
            )
        if self._clock() > self._end:
            raise BuildError(
                f"nextpnr has not placed and routed {self._board} with seed {self._seed}"
                f" in {LIMIT_S / 3600:g} hours",
                f"--seed {self._seed + 1} goes on with another placement; log: {self._log}",
            )
