"""Colorlight i9 v7.2 with LFE5U-45F, on its extension board."""

from jalboards.board import MIB, Dram, Flash
from jalboards.families import Ecp5SdrBoard
from jalboards.links import Ethernet
from jalgateware.contract.config import EngineConfig

BOARD = Ecp5SdrBoard(
    name="colorlight-i9",
    title="Colorlight i9 v7.2 (45F)",
    target="colorlight_i5",
    options={"board": "i9", "revision": "7.2"},
    part="LFE5U-45F-6BG381C",
    idcode=0x41112043,
    dram=Dram("M12L64322A", data_bits=32, rate="1:1", bytes=8 * MIB),
    clock_hz=50_000_000,
    # A row of the DRAM for each port in turn.
    engine=EngineConfig(lanes=4, port_burst_words=256, port_fifo_words=256),
    ethernet=Ethernet(options={"tx_delay": 0.0}),
    flash=Flash(usb=("0d28:0204",), board="colorlight-i9"),
)
