"""How a device is reached: on a board's link, or in a simulator that is started for it."""

import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from jalhost.bringup.build import Build, build_of_files
from jalhost.engine.gateware import Gateware
from jalhost.engine.simulator_process import BOOT_TIMEOUT_S, PATIENCE_S
from jalhost.errors import UsageError
from jalhost.identity import Identity
from jalhost.links.link import ByteStream, Link
from jalhost.progress import Report

if TYPE_CHECKING:
    from jalhost.engine.simulator_process import SimulatorProcess

DRAM_BYTES = 32 << 20
"""Of a simulated board."""

SILENCE_S = 0.002
"""In simulated time: a system that is silent for so long lost the request, however busy this
computer is."""

SLICE_S = 0.1
"""Between two looks at the simulated time."""

BOARD_BOOT_TIMEOUT_S = 10.0
"""How long a board's firmware may take to start."""

BOARD_PATIENCE_S = 5.0
"""How long its heartbeat may stand still."""


class Access(Protocol):
    """A way to a device.

    ``simulated``: whether it is in a simulator; ``build``: what the device should be, None where
    nobody knows; ``sensors``: names of those that it should have; ``boot_timeout_s``,
    ``patience_s``: as :class:`jalhost.device.Device` takes them.
    """

    simulated: bool
    boot_timeout_s: float
    patience_s: float

    @property
    def build(self) -> Build | None:
        """The build that it should be."""

    @property
    def sensors(self) -> tuple[str, ...]:
        """Sensors that it should have."""

    def open(self, probing: bool = False) -> Link:
        """Opens the link. ``probing``: its faults shall show soon, rather than be waited for.

        Raises:
            LinkError: nothing answers.
        """

    def settle(self, link: Link, identity: Identity) -> None:
        """Makes the link as fast as it can be, once it is known who is there."""

    def time(self) -> tuple[int | None, float]:
        """Cycles of the simulated system (None for a device), and seconds that passed there."""

    def close(self) -> None:
        """Gives back what is not the link's."""


class PatientStream:
    """A byte stream from a simulator, with timeouts in simulated time.

    Args:
        stream: what it waits for.
        now: simulated seconds.
    """

    def __init__(self, stream: ByteStream, now: Callable[[], float]) -> None:
        self._stream = stream
        self._now = now
        self.description = stream.description
        self.baud = None

    def receive(self, most: int, timeout_s: float) -> bytes:
        """Returns what is there; empty if nothing came within the simulated time."""
        end = self._now() + timeout_s
        while not (data := self._stream.receive(most, SLICE_S)):
            if self._now() > end:
                # What the simulator sent before it said so is here.
                return self._stream.receive(most, SLICE_S)
        return data

    def send(self, data: bytes) -> None:
        """Sends all of the data."""
        self._stream.send(data)

    def drain(self) -> None:
        """Returns when everything has left."""
        self._stream.drain()

    def discard_input(self) -> None:
        """Throws away what has arrived."""
        self._stream.discard_input()

    def close(self) -> None:
        """Gives the stream back."""
        self._stream.close()


def probing_link(name: str, now: Callable[[], float]) -> Link:
    """A UARTBone link to a simulator whose faults show soon. ``name``: ``uart:...``.

    Raises:
        LinkError: it does not listen.
    """
    from jalhost.links.open import MARK_ADDRESS, open_stream
    from jalhost.links.uartbone import UartBone

    stream = PatientStream(open_stream(name.partition(":")[2]), now)
    return UartBone(stream, SILENCE_S, mark_address=MARK_ADDRESS)


def pause(access: Access, seconds: float) -> None:
    """Waits until so much time has passed where the device is."""
    end = access.time()[1] + seconds
    while (left := end - access.time()[1]) > 0:
        time.sleep(0.02 if access.simulated else left)


@dataclass
class BoardAccess:
    """A board by its target name. ``report``: takes lines of progress."""

    target: str
    report: Report
    build: Build | None
    sensors: tuple[str, ...] = ()
    simulated: bool = False
    boot_timeout_s: float = BOARD_BOOT_TIMEOUT_S
    patience_s: float = BOARD_PATIENCE_S

    def open(self, probing: bool = False) -> Link:
        """Opens the link; a serial port is found where it is not named."""
        from jalhost.links.open import connect

        return connect(self.target, self.report)[0]

    def settle(self, link: Link, identity: Identity) -> None:
        """Tunes a serial port's rate."""
        from jalhost.links.serial_link import SerialLink

        if isinstance(link, SerialLink) and identity.tunable:
            link.tune(identity.clock_hz)

    def time(self) -> tuple[int | None, float]:
        """The computer's clock."""
        return None, time.monotonic()

    def close(self) -> None:
        """Nothing but the link is open."""


@dataclass
class SimulatorAccess:
    """A simulator, started when it is first needed.

    ``way``: what leads to it (empty, ``uart``, ``eth``, ``pcie``, ``pcie-dma``).
    """

    way: str
    report: Report
    gateware: Gateware
    fault: str = ""
    simulated: bool = True
    boot_timeout_s: float = BOOT_TIMEOUT_S
    patience_s: float = PATIENCE_S
    _process: "SimulatorProcess | None" = None
    _build: Build | None = field(default=None, repr=False)

    @property
    def process(self) -> "SimulatorProcess":
        """The simulator, which runs.

        Raises:
            BuildError: it cannot be built or does not start.
        """
        from jalhost.engine.simulator_process import SimulatorProcess, simulated_engine

        if self._process is None:
            config = simulated_engine(self.gateware)
            system = dict(self.gateware.system) | ({"fault": self.fault} if self.fault else {})
            link = self.way.partition("-")[0]
            self._process = SimulatorProcess(config, None, link, DRAM_BYTES, system)
            self._process.wait_until_ready(self.report)
        return self._process

    @property
    def build(self) -> Build:
        """What the simulator says that it is."""
        if self._build is None:
            ready = self.process.ready
            self._build = build_of_files(ready.fingerprint, ready.csr_json, ready.soc_json)
        return self._build

    @property
    def sensors(self) -> tuple[str, ...]:
        """What the simulated board names."""
        return self.process.ready.sensors

    def open(self, probing: bool = False) -> Link:
        """Opens the link that the simulator was started with."""
        from jalhost.engine.simulator import open_simulator

        ready = self.process.ready
        serial = {"": ready.tcp, "uart": ready.pty}.get(self.way)
        if probing and serial:
            return probing_link(serial, lambda: self.time()[1])
        return open_simulator(ready, self.way)

    def settle(self, link: Link, identity: Identity) -> None:
        """It is as fast as it can be."""

    def time(self) -> tuple[int | None, float]:
        """Cycles of the harness, and what these are in simulated time."""
        return self.process.time()

    def close(self) -> None:
        """Ends the simulator."""
        if self._process:
            with contextlib.suppress(OSError):
                self._process.close()
        self._process = None


def check_target(target: str, gateware: Gateware, fault: str) -> None:
    """Refuses what a target cannot have, before anybody reserves it.

    Raises:
        UsageError: there is nothing to bring up on it, or nothing to simulate.
    """
    from jalhost.engine.targets import SIMULATORS

    if target == "emu":
        raise UsageError(
            "the emulator has no layers that could be broken: it is what others are compared with",
            "use --target sim, or a board",
        )
    if target not in SIMULATORS and (gateware.text or fault):
        option = "--fault" if fault else "--gateware"
        raise UsageError(f"{option} is for simulators", "use --target sim")


def open_access(
    target: str, report: Report, build: Build | None, gateware: Gateware, fault: str
) -> Access:
    """The way to a target that was checked; nothing is opened or started yet.

    Raises:
        UsageError: there is no such target.
    """
    from jalhost.engine.targets import SIMULATORS, require_simulation
    from jalhost.links.open import names_board

    if target in SIMULATORS:
        require_simulation()
        return SimulatorAccess(target.partition(":")[2], report, gateware, fault)
    if names_board(target):
        return BoardAccess(target, report, build)
    raise UsageError(f"there is no target {target!r}", "see `jalhost targets`")
