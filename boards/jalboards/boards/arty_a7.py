"""Digilent Arty A7-100T."""

from jalboards.board import MIB, Dram, Flash
from jalboards.families import VivadoBoard
from jalboards.links import Ethernet
from jalgateware.contract.config import STANDARD

BOARD = VivadoBoard(
    name="arty-a7",
    title="Digilent Arty A7-100T",
    target="digilent_arty",
    options={"variant": "a7-100"},
    part="xc7a100tcsg324-1",
    idcode=0x03631093,
    dram=Dram("MT41K128M16", data_bits=16, rate="1:4", bytes=256 * MIB),
    clock_hz=100_000_000,
    engine=STANDARD,
    ethernet=Ethernet("LiteEthPHYMII"),
    flash=Flash(usb=("0403:6010",), board="arty_a7_100t"),
)
