"""What boards have in common: clocks and DRAM PHYs as litex_boards' targets wire them."""

from dataclasses import dataclass
from typing import Any

from jalboards.board import Board, Flow, Hardware
from jalboards.sensors import XADC_ALONE, Sensors


class Ecp5Board(Board):
    """Lattice ECP5, built by yosys, nextpnr-ecp5 and ecppack."""

    @property
    def flow(self) -> Flow:
        """Open tools."""
        return Flow.ECP5


class Ecp5Ddr3Board(Ecp5Board):
    """With DDR3 behind ECP5DDRPHY, whose start-up holds the clocks."""

    def hardware(self, clock_hz: int) -> Hardware:
        """As the target's BaseSoC does it."""
        target, platform = self.target_module(), self.platform()
        crg = self.crg(target, platform, clock_hz)
        phy = target.ECP5DDRPHY(self.dram_pads(platform), sys_clk_freq=clock_hz)
        crg.comb += [crg.stop.eq(phy.init.stop), crg.reset.eq(phy.init.reset)]
        return Hardware(platform, crg, self.chip(clock_hz), phy)

    def crg(self, target: Any, platform: Any, clock_hz: int) -> Any:
        """Clocks and resets."""
        return target._CRG(platform, clock_hz)

    def dram_pads(self, platform: Any) -> Any:
        """Pins of the DRAM."""
        return platform.request("ddram")


class Ecp5SdrBoard(Ecp5Board):
    """With SDR SDRAM at the system's clock."""

    def hardware(self, clock_hz: int) -> Hardware:
        """As the target's BaseSoC does it."""
        target, platform = self.target_module(), self.platform()
        crg = target._CRG(platform, clock_hz)
        phy = target.GENSDRPHY(platform.request("sdram"), clock_hz)
        return Hardware(platform, crg, self.chip(clock_hz), phy)


@dataclass(frozen=True)
class VivadoBoard(Board):
    """Xilinx 7 series with DDR3 at four times the system's clock: a project for Vivado.

    ``crg``: name of the target's clock class; ``phy``: class in litedram's ``s7ddrphy``;
    ``phy_options``: its arguments that are not the defaults.
    """

    sensors: Sensors | None = XADC_ALONE
    crg: str = "_CRG"
    phy: str = "A7DDRPHY"

    @property
    def flow(self) -> Flow:
        """Xilinx's tools."""
        return Flow.VIVADO

    def hardware(self, clock_hz: int) -> Hardware:
        """As the target's BaseSoC does it."""
        target, platform = self.target_module(), self.platform()
        crg = getattr(target, self.crg)(platform, clock_hz)
        phy = getattr(target.s7ddrphy, self.phy)(
            platform.request("ddram"), memtype="DDR3", nphases=4, sys_clk_freq=clock_hz
        )
        return Hardware(platform, crg, self.chip(clock_hz), phy)
