"""USB serial adapters that hold answers back: FTDI's latency timer, 16 ms unless told otherwise.

A short answer waits that long in the adapter for more bytes. The timer is a file in Linux's sysfs;
the serial driver's low-latency mode (ASYNC_LOW_LATENCY) sets it to 1 ms, too.
"""

import logging
from collections.abc import Callable
from pathlib import Path

SYSFS = Path("/sys")

BEST_MS = 1

_log = logging.getLogger(__name__)


def lower_latency(
    port: str, set_low_latency: Callable[[bool], None], sysfs: Path = SYSFS
) -> str | None:
    """Makes an adapter answer at once; returns a hint for people where it may not.

    ``set_low_latency``: pyserial's method of the open port. Ports without such a timer are left
    alone.
    """
    timer = sysfs / "bus/usb-serial/devices" / Path(port).resolve().name / "latency_timer"
    before = _milliseconds(timer)
    if before is None or before <= BEST_MS:
        return None
    try:
        timer.write_text(str(BEST_MS), encoding="ascii")
    except OSError as error:
        _log.debug("cannot write %s: %s", timer, error)
        try:
            set_low_latency(True)
        except (OSError, ValueError, NotImplementedError, AttributeError) as failure:
            _log.debug("no low-latency mode: %s", failure)
    now = _milliseconds(timer)
    if now is None or now <= BEST_MS:
        return None
    return f"{port} holds answers back for {now} ms: echo {BEST_MS} | sudo tee {timer}"


def _milliseconds(timer: Path) -> int | None:
    try:
        return int(timer.read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None
