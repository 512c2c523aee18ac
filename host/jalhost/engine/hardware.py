"""Targets with a device at the other end of a link: boards, and simulators reached like boards."""

from collections.abc import Generator
from pathlib import Path

from jalhost.device import Device, Report, read_fingerprint
from jalhost.engine.target import Provenance, Request, Sampled, TargetInfo
from jalhost.errors import UsageError
from jalhost.links.open import open_link
from jalhost.models.blob import build_blob
from jalhost.models.image import Image


def device_info(name: str, device: Device, gateware: str = "") -> TargetInfo:
    """What a target is whose device says who it is."""
    identity = device.identity
    provenance = Provenance.SIMULATED if identity.simulated else Provenance.MEASURED
    config = identity.config
    return TargetInfo(
        name,
        provenance,
        identity.clock_hz,
        identity.port_bytes,
        config.lanes,
        config.tokens,
        gateware,
    )


def run_on(device: Device, request: Request) -> Generator[Sampled, None, None]:
    """Runs a request on a device that has its image loaded.

    Raises:
        UsageError: the device has too few token rows.
    """
    request.check(device.identity.config.tokens)
    clock_hz = device.identity.clock_hz
    entries = device.run(
        request.prompts, request.max_tokens, request.sampling, request.drafts, request.position
    )
    for entry in entries:
        yield Sampled(entry.token, entry.cycles / clock_hz, entry.cycles, entry.stream)


class Board:
    """The targets ``uart:PORT``, ``eth:HOST`` and ``pcie[:ADDRESS]``.

    Args:
        name: as :func:`jalhost.links.open.open_link` takes it.
        report: takes lines of progress.
        soc: ``soc.json`` of the build that the device should be; None takes any.
    """

    def __init__(self, name: str, report: Report, soc: Path | None = None) -> None:
        self._name = name
        self._report = report
        expected = read_fingerprint(soc) if soc else None
        link = open_link(name)
        try:
            self.device = Device(link, expected)
        except BaseException:
            link.close()
            raise
        self._loaded = False

    @property
    def info(self) -> TargetInfo:
        """Measured, unless the device says that it is a simulation."""
        return device_info(self._name, self.device)

    def load(self, image: Image) -> None:
        """Sends the image, has it checked, and makes it the one to run."""
        blob = build_blob(image, self.device.identity.config)
        self.device.transfer_image(blob, self._report)
        self.device.load()
        self._loaded = True

    def run(self, request: Request) -> Generator[Sampled, None, None]:
        """Yields sampled tokens with the device's cycle stamps.

        Raises:
            UsageError: no image is loaded.
        """
        if not self._loaded:
            raise UsageError("no model is loaded")
        yield from run_on(self.device, request)

    def counters(self) -> dict[str, int]:
        """The engine's counters since the last run began."""
        return self.device.counters()

    def close(self) -> None:
        """Gives the port back."""
        self.device.close()
