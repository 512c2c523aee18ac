"""Digilent Nexys Video."""

from jalboards.board import MIB, Dram, Flash
from jalboards.families import VivadoBoard
from jalboards.links import Ethernet
from jalgateware.contract.config import STANDARD

BOARD = VivadoBoard(
    name="nexys-video",
    title="Digilent Nexys Video",
    target="digilent_nexys_video",
    part="xc7a200t-sbg484-1",
    idcode=0x03636093,
    dram=Dram("MT41K256M16", data_bits=16, rate="1:4", bytes=512 * MIB),
    clock_hz=100_000_000,
    engine=STANDARD,
    ethernet=Ethernet(),
    flash=Flash(usb=("0403:6010",), board="nexysVideo"),
)
