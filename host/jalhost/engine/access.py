"""Direct access to a target's bus: registers and memories by name, without a model."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from jalhost.device import Device, Report
from jalhost.engine.gateware import Gateware, parse_gateware
from jalhost.engine.targets import SIMULATORS, require_simulation, target_address
from jalhost.errors import BundleError, DeviceError, UsageError
from jalhost.identity import read_device_fingerprint
from jalhost.links.link import Link
from jalhost.links.open import connect, names_board
from jalhost.register_map import CSR_JSON, Register, RegisterMap, contract_map, read_map

ANALYZER_CSV = "analyzer.csv"

NAME_THE_BUNDLE = "name the bundle that the device was flashed with, by --bundle FILE.jalb"


@dataclass(frozen=True)
class Maps:
    """What a build says of itself. ``analyzer``: signals of its scope, where it has one."""

    registers: RegisterMap
    fingerprint: int | None
    analyzer: bytes | None
    source: str


@dataclass
class Access:
    """A device's bus.

    Args:
        name: the target's.
        link: the way to it.
        maps: of its build, None where nobody named it.
        ready_timeout_s: how long its firmware may take to start.
        patience_s: how long its firmware's heartbeat may stand still.
    """

    name: str
    link: Link
    maps: Maps | None
    ready_timeout_s: float = 10.0
    patience_s: float = 5.0

    @cached_property
    def device(self) -> Device:
        """The firmware behind it; waits for it.

        Raises:
            DeviceError: it does not start, or does not work.
        """
        return Device(self.link, None, self.ready_timeout_s, self.patience_s)

    @property
    def named(self) -> RegisterMap:
        """Registers by name.

        Raises:
            UsageError: nobody named the build.
        """
        if self.maps is None:
            raise UsageError(f"which registers has {self.name}?", NAME_THE_BUNDLE)
        return self.maps.registers

    @cached_property
    def memories(self) -> RegisterMap:
        """Memories: of the build, or those that every build has."""
        if self.maps:
            return self.maps.registers
        return contract_map(self.device.identity.dram_bytes)

    def read_register(self, register: Register) -> int:
        """A register's value."""
        return register.value(self.link.read(register.address, register.words))

    def write_register(self, register: Register, value: int) -> None:
        """Writes a register.

        Raises:
            UsageError: it takes no writes, or not this value.
        """
        self.link.write(register.address, register.split(value))


def bundle_maps(path: Path) -> Maps:
    """The maps in a bundle.

    Raises:
        BundleError: it is damaged, or has none.
    """
    from jalhost.bundle import open_bundle

    bundle = open_bundle(path)
    registers = read_map(bundle.member(CSR_JSON), f"{path}, {CSR_JSON}")
    return Maps(registers, bundle.fingerprint, bundle.members.get(ANALYZER_CSV), str(path))


@contextmanager
def open_access(
    name: str, report: Report, bundle: Path | None = None, gateware: str | None = None
) -> Iterator[Access]:
    """Opens a target's bus, and closes it behind the block; simulators are started for it.

    Args:
        name: the target's.
        report: takes lines of progress.
        bundle: of the build that a board has; another build is refused.
        gateware: what to simulate.

    Raises:
        UsageError: the target has no bus, or there is no such target.
        DeviceError: the device is another build than the bundle.
        LinkError: the link does not work.
    """
    if name == "emu":
        raise UsageError("the emulator has no bus and no registers", "use --target sim or a board")
    with ExitStack() as stack:
        if name in SIMULATORS:
            if bundle:
                raise UsageError("a simulator knows its own registers", "drop --bundle")
            access = _start_simulator(name, report, gateware, stack)
        else:
            if gateware:
                raise UsageError(
                    "a board has the gateware that it was built with", "drop --gateware"
                )
            place = stack.enter_context(target_address(name, report))
            access = _open_board(place, report, bundle, stack)
        yield access


def _start_simulator(name: str, report: Report, gateware: str | None, stack: ExitStack) -> Access:
    from jalhost.engine.simulator import open_simulator
    from jalhost.engine.simulator_process import (
        BOOT_TIMEOUT_S,
        PATIENCE_S,
        SimulatorProcess,
        simulated_engine,
    )

    require_simulation()
    asked = parse_gateware(gateware) if gateware else Gateware()
    way = name.partition(":")[2]
    config = simulated_engine(asked)
    process = SimulatorProcess(config, None, way.partition("-")[0], 0, asked.system)
    stack.callback(process.close)
    process.wait_until_ready(report)
    ready = process.ready
    link = open_simulator(ready, way)
    stack.callback(link.close)
    maps = _simulator_maps(ready.csr_json, ready.fingerprint) if ready.csr_json else None
    access = Access(name, link, maps, BOOT_TIMEOUT_S, PATIENCE_S)
    # Before it, the firmware itself is at work on DRAM and registers.
    assert access.device.identity
    return access


def _simulator_maps(path: Path, fingerprint: int) -> Maps:
    """The maps that are kept with a simulator's build."""
    analyzer = path.parent / ANALYZER_CSV
    signals = analyzer.read_bytes() if analyzer.is_file() else None
    return Maps(read_map(path.read_bytes(), str(path)), fingerprint, signals, str(path))


def _open_board(name: str, report: Report, bundle: Path | None, stack: ExitStack) -> Access:
    if not names_board(name):
        raise UsageError(f"there is no target {name!r}", "jalhost targets lists them")
    maps = bundle_maps(bundle) if bundle else None
    link, _ = connect(name, report, maps.fingerprint if maps else None)
    stack.callback(link.close)
    if maps:
        found = read_device_fingerprint(link)
        if found != maps.fingerprint:
            raise DeviceError(
                f"{link.description} is another build than {maps.source}: its fingerprint is"
                f" {found:016x}, the bundle's {maps.fingerprint:016x}",
                "name the bundle that it was flashed with",
            )
    return Access(name, link, maps)


def require_scope(maps: Maps | None, name: str) -> bytes:
    """The signals of a build's scope.

    Raises:
        UsageError: nobody named the build.
        BundleError: it has no scope.
    """
    if maps is None:
        raise UsageError(f"which signals has {name}?", NAME_THE_BUNDLE)
    if maps.analyzer is None:
        raise BundleError(
            f"the build {f'in {maps.source}' if name == maps.source else f'on {name}'} has no logic"
            " analyzer",
            "jalhost build BOARD --with-scope adds it; in simulation --gateware scope=true",
        )
    return maps.analyzer
