"""Sipeed Tang Nano 20K with GW2AR-18, whose package holds the SDRAM."""

from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

from jalboards.board import MIB, Board, Dram, Flash, Flow, Hardware
from jalgateware.contract.config import EngineConfig

DRAM_PINS = {
    "clk": "O_sdram_clk",
    "cke": "O_sdram_cke",
    "cs_n": "O_sdram_cs_n",
    "cas_n": "O_sdram_cas_n",
    "ras_n": "O_sdram_ras_n",
    "we_n": "O_sdram_wen_n",
    "dm": "O_sdram_dqm",
    "a": "O_sdram_addr",
    "ba": "O_sdram_ba",
    "dq": "IO_sdram_dq",
}
"""Names by which Gowin's tools, and so the platform, know the pins inside the package."""


@dataclass(frozen=True)
class TangNano20K(Board):
    """Gowin, built by yosys, nextpnr-himbaechel and apycula."""

    @property
    def flow(self) -> Flow:
        """Open tools."""
        return Flow.GOWIN

    def platform(self) -> Any:
        """With constraints for the open tools; the target's class insists on Gowin's."""
        from litex.build.gowin.apicula import GowinApiculaToolchain

        platform = super().platform()
        options = platform.toolchain.options
        platform.toolchain = GowinApiculaToolchain()
        platform.toolchain.options.update(options)
        return platform

    def hardware(self, clock_hz: int) -> Hardware:
        """As the target's BaseSoC does it."""
        from migen import ClockSignal

        target, platform = self.target_module(), self.platform()
        crg = target._CRG(platform, clock_hz)
        pads = SimpleNamespace(**{name: platform.request(pin) for name, pin in DRAM_PINS.items()})
        crg.specials += target.DDROutput(0, 1, pads.clk, ClockSignal("sys"))
        phy = target.GENSDRPHY(pads, clock_hz)
        return Hardware(platform, crg, self.chip(clock_hz), phy)


BOARD = TangNano20K(
    name="tang-nano-20k",
    title="Sipeed Tang Nano 20K (GW2AR-18)",
    target="sipeed_tang_nano_20k",
    part="GW2AR-LV18QN88C8/I7",
    idcode=0x0000081B,
    dram=Dram("M12L64322A", data_bits=32, rate="1:1", bytes=8 * MIB),
    clock_hz=27_000_000,
    engine=EngineConfig(
        lanes=4,
        logits=False,
        noise=False,
        slow_rows=True,
        max_dim=128,
        max_hidden=320,
        max_heads=8,
        max_kv_heads=4,
        max_group=2,
        max_head_dim=32,
        max_context=512,
        max_instructions=64,
        attention_slots=1,
        read_ports=2,
        port_fifo_words=256,
        port_burst_words=256,
    ),
    # Of 46 block RAMs of 2 KiB, the firmware needs seven.
    rom_bytes=0x4000,
    cpu="serv",
    console_bytes=16,
    luts=20_736,
    flash=Flash(usb=("0403:6010",), board="tangnano20k"),
)
