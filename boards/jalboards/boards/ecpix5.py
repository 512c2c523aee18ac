"""LambdaConcept ECPIX-5 with LFE5UM5G-85F."""

from jalboards.board import MIB, Dram, Flash
from jalboards.families import Ecp5Ddr3Board
from jalboards.links import Ethernet
from jalgateware.contract.config import EngineConfig

BOARD = Ecp5Ddr3Board(
    name="ecpix5",
    title="LambdaConcept ECPIX-5 (85F)",
    target="lambdaconcept_ecpix5",
    options={"device": "85F"},
    part="LFE5UM5G-85F-8BG554I",
    idcode=0x81113043,
    dram=Dram("MT41K256M16", data_bits=16, rate="1:2", bytes=512 * MIB),
    clock_hz=75_000_000,
    # The DRAM has a word every second cycle: two read ports keep up, and a slot serves two heads.
    engine=EngineConfig(lanes=16, tokens=4, mxfp4=True, attention_slots=1, read_ports=2),
    placer="spread",
    ethernet=Ethernet(options={"rx_delay": 0.0}),
    flash=Flash(usb=("0403:6010",), board="ecpix5"),
)
