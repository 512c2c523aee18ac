"""Waiting until a board answers as the build that was flashed."""

import logging
import time
from collections.abc import Callable

from jalhost.device import Device, Identity
from jalhost.errors import DeviceError, LinkError
from jalhost.links.link import Link

PATIENCE_S = 30.0
"""An FPGA loads itself from flash memory within seconds; the port comes back after that."""

LOOK_S = 0.25

_log = logging.getLogger(__name__)


def wait_until_ready(
    open_link: Callable[[], Link], fingerprint: int, patience_s: float = PATIENCE_S
) -> Identity:
    """Identity of the board behind a link, once it is the build with this fingerprint.

    The port may vanish and come back meanwhile: on some boards it is the cable, too.

    Raises:
        LinkError: nothing answers in time.
        DeviceError: what answers is another build, or its firmware does not start.
    """
    deadline = time.monotonic() + patience_s
    while True:
        try:
            return _identify(open_link(), fingerprint)
        except (LinkError, DeviceError) as error:
            if time.monotonic() > deadline:
                if isinstance(error, DeviceError):
                    raise
                raise LinkError(
                    f"the board does not answer after flashing: {error.what}",
                    "is --target its port? --no-wait does not look",
                ) from error
            _log.debug("not yet: %s", error)
        time.sleep(LOOK_S)


def _identify(link: Link, fingerprint: int) -> Identity:
    try:
        return Device(link, fingerprint).identity
    finally:
        link.close()
