"""The targets ``sim`` and ``sim:LINK``: the whole system in a Verilog simulator."""

import tempfile
from collections.abc import Generator
from pathlib import Path

from jalgateware.contract.config import STANDARD, EngineConfig
from jalgateware.contract.memory_map import IMAGE_OFFSET
from jalgateware.golden.rounding import Integers
from jalhost.device import Device, Report
from jalhost.dram import read_logits
from jalhost.engine.gateware import Gateware
from jalhost.engine.hardware import device_info, run_on
from jalhost.engine.simulator_process import (
    BOOT_TIMEOUT_S,
    PATIENCE_S,
    Ready,
    SimulatorProcess,
)
from jalhost.engine.target import Provenance, Request, Sampled, TargetInfo
from jalhost.errors import NO_LOGITS, LinkError, UsageError
from jalhost.links.link import Link
from jalhost.links.open import open_link
from jalhost.models.blob import Blob, build_blob
from jalhost.models.image import Image

LINK_TIMEOUT_S = 30.0

DEFAULT_GATEWARE = Gateware()


def open_simulator(ready: Ready, way: str, timeout_s: float = LINK_TIMEOUT_S) -> Link:
    """A link to a running simulator by the way that it was started for.

    Raises:
        LinkError: it does not answer.
    """
    if way.startswith("pcie"):
        from jalhost.links.pcie_tlp import open_pcie_packets

        assert ready.pcie, "a simulator with PCIe names its port"
        return open_pcie_packets(ready.pcie, timeout_s, dma=way == "pcie-dma")
    name = {"": ready.tcp, "uart": ready.pty, "eth": ready.udp}[way]
    assert name, "a simulator names what it was asked for"
    return open_link(name, timeout_s)


class Simulator:
    """Simulates a system; the simulator starts with the first image.

    Args:
        name: ``sim``: the image lies in DRAM from the start. ``sim:uart``, ``sim:eth`` and
            ``sim:pcie``: it goes over the simulated UART, Ethernet or PCIe, as to a board;
            ``sim:pcie-dma``: the device fetches it by itself.
        report: takes lines of progress.
        config: the engine to simulate.
        gateware: the system around it (``system``), and how both differ from the default, for
            people (``text``).
        link: what the image goes over where that is not the UART: ``pcie``, or ``pcie-dma``, where
            the device fetches it by itself.
    """

    def __init__(
        self,
        name: str,
        report: Report,
        config: EngineConfig = STANDARD,
        gateware: Gateware = DEFAULT_GATEWARE,
        link: str = "",
    ) -> None:
        self._name = name
        self._way = name.partition(":")[2]
        self._report = report
        self._config = config
        self._gateware = gateware
        self.process: SimulatorProcess | None = None
        self.device: Device | None = None
        self._vocabulary: int | None = None

    @property
    def info(self) -> TargetInfo:
        """Always simulated; the clock is known once an image is loaded."""
        if self.device is None:
            return TargetInfo(
                self._name,
                Provenance.SIMULATED,
                token_rows=self._config.tokens,
                gateware=self._gateware.text,
                mxfp4=self._config.mxfp4,
                logits=self._config.logits,
                noise=self._config.noise,
            )
        return device_info(self._name, self.device, self._gateware.text)

    def load(self, image: Image) -> None:
        """Starts a simulator with this image, or sends it to the one that runs already.

        What lies in DRAM from the start is not checked: that would take longer than a few tokens.

        Raises:
            BuildError: the simulator cannot be built or does not start.
            DeviceError: the simulated device does not work.
        """
        blob = build_blob(image, self._config)
        in_place = self.device is None and not self._way
        device = self.device or self._start(blob)
        self.device = device
        try:
            if not in_place:
                device.transfer_image(blob, self._report)
            device.load()
        except LinkError as error:
            self._explain(error)
            raise
        self._vocabulary = image.plan.architecture.vocabulary

    def start(self) -> None:
        """Starts a simulator without an image, unless one runs: for what needs a device alone.

        Raises:
            BuildError: the simulator cannot be built or does not start.
            DeviceError: the simulated device does not work.
        """
        self.device = self.device or self._start(None)

    def run(self, request: Request) -> Generator[Sampled, None, None]:
        """Yields sampled tokens with the simulated system's cycle stamps.

        Raises:
            UsageError: no image is loaded.
            DeviceError: the simulator ended.
        """
        if self.device is None:
            raise UsageError("no model is loaded")
        try:
            yield from run_on(self.device, request)
        except LinkError as error:
            self._explain(error)
            raise

    def counters(self) -> dict[str, int] | None:
        """The engine's counters since the last run began; None before an image is loaded."""
        return self.device.counters() if self.device else None

    def logits(self) -> Integers:
        """Logits (vocabulary,) VECTOR that the last run's token was drawn from.

        Raises:
            UsageError: it kept none.
        """
        if self.device is None or self._vocabulary is None:
            raise UsageError(NO_LOGITS)
        return read_logits(self.device, self._vocabulary)

    def close(self) -> None:
        """Ends the simulator."""
        if self.device:
            self.device.close()
        if self.process:
            self.process.close()
        self.device = self.process = None

    def _start(self, blob: Blob | None) -> Device:
        self.close()  # one that did not get ready
        process = self._start_process(blob)
        try:
            link = open_simulator(process.ready, self._way)
            return Device(link, process.ready.fingerprint, BOOT_TIMEOUT_S, PATIENCE_S)
        except LinkError as error:
            self._explain(error)
            raise

    def _start_process(self, blob: Blob | None) -> SimulatorProcess:
        """Returns a simulator that runs, with an image in its DRAM if it may lie there."""
        with tempfile.NamedTemporaryFile(prefix="jalhost-", suffix=".blob") as file:
            preload = None if self._way or blob is None else Path(file.name)
            if preload and blob:
                file.write(blob.data)
                file.flush()
            needed = IMAGE_OFFSET + (blob.memory_for(self._config.tokens) if blob else 0)
            link, system = self._way.partition("-")[0], self._gateware.system
            process = SimulatorProcess(self._config, preload, link, needed, system)
            # In this object's hands before the wait: an interrupt closes it.
            self.process = process
            process.wait_until_ready(self._report)
        return process

    def _explain(self, error: LinkError) -> None:
        """Raises the better error where the link broke because the simulator ended."""
        if self.process and (ended := self.process.ended()):
            raise ended from error
