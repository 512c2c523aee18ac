"""What a simulator is built for."""

import json
from dataclasses import asdict, dataclass, replace
from typing import Any

from jalgateware.contract.config import STANDARD, EngineConfig
from jalhost.errors import UsageError
from jalsoc.cpu import CPUS, DEFAULT_CPU
from jalsoc.dram import dram_kind
from jalsoc.sim.faults import parse_fault
from jalsoc.sim.links import LINKS

MIB = 1 << 20


@dataclass(frozen=True)
class SimulatorConfig:
    """One system in simulation.

    ``clock_hz`` is nominal: it sets DRAM timing (refresh!) and what a cycle counts for. ``link``:
    what leads into the system besides the UARTBone, which always does. ``cpu``: the one that
    the firmware runs on. ``scope``: whether it has LiteScope's logic analyzer. ``sensors``:
    whether it has a sensor bus, with a model on it. ``fault``: what is broken in it
    (:mod:`jalsoc.sim.faults`).

    Raises:
        UsageError: a value is out of range.
    """

    engine: EngineConfig = STANDARD
    dram: str = "ddr3x16"
    dram_mib: int = 32
    clock_hz: int = 100_000_000
    link: str = "uart"
    cpu: str = DEFAULT_CPU
    scope: bool = False
    sensors: bool = False
    fault: str = ""

    def __post_init__(self) -> None:
        """Checks what can be checked without LiteX."""
        kind = dram_kind(self.dram)
        if self.engine.lanes < kind.port_bytes:
            # LiteDRAM's converter for narrower ports handles one word at a time, and can hang.
            raise UsageError(
                f"{self.engine.lanes} lanes read less than a word of {self.dram}",
                f"choose at least {kind.port_bytes} lanes",
            )
        if self.dram_mib < 2 or self.dram_mib & (self.dram_mib - 1):
            raise UsageError(f"the DRAM's size is a power of two from 2 MiB, not {self.dram_mib}")
        if self.link not in LINKS:
            raise UsageError(f"there is no link {self.link!r}", f"choose from {', '.join(LINKS)}")
        if self.cpu not in CPUS:
            raise UsageError(f"there is no CPU {self.cpu!r}", f"choose from {', '.join(CPUS)}")
        if not 10_000_000 <= self.clock_hz <= 400_000_000:
            raise UsageError(f"the clock is 10 to 400 MHz, not {self.clock_hz} Hz")
        if self.fault:
            parse_fault(self.fault, self.engine)

    def to_json(self) -> str:
        """Everything, in an order that does not change."""
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> "SimulatorConfig":
        """Inverse of :meth:`to_json`; what is missing gets its default.

        Raises:
            UsageError: it is not JSON, or has fields that do not exist or values out of range.
        """
        try:
            values: dict[str, Any] = json.loads(text)
            engine = replace(STANDARD, **values.pop("engine", {}))
            return cls(engine=engine, **values)
        except (ValueError, TypeError) as error:
            raise UsageError(f"not a simulator configuration: {error}") from error
