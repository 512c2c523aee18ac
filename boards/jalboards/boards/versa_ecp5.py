"""Lattice Versa ECP5-5G with LFE5UM5G-45F."""

from jalboards.board import MIB, Dram, Flash
from jalboards.families import Ecp5Ddr3Board
from jalboards.links import Ethernet
from jalgateware.contract.config import EngineConfig

BOARD = Ecp5Ddr3Board(
    name="versa-ecp5",
    title="Lattice Versa ECP5-5G (45F)",
    target="lattice_versa_ecp5",
    part="LFE5UM5G-45F-8BG381C",
    idcode=0x81112043,
    dram=Dram("MT41K64M16", data_bits=16, rate="1:2", bytes=128 * MIB),
    clock_hz=75_000_000,
    # The DRAM has a word every second cycle: two read ports keep up, and a slot serves two heads.
    engine=EngineConfig(
        lanes=16, max_hidden=1536, max_head_dim=64, attention_slots=1, read_ports=2
    ),
    density=0.75,
    placer="static",  # with the other one, wires find no way
    ethernet=Ethernet(options={"tx_delay": 0.0, "rx_delay": 0.0}),
    # openFPGALoader has no name for it; its cable is the FT2232 on the board.
    flash=Flash(usb=("0403:6010",), cable="ft2232"),
)
