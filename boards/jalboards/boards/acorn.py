"""SQRL Acorn CLE-215+."""

from dataclasses import dataclass
from typing import Any

from jalboards.board import MIB, Dram, Flash
from jalboards.families import VivadoBoard
from jalboards.links import Pcie
from jalgateware.contract.config import STANDARD


@dataclass(frozen=True)
class Acorn(VivadoBoard):
    """Its serial port is a 3.3 V adapter at connector P2: K2 (tx) and J2 (rx)."""

    def platform(self) -> Any:
        """With the serial port, which the target keeps apart."""
        platform = super().platform()
        platform.add_extension(getattr(self.target_module(), self.target)._serial_io)
        return platform


BOARD = Acorn(
    name="acorn",
    title="SQRL Acorn CLE-215+",
    target="sqrl_acorn",
    options={"variant": "cle-215+"},
    part="xc7a200t-fbg484-3",
    idcode=0x03636093,
    dram=Dram("MT41K512M16", data_bits=16, rate="1:4", bytes=1024 * MIB),
    clock_hz=100_000_000,
    engine=STANDARD,
    # A card for a slot: little else can be connected to it.
    pcie=Pcie(low=("pcie_clkreq_n",), default=True),
    # It has no programmer of its own.
    flash=Flash(usb=(), board="acornCle215"),
    crg="CRG",
)
