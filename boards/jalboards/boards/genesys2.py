"""Digilent Genesys 2."""

from dataclasses import replace

from jalboards.board import MIB, Dram, Flash
from jalboards.families import VivadoBoard
from jalboards.links import Ethernet
from jalboards.sensors import SensorBus, Sensors
from jalgateware.contract.config import STANDARD

BOARD = VivadoBoard(
    name="genesys2",
    title="Digilent Genesys 2",
    target="digilent_genesys2",
    part="xc7k325t-ffg900-2",
    idcode=0x03651093,
    dram=Dram("MT41J256M16", data_bits=32, rate="1:4", bytes=1024 * MIB),
    clock_hz=100_000_000,
    engine=replace(STANDARD, lanes=32),
    ethernet=Ethernet(),
    # Digilent's Genesys2_H.xdc, "IIC Bus".
    sensors=Sensors(SensorBus("genesys2", scl="AE30", sda="AF30", standard="LVCMOS33")),
    flash=Flash(usb=("0403:6010",), board="genesys2"),
    phy="K7DDRPHY",
)
