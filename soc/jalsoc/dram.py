"""DRAM that the system can be built with, and its models for simulation."""

from dataclasses import dataclass
from typing import Any

from jalhost.errors import UsageError

ADDRESS_LINES = 13
"""Address lines of the chips; a model with few rows must keep A10, which closes all banks."""


@dataclass(frozen=True)
class DramKind:
    """A DRAM interface: its chip in :mod:`litedram.modules`, data lines and clock ratio."""

    name: str
    chip: str
    data_bits: int
    rate: str
    """DRAM clock to system clock, as 1:n."""

    @property
    def phases(self) -> int:
        """DRAM clock cycles in a cycle of the system."""
        return int(self.rate.split(":")[1])

    @property
    def port_bytes(self) -> int:
        """Bytes that the controller's native port moves per cycle."""
        transfers = 1 if self.rate == "1:1" else 2 * self.phases
        return self.data_bits * transfers // 8


DRAM_KINDS = {
    kind.name: kind
    for kind in (
        DramKind("ddr3x16", "MT41K64M16", 16, "1:4"),
        DramKind("ddr3x64", "MT41K64M16", 64, "1:4"),
        DramKind("sdr16", "AS4C16M16", 16, "1:1"),
    )
}


def dram_kind(name: str) -> DramKind:
    """Looks a kind up.

    Raises:
        UsageError: there is no such kind; the hint names those that exist.
    """
    if name not in DRAM_KINDS:
        raise UsageError(f"there is no DRAM {name!r}", f"choose from {', '.join(DRAM_KINDS)}")
    return DRAM_KINDS[name]


def speed_grade(chip_class: Any, kind: DramKind, clock_hz: float) -> str | None:
    """LiteDRAM's timings for the rate at which the chips run, or None for their only ones.

    LiteDRAM gives tRFC in clocks of a grade's own rate. A fast chip that runs slowly has the times
    of the slow grade: with those of the fast one a refresh would take twice as long as it must.
    """
    megatransfers = 2 * kind.phases * clock_hz / 1e6
    grades = sorted(int(grade) for grade in chip_class.speedgrade_timings if grade.isdigit())
    return next((str(grade) for grade in grades if grade >= megatransfers), None)


def dram_chip(kind: DramKind, size: int, clock_hz: float) -> Any:
    """Chips with the real ones' timing and as many rows as make up ``size`` bytes.

    Raises:
        UsageError: the size is not a power of two or beyond what the chips offer.
    """
    from litedram import modules

    chip_class = getattr(modules, kind.chip)
    row_bytes = chip_class.nbanks * chip_class.ncols * kind.data_bits // 8
    rows, rest = divmod(size, row_bytes)
    if rest or rows & (rows - 1) or not 2 <= rows <= chip_class.nrows:
        most = row_bytes * chip_class.nrows
        raise UsageError(
            f"a DRAM model of {size} bytes is not possible",
            f"{kind.name}: a power of two from {2 * row_bytes} to {most}",
        )
    small = type(kind.chip, (chip_class,), {"nrows": rows})
    chip = small(clock_hz, kind.rate, speed_grade(chip_class, kind, clock_hz))
    chip.geom_settings.addressbits = ADDRESS_LINES
    return chip
