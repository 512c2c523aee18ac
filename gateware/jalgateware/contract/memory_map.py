"""Where things lie: regions of the CPU's bus, and regions of the DRAM behind it."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Region:
    """Bytes ``origin`` to ``origin + size - 1`` of the bus."""

    origin: int
    size: int


ROM = Region(0x0000_0000, 0x0000_8000)
"""The firmware."""

SRAM = Region(0x1000_0000, 0x0000_2000)
"""The firmware's data and stack."""

MAIN_RAM_ORIGIN = 0x4000_0000
"""DRAM on the bus; its size depends on the board. The CPU caches it, other masters do not."""

MAILBOX = Region(0x9000_0000, 0x0000_4000)
"""Where host and firmware meet: uncached, and kept over a reset of the CPU."""

CSR_ORIGIN = 0xF000_0000
"""Registers; their map is exported with each build."""

CSR_LOCATIONS = {
    "fingerprint": 0,
    "ctrl": 1,
    "watchdog": 2,
    "uart": 3,
    "identifier_mem": 6,
    "uartbone_phy": 11,
}
"""Places of CSR banks that are the same in every build, so that a host can find out which build it
is."""

CSR_BANK_BYTES = 0x800
"""Distance between CSR banks."""

FINGERPRINT_ADDRESS = CSR_ORIGIN + CSR_LOCATIONS["fingerprint"] * CSR_BANK_BYTES
"""64 bits, the more significant word first."""

IDENTIFIER_ADDRESS = CSR_ORIGIN + CSR_LOCATIONS["identifier_mem"] * CSR_BANK_BYTES
"""The build's name: a character in each word, up to a zero."""

IDENTIFIER = "jalhost"
"""What the names of all builds begin with."""

TUNING_WORD_ADDRESS = CSR_ORIGIN + CSR_LOCATIONS["uartbone_phy"] * CSR_BANK_BYTES
"""The serial port's rate (:mod:`jalgateware.contract.serial_port`), where there is one."""

SCRATCH_OFFSET = 0x0000_1000
"""Bytes from the start of DRAM to a region that self-tests may overwrite."""

SCRATCH_BYTES = 0x0000_2000

IMAGE_OFFSET = 0x0010_0000
"""Bytes from the start of DRAM to the image."""
