"""Good Stuff Department ButterStick r1.0 with LFE5UM5G-85F."""

from dataclasses import dataclass
from typing import Any

from jalboards.board import MIB, Dram, Flash
from jalboards.families import Ecp5Ddr3Board
from jalboards.links import Ethernet
from jalgateware.contract.config import EngineConfig


@dataclass(frozen=True)
class ButterStick(Ecp5Ddr3Board):
    """Has no serial port: a USB adapter with 3.3 V goes to SYZYGY port 0, S0 (tx) and S1 (rx)."""

    def platform(self) -> Any:
        """With the serial port on SYZYGY."""
        from litex.build.generic_platform import IOStandard, Pins, Subsignal

        platform = super().platform()
        pins = [Subsignal(name, Pins(f"SYZYGY0:S{i}")) for i, name in enumerate(("tx", "rx"))]
        platform.add_extension([("serial", 0, *pins, IOStandard("LVCMOS33"))])
        return platform


BOARD = ButterStick(
    name="butterstick",
    title="GSD ButterStick r1.0 (85F)",
    target="gsd_butterstick",
    options={"device": "85F"},
    part="LFE5UM5G-85F-8BG381C",
    idcode=0x81113043,
    dram=Dram("MT41K64M16", data_bits=16, rate="1:2", bytes=256 * MIB),
    clock_hz=75_000_000,
    # The DRAM has a word every second cycle: two read ports keep up, and a slot serves two heads.
    engine=EngineConfig(lanes=16, tokens=4, mxfp4=True, attention_slots=1, read_ports=2),
    placer="spread",
    ethernet=Ethernet(options={"rx_delay": 0.0}),
    # openFPGALoader has no name for it. The ids are those of its DFU boot loader.
    flash=Flash(usb=("1209:5af1",), cable="ft2232"),
)
