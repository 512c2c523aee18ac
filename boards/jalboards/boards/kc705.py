"""Xilinx KC705."""

from dataclasses import replace

from jalboards.board import MIB, Dram, Flash
from jalboards.families import VivadoBoard
from jalboards.links import Ethernet, Pcie
from jalboards.sensors import SensorBus, Sensors
from jalgateware.contract.config import STANDARD

BOARD = VivadoBoard(
    name="kc705",
    title="Xilinx KC705",
    target="xilinx_kc705",
    part="xc7k325t-ffg900-2",
    idcode=0x03651093,
    dram=Dram("MT8JTF12864", data_bits=64, rate="1:4", bytes=1024 * MIB),
    clock_hz=100_000_000,
    engine=replace(STANDARD, lanes=64, tokens=2),
    ethernet=Ethernet("LiteEthPHY", asks_clock=True),
    pcie=Pcie(),
    # AMD UG810: PMBUS_CLK_LS and PMBUS_DATA_LS, behind level shifters, in a bank of 1.5 V.
    sensors=Sensors(SensorBus("kc705", scl="AG17", sda="Y14", standard="LVCMOS15")),
    flash=Flash(usb=("0403:6010",), board="kc705"),
    phy="K7DDRPHY",
)
