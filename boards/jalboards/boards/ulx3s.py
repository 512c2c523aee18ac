"""Radiona ULX3S with LFE5U-85F."""

from jalboards.board import MIB, Dram, Flash
from jalboards.families import Ecp5SdrBoard
from jalgateware.contract.config import EngineConfig

BOARD = Ecp5SdrBoard(
    name="ulx3s",
    title="Radiona ULX3S (85F)",
    target="radiona_ulx3s",
    options={"device": "LFE5U-85F"},
    part="LFE5U-85F-6BG381C",
    idcode=0x41113043,
    dram=Dram("MT48LC16M16", data_bits=16, rate="1:1", bytes=32 * MIB),
    clock_hz=50_000_000,
    # Two lanes take all that the DRAM gives; rows and MXFP4 cost little with so few.
    engine=EngineConfig(
        lanes=2, tokens=4, mxfp4=True, attention_slots=4, port_burst_words=512, port_fifo_words=512
    ),
    flash=Flash(usb=("0403:6015",), board="ulx3s"),
)
