"""Waiting until a board answers as the build that was flashed."""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass

from jalhost.bundle_manifest import Manifest
from jalhost.device import Device, Report
from jalhost.errors import DeviceError, LinkError, UsageError
from jalhost.identity import Identity
from jalhost.links import open as links
from jalhost.links import pcie_bar
from jalhost.links.link import Link

PATIENCE_S = 30.0
"""An FPGA loads itself from flash memory within seconds; the port comes back after that."""

LOOK_S = 0.25

TARGETS = "uart:PORT, eth[:HOST] or pcie[:ADDRESS]"

_log = logging.getLogger(__name__)


def _leave() -> None:
    """A board on a port or on a network comes back by itself."""


@dataclass(frozen=True)
class Way:
    """How a flashed board is reached.

    ``target``: as other commands take it; ``revive``: what may bring it back, after it has not
    answered; ``hint``: where it does not come back.
    """

    target: str
    revive: Callable[[], None] = _leave
    hint: str = "is --target its port? --no-wait does not look"

    def open(self) -> Link:
        """A link to it.

        Raises:
            LinkError: it does not answer.
        """
        return links.open_link(self.target)


def way_to(target: str, manifest: Manifest, report: Report) -> Way:
    """How a board with a bundle's build is reached; its address may be left to the bundle.

    ``report``: takes what the user should do meanwhile.

    Raises:
        UsageError: the target is no board, or the build has no such link.
    """
    kind, colon, place = target.partition(":")
    known = kind in links.LINKS and bool(place) == bool(colon)
    if not known or (kind == "uart" and not place):
        raise UsageError(f"{target!r} is not a board on a port", f"--target {TARGETS}")
    if kind not in manifest.links:
        raise UsageError(
            f"this build cannot be reached by {kind}", f"its links: {', '.join(manifest.links)}"
        )
    if kind == "eth":
        return Way(
            f"eth:{place or manifest.ethernet}",
            hint="is it on this network, and --target its address? --no-wait does not look",
        )
    if kind == "pcie":
        return Way(f"pcie:{place}", _Rescan(place, report), "sudo jalhost pcie rescan")
    return Way(target)


class _Rescan:
    """Has the kernel look for a device that was configured anew; says so where it may not."""

    def __init__(self, address: str, report: Report) -> None:
        self._address, self._report, self._told = address, report, False

    def __call__(self) -> None:
        try:
            pcie_bar.revive(self._address, pcie_bar.SYSFS)
        except LinkError as error:
            if not self._told:
                self._report(f"the kernel must look for the board again: {error}")
            self._told = True


def wait_until_ready(
    open_link: Callable[[], Link],
    fingerprint: int,
    patience_s: float = PATIENCE_S,
    *,
    revive: Callable[[], None] = _leave,
    hint: str = Way.hint,
) -> Identity:
    """Identity of the board behind a link, once it is the build with this fingerprint.

    The port may vanish and come back meanwhile: on some boards it is the cable, too. ``revive`` is
    called whenever the board has not answered.

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
                    hint,
                ) from error
            _log.debug("not yet: %s", error)
            revive()
        time.sleep(LOOK_S)


def _identify(link: Link, fingerprint: int) -> Identity:
    try:
        return Device(link, fingerprint).identity
    finally:
        link.close()
