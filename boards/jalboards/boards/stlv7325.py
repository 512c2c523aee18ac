"""Sitlinv STLV7325 v2."""

from dataclasses import replace

from jalboards.board import MIB, Dram, Flash
from jalboards.families import VivadoBoard
from jalboards.links import Ethernet, Pcie
from jalgateware.contract.config import STANDARD

BOARD = VivadoBoard(
    name="stlv7325",
    title="Sitlinv STLV7325 v2",
    target="sitlinv_stlv7325_v2",
    part="xc7k325t-ffg676-2",
    idcode=0x03651093,
    dram=Dram("MT8JTF12864", data_bits=64, rate="1:4", bytes=1024 * MIB),
    clock_hz=100_000_000,
    engine=replace(STANDARD, lanes=64, tokens=2),
    ethernet=Ethernet(options={"tx_delay": 1.417e-9, "rx_delay": 1.417e-9}),
    pcie=Pcie(),
    # It has no programmer of its own.
    flash=Flash(usb=(), board="stlv7325"),
    phy="K7DDRPHY",
)
