"""What a board is: facts as data, and the hardware that litex_boards knows of it."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from importlib import import_module
from typing import Any

from jalboards.links import Ethernet, Pcie
from jalboards.sensors import Sensors
from jalgateware.contract import memory_map
from jalgateware.contract.config import EngineConfig
from jalsoc.cpu import CONSOLE_BYTES, DEFAULT_CPU
from jalsoc.dram import DramKind, speed_grade
from jalsoc.ooc_tools import DENSITY

MIB = 1 << 20


class Flow(StrEnum):
    """The tools that build a board. Vivado's projects are written, not run."""

    ECP5 = "ecp5"
    GOWIN = "gowin"
    VIVADO = "vivado"


@dataclass(frozen=True)
class Dram:
    """The DRAM on a board.

    ``chip``: its class in :mod:`litedram.modules`; ``data_bits``: data lines of all chips together;
    ``rate``: DRAM clock to system clock, as 1:n; ``bytes``: size.
    """

    chip: str
    data_bits: int
    rate: str
    bytes: int

    @property
    def kind(self) -> DramKind:
        """The interface."""
        return DramKind(self.title, (self.chip,), self.data_bits, self.rate)

    @property
    def single_rate(self) -> bool:
        """SDR SDRAM; the others here are DDR3."""
        return self.rate == "1:1"

    @property
    def title(self) -> str:
        """For tables."""
        return f"{'SDR' if self.single_rate else 'DDR3'} x{self.data_bits}"

    @property
    def port_bytes(self) -> int:
        """Width of the controller's port: what a burst moves, of one (SDR) or eight (DDR3)."""
        return self.data_bits * (1 if self.single_rate else 8) // 8

    @property
    def bytes_per_cycle(self) -> int:
        """What the chips move at most in a cycle of the system; less than a port word at 1:2."""
        return self.kind.port_bytes


@dataclass(frozen=True)
class Flash:
    """How a bitstream gets onto the board: openFPGALoader's name of it, or of the cable.

    ``usb``: the ids under which the board shows up, as ``vvvv:pppp``.
    """

    usb: tuple[str, ...]
    board: str | None = None
    cable: str | None = None


@dataclass
class Hardware:
    """A board's parts in a design: all from litex_boards."""

    platform: Any
    crg: Any
    chip: Any
    phy: Any


@dataclass(frozen=True)
class Board(ABC):
    """A board that the system can be built for.

    Args:
        name: on the command line.
        title: for people.
        target: module of :mod:`litex_boards.targets`.
        part: the FPGA, as its maker writes it.
        idcode: what its JTAG port says it is.
        dram: what is on the board.
        clock_hz: of the system, for which the board is built where nothing else is said.
        engine: sizes that fit the FPGA at this clock.
        flash: how it is programmed.
        ethernet: what is on the board; built where it is asked for.
        pcie: likewise, or built unless it is refused.
        sensors: what it measures by itself; built where it is asked for.
        rom_bytes: size of the firmware's memory.
        cpu: which of :data:`jalsoc.cpu.CPUS`.
        console_bytes: console output that waits for a reader.
        luts: of an FPGA of Gowin, whose flip-flops take LUTs as well.
        serial: the UART's name in the platform.
        seed: of the placer.
        placer: nextpnr's ``heap`` or ``static``, whose wires are shorter in crowded designs; or
            ``spread``, on a full LFE5U-85F: the second one twice (:mod:`jalsoc.ram_rows`).
        density: share of a region's cells that ``heap`` fills at most on an ECP5: more than the
            design takes of the FPGA, and little enough for its wires.
        options: arguments of the platform's class.
    """

    name: str
    title: str
    target: str
    part: str
    idcode: int
    dram: Dram
    clock_hz: int
    engine: EngineConfig
    flash: Flash
    ethernet: Ethernet | None = None
    pcie: Pcie | None = None
    sensors: Sensors | None = None
    rom_bytes: int = memory_map.ROM.size
    cpu: str = DEFAULT_CPU
    console_bytes: int = CONSOLE_BYTES
    luts: int | None = None
    serial: str = "serial"
    seed: int = 1
    placer: str = "heap"
    density: float = DENSITY
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    @abstractmethod
    def flow(self) -> Flow:
        """The tools that build it."""

    @property
    def tier(self) -> int:
        """1: built to a bitstream; 2: a project for the maker's tools, its area estimated."""
        return 2 if self.flow is Flow.VIVADO else 1

    @property
    def links(self) -> tuple[str, ...]:
        """What a host can be connected by; the one first that is meant for it."""
        first = ("pcie",) if self.pcie and self.pcie.default else ()
        asked = ("eth",) * bool(self.ethernet) + ("pcie",) * bool(self.pcie)
        return tuple(dict.fromkeys((*first, "uart", *asked)))

    @property
    def peak_bytes_per_s(self) -> int:
        """What the DRAM moves at most at the board's clock."""
        return self.dram.bytes_per_cycle * self.clock_hz

    def target_module(self) -> Any:
        """litex_boards' module, which has the platform, the clocks and the PHYs."""
        return import_module(f"litex_boards.targets.{self.target}")

    def platform(self) -> Any:
        """Pins and constraints."""
        return getattr(self.target_module(), self.target).Platform(**self.options)

    def chip(self, clock_hz: float) -> Any:
        """The DRAM's timing at a clock."""
        from litedram import modules

        chip = getattr(modules, self.dram.chip)
        kind = self.dram.kind
        grade = None if self.dram.single_rate else speed_grade(chip, kind, clock_hz)
        return chip(clock_hz, self.dram.rate, grade)

    @abstractmethod
    def hardware(self, clock_hz: int) -> Hardware:
        """Platform, clocks and DRAM, for a system at this clock."""

    def uart_pads(self, platform: Any) -> Any:
        """Pins of the UART."""
        return platform.request(self.serial)
