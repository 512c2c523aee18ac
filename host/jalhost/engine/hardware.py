"""Targets with a device at the other end of a link: boards, and simulators reached like boards."""

from collections.abc import Generator
from contextlib import closing
from pathlib import Path

from jalgateware.golden.rounding import Integers
from jalhost.device import Device, Report
from jalhost.dram import read_logits
from jalhost.engine.target import Provenance, Request, Sampled, TargetInfo
from jalhost.errors import NO_LOGITS, DeviceError, DeviceRestarted, UsageError
from jalhost.links.open import connect
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
        config.mxfp4,
        config.logits,
        config.noise,
    )


def run_on(device: Device, request: Request) -> Generator[Sampled, None, None]:
    """Runs a request on a device that has its image loaded.

    Raises:
        UsageError: the device has too few token rows or no noise, or cannot keep logits as asked.
    """
    config = device.identity.config
    request.check(config.tokens, config.noise)
    clock_hz = device.identity.clock_hz
    entries = device.run(
        request.prompts,
        request.max_tokens,
        request.sampling,
        request.drafts,
        request.position,
        request.logits,
    )
    for entry in entries:
        yield Sampled(entry.token, entry.cycles / clock_hz, entry.cycles, entry.stream)


def _fingerprint(path: Path) -> int:
    # Manifests of bundles take a library that is slow to import.
    from jalhost.bundle import read_fingerprint

    return read_fingerprint(path)


MAX_RESTARTS = 2
"""How often a device may start again in one generation."""


class Board:
    """The targets ``uart[:PORT]``, ``eth:HOST`` and ``pcie[:ADDRESS]``.

    Args:
        name: as :func:`jalhost.links.open.connect` takes it.
        report: takes lines of progress.
        soc: ``soc.json`` of the build that the device should be; None takes any.
    """

    def __init__(self, name: str, report: Report, soc: Path | None = None) -> None:
        self._report = report
        expected = _fingerprint(soc) if soc else None
        link, serial = connect(name, report, expected)
        self._name = f"uart:{link.description}" if serial else name
        try:
            self.device = Device(link, expected)
            if serial and self.device.identity.tunable:
                serial.tune(self.device.identity.clock_hz)
        except BaseException:
            link.close()
            raise
        self._image: Image | None = None

    @property
    def info(self) -> TargetInfo:
        """Measured, unless the device says that it is a simulation."""
        return device_info(self._name, self.device)

    def load(self, image: Image) -> None:
        """Sends the image, has it checked, and makes it the one to run."""
        blob = build_blob(image, self.device.identity.config)
        self.device.transfer_image(blob, self._report)
        self.device.load()
        self._image = image

    def run(self, request: Request) -> Generator[Sampled, None, None]:
        """Yields sampled tokens with the device's cycle stamps.

        Where the device starts again in the middle, the same request runs anew: the same tokens
        come, and go on behind those that came before. A request that continues a text does not:
        the device has lost the text. It gets its image again, and whoever asked knows the rest.

        Raises:
            UsageError: no image is loaded.
            DeviceError: it starts again too often, with other tokens, or while it continues a text.
        """
        if self._image is None:
            raise UsageError("no model is loaded")
        done: list[Sampled] = []
        for restarts in range(MAX_RESTARTS + 1):
            try:
                with closing(run_on(self.device, request)) as samples:
                    for index, sampled in enumerate(samples):
                        if index < len(done):
                            _compare(sampled, done[index], self._name)
                            continue
                        done.append(sampled)
                        yield sampled
                return
            except DeviceRestarted as error:
                if restarts == MAX_RESTARTS:
                    raise
                again = "" if request.position else ": running again what it was doing"
                self._report(f"{error.what}{again}")
                self.device.wait_until_ready()
                self.load(self._image)
                if request.position:
                    raise

    def counters(self) -> dict[str, int]:
        """The engine's counters since the last run began."""
        return self.device.counters()

    def logits(self) -> Integers:
        """Logits (vocabulary,) VECTOR that the last run's token was drawn from.

        Raises:
            UsageError: it kept none.
        """
        if self._image is None:
            raise UsageError(NO_LOGITS)
        return read_logits(self.device, self._image.plan.architecture.vocabulary)

    def close(self) -> None:
        """Gives the port back."""
        self.device.close()


def _compare(sampled: Sampled, before: Sampled, name: str) -> None:
    """Refuses to go on behind other tokens than those that came before.

    Raises:
        DeviceError: this one is another.
    """
    if (sampled.token, sampled.stream) != (before.token, before.stream):
        raise DeviceError(
            f"{name} started again, and now gives other tokens than before", "try again"
        )
