"""DRAM that the system can be built with, and its models for simulation."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from jalhost.errors import UsageError

ADDRESS_LINES = 13
"""Address lines of the chips; a model with few rows must keep A10, which closes all banks."""


@dataclass(frozen=True)
class DramKind:
    """A DRAM interface: chips in :mod:`litedram.modules`, data lines and clock ratio.

    ``chips`` get larger; ``rate``: DRAM clock to system clock, as 1:n; ``reader``: fields of
    EngineConfig with which reads lose least, where these are not the defaults.
    """

    name: str
    chips: tuple[str, ...]
    data_bits: int
    rate: str
    reader: Mapping[str, int] = field(default_factory=dict)

    @property
    def phases(self) -> int:
        """DRAM clock cycles in a cycle of the system."""
        return int(self.rate.split(":")[1])

    @property
    def port_bytes(self) -> int:
        """Bytes that the controller's native port moves per cycle."""
        transfers = 1 if self.rate == "1:1" else 2 * self.phases
        return self.data_bits * transfers // 8

    @property
    def engine(self) -> dict[str, Any]:
        """Fields of EngineConfig for this DRAM: lanes for each byte of the port, and the reader."""
        return {"lanes": self.port_bytes, **self.reader}


DDR3_CHIPS = ("MT41K64M16", "MT41K128M16", "MT41K256M16", "MT41K512M16")

WHOLE_ROWS = {"port_burst_words": 512, "port_fifo_words": 512}
"""SDR SDRAM: a row of 512 words for each port in turn.

Ports that share a row change to the next one together, and nobody reads meanwhile: that cost 2 %.
"""

DRAM_KINDS = {
    kind.name: kind
    for kind in (
        DramKind("ddr3x16", DDR3_CHIPS, 16, "1:4"),
        DramKind("ddr3x64", DDR3_CHIPS, 64, "1:4"),
        DramKind("sdr16", ("AS4C16M16", "AS4C32M16"), 16, "1:1", WHOLE_ROWS),
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
    """The smallest chips that hold ``size`` bytes, with as many rows as that takes.

    They have the real ones' timing.

    Raises:
        UsageError: the size is not a power of two or beyond what the chips offer.
    """
    from litedram import modules

    classes = [getattr(modules, name) for name in kind.chips]
    row_bytes = [chip.nbanks * chip.ncols * kind.data_bits // 8 for chip in classes]
    most = [row * chip.nrows for row, chip in zip(row_bytes, classes, strict=True)]
    if size & (size - 1) or not 2 * row_bytes[0] <= size <= most[-1]:
        raise UsageError(
            f"a DRAM model of {size} bytes is not possible",
            f"{kind.name}: a power of two from {2 * row_bytes[0]} to {most[-1]}",
        )
    index = next(index for index, bytes_ in enumerate(most) if size <= bytes_)
    chip_class, rows = classes[index], size // row_bytes[index]
    small = type(kind.chips[index], (chip_class,), {"nrows": rows})
    chip = small(clock_hz, kind.rate, speed_grade(chip_class, kind, clock_hz))
    chip.geom_settings.addressbits = max(ADDRESS_LINES, chip.geom_settings.rowbits)
    return chip
