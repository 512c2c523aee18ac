"""A target in front of a device that a test has connected to in its own way."""

from collections.abc import Generator

from jalgateware.golden.rounding import Integers
from jalhost.device import Device
from jalhost.dram import read_logits
from jalhost.engine.hardware import device_info, run_on
from jalhost.engine.target import Request, Sampled, TargetInfo
from jalhost.models.blob import build_blob
from jalhost.models.image import Image


class DeviceTarget:
    """What :class:`jalhost.engine.hardware.Board` is, but for how it is connected."""

    def __init__(self, device: Device) -> None:
        self.device = device
        self._vocabulary = 0

    @property
    def info(self) -> TargetInfo:
        return device_info("device", self.device)

    def load(self, image: Image) -> None:
        blob = build_blob(image, self.device.identity.config)
        self.device.transfer_image(blob, lambda _: None)
        self.device.load()
        self._vocabulary = image.plan.architecture.vocabulary

    def run(self, request: Request) -> Generator[Sampled, None, None]:
        yield from run_on(self.device, request)

    def counters(self) -> dict[str, int]:
        return self.device.counters()

    def logits(self) -> Integers:
        return read_logits(self.device, self._vocabulary)

    def close(self) -> None:
        self.device.close()
