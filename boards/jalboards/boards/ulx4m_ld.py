"""Radiona ULX4M-LD v2 with LFE5UM5G-85F."""

from dataclasses import dataclass
from typing import Any

from jalboards.board import MIB, Dram, Flash
from jalboards.families import Ecp5Ddr3Board
from jalgateware.contract.config import EngineConfig


@dataclass(frozen=True)
class Ulx4mLd(Ecp5Ddr3Board):
    """Its target makes clocks for video as well, and does not halve the DRAM's for the system."""

    def crg(self, target: Any, platform: Any, clock_hz: int) -> Any:
        """The target's clocks without video, the system's at half the DRAM's."""
        from migen import Instance

        crg = target._CRG(platform, clock_hz, with_video_pll=False)
        for special in crg._fragment.specials:
            if isinstance(special, Instance) and special.of == "CLKDIVF":
                (divider,) = [item for item in special.items if item.name == "DIV"]
                divider.value = "2.0"
        return crg


BOARD = Ulx4mLd(
    name="ulx4m-ld",
    title="Radiona ULX4M-LD v2 (85F)",
    target="radiona_ulx4m_ld_v2",
    options={"device": "85F", "toolchain": "trellis"},
    part="LFE5UM5G-85F-8BG381C",
    idcode=0x81113043,
    # The target takes this chip for the one of twice the size that its argument names.
    dram=Dram("MT41K256M16", data_bits=16, rate="1:2", bytes=512 * MIB),
    clock_hz=75_000_000,
    # The DRAM has a word every second cycle: two read ports keep up, and a slot serves two heads.
    engine=EngineConfig(lanes=16, attention_slots=1, read_ports=2),
    # The ids are those of its DFU boot loader, as openFPGALoader has them.
    flash=Flash(usb=("1d50:614b",), board="ulx4m_dfu"),
)
