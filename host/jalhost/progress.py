"""How work that takes time tells people of it."""

import time
from collections.abc import Callable

Report = Callable[[str], None]
"""Takes a line for people; a :class:`Progress` only counts until the next one."""

WARM_UP_S = 0.3
"""Before that, a rate would be a guess."""


class Progress(str):
    """A line that says how far something is; the next such line replaces it.

    ``share``: 0 to 1.
    """

    share: float

    def __new__(cls, text: str, share: float) -> "Progress":
        """A line with a number beside it."""
        line = super().__new__(cls, text)
        line.share = share
        return line


class Meter:
    """Measures how fast bytes go, and how long the rest will take.

    Args:
        total: bytes in all.
        done: what has happened to those that are done.
    """

    def __init__(self, total: int, done: str = "sent") -> None:
        self._total = total
        self._verb = done
        self._start = time.monotonic()

    def progress(self, done: int) -> Progress:
        """The line for so many bytes that have gone."""
        elapsed = time.monotonic() - self._start
        share = done / self._total if self._total else 1.0
        text = f"{share:4.0%} {self._verb}"
        if elapsed > WARM_UP_S and done:
            rate = done / elapsed
            left = (self._total - done) / rate
            text += f", {rate / 1000:,.0f} kB/s, {duration(left)} left"
        return Progress(text, share)


def duration(seconds: float) -> str:
    """``0:07``, ``12:30`` or ``1:02:03``."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
