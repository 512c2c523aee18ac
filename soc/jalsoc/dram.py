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


@dataclass(frozen=True)
class DramModel:
    """A chip with the real one's timing and fewer rows, and the PHY model that contains it.

    The words of the memory model are as wide as the native port; consecutive addresses fill a row
    of one bank, then the next bank (LiteDRAM's mapping ROW_BANK_COL).
    """

    kind: DramKind
    chip: Any
    phy: Any

    @property
    def banks(self) -> int:
        """Banks, each one memory of the model."""
        return 1 << int(self.chip.geom_settings.bankbits)

    @property
    def row_words(self) -> int:
        """Port words in a row of a bank."""
        columns = 1 << int(self.chip.geom_settings.colbits)
        return columns * self.kind.data_bits // 8 // self.kind.port_bytes

    @property
    def rows(self) -> int:
        """Rows in a bank."""
        return 1 << int(self.chip.geom_settings.rowbits)

    @property
    def size(self) -> int:
        """Bytes."""
        return self.banks * self.rows * self.row_words * self.kind.port_bytes


def dram_model(kind: DramKind, size: int, clock_hz: int) -> DramModel:
    """A model of ``size`` bytes.

    Raises:
        UsageError: the size is not a power of two or beyond what the chips offer.
    """
    from litedram import modules
    from litedram.phy.model import SDRAMPHYModel

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
    chip = small(clock_hz, kind.rate)
    chip.geom_settings.addressbits = ADDRESS_LINES
    phy = SDRAMPHYModel(chip, data_width=kind.data_bits, clk_freq=clock_hz)
    return DramModel(kind, chip, phy)
