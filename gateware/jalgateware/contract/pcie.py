"""PCI Express: who the device is, what lies in its BAR 0, and the registers of its DMA.

BAR 0 has two halves. The lower one shows registers and mailbox; only accesses of one word are
answered there. The upper one is a window onto DRAM, which moves in steps of its own size.
"""

from dataclasses import dataclass
from enum import IntEnum

from jalgateware.contract.memory_map import CSR_BANK_BYTES, CSR_ORIGIN, MAILBOX, Region

VENDOR_ID = 0x10EE
"""Xilinx: LitePCIe's hard blocks keep their maker's numbers."""

DEVICE_IDS = (0x7021, 0x7022, 0x7024, 0x7028)
"""LitePCIe on a 7-series FPGA with 1, 2, 4 and 8 lanes (``config.h`` of its driver)."""

BAR0_BYTES = 1 << 20

CSR_WINDOW = Region(0, 0x1_0000)
"""All registers, from CSR_ORIGIN on: where LitePCIe's driver and tools expect them."""

MAILBOX_WINDOW = Region(CSR_WINDOW.size, MAILBOX.size)
"""The mailbox. What lies between it and the DRAM window does not exist."""

DRAM_WINDOW = Region(BAR0_BYTES // 2, BAR0_BYTES // 2)
"""DRAM from the window's base on."""

MAX_READ_WORDS = 32
"""Words that a read of the DRAM window may ask for at once; more are refused."""

LOCATIONS = {"pcie_window": 28, "pcie_dma0": 29, "pcie_dram": 30, "pcie_msi": 31}
"""Places of CSR banks in every build that has PCIe."""


def bank(name: str) -> int:
    """Bus address of one of these banks."""
    return CSR_ORIGIN + LOCATIONS[name] * CSR_BANK_BYTES


WINDOW_BASE = bank("pcie_window")
"""Bytes from the start of DRAM to what the window shows; a multiple of the window's size."""


class Table(IntEnum):
    """Registers of a DMA channel's reader or writer in LitePCIe, in bytes from its first one."""

    ENABLE = 0x00
    """1 runs it; writing 0 forgets what is in its FIFOs."""
    DESCRIPTOR = 0x04
    """Two words: bytes with flags, then the host's address. A transfer of the table's next line."""
    APPEND = 0x0C
    """A write puts the descriptor into the table."""
    LOOP = 0x10
    """0: each line is carried out once."""
    STATUS = 0x14
    LEVEL = 0x18
    """Lines in the table that nobody has begun with."""
    FLUSH = 0x1C
    """A write empties the table."""


TABLE_LINES = 256
"""Of each table."""

IRQ_DISABLE = 1 << 24
"""In a descriptor's first word: its end does not interrupt."""

LAST_DISABLE = 1 << 25
"""In a descriptor's first word: the stream's ends do not end a transfer."""

DMA_TO_HOST = bank("pcie_dma0")
"""Table of the transfers from the device to the host: LitePCIe calls it writer."""

DMA_TO_DEVICE = bank("pcie_dma0") + 0x20
"""Table of the transfers from the host to the device: LitePCIe calls it reader."""


class Port(IntEnum):
    """Registers of the DRAM's end of a transfer, in bytes from its first one."""

    BASE = 0x00
    """Bytes from the start of DRAM; a multiple of PORT_BYTES of the mailbox."""
    LENGTH = 0x04
    """Bytes; a multiple of the same."""
    ENABLE = 0x08
    """1 starts, 0 resets."""
    DONE = 0x0C
    LOOP = 0x10
    OFFSET = 0x14
    """Words of the port that are done."""


DRAM_FROM_HOST = bank("pcie_dram")
"""DRAM's end of the transfers to the device."""

DRAM_TO_HOST = bank("pcie_dram") + 0x18
"""DRAM's end of the transfers to the host."""


class Interrupt(IntEnum):
    """Registers of the MSI bank, in bytes from its first one: a bit for each source."""

    ENABLE = 0x00
    CLEAR = 0x04
    VECTOR = 0x08


MSI_FROM_DMA = {"reader": 0, "writer": 1}
"""The bit of each of the DMA's interrupts: the last request of a table's line was made."""

MSI_ADDRESS = 0xFEE0_0000
"""Where the simulated device's interrupts go: a memory write, with the message's data."""


@dataclass(frozen=True)
class BusNumbers:
    """Where the simulated device is: bus, device and function as configuration would give them."""

    host: int = 0x0000
    device: int = 0x0100
    bar0: int = 0xE000_0000


SIMULATED = BusNumbers()

SIMULATED_PAYLOAD = 128
"""Most bytes of data in a packet of the simulated link."""

SIMULATED_READ_REQUEST = 512
"""Most bytes that the simulated device asks for at once."""
