"""The system on a board."""

from jalboards.config import BuildConfig
from jalsoc.soc import JalSoC


class BoardSoC(JalSoC):
    """The system with a board's pins, clocks and DRAM, and what leads to the host.

    Its ``platform`` writes the constraints that belong to it. The ROM's content is a file beside
    the Verilog, which the firmware replaces once it is compiled.
    """

    def __init__(self, config: BuildConfig) -> None:
        from litex.soc.cores.uart import RS232PHY

        board, clock_hz = config.facts, config.clock_hz
        hardware = board.hardware(clock_hz)
        super().__init__(
            hardware.platform,
            hardware.crg,
            clock_hz,
            hardware.chip,
            hardware.phy,
            RS232PHY(
                board.uart_pads(hardware.platform),
                clock_hz,
                config.baud,
                with_dynamic_baudrate=True,
            ),
            config.engine,
            dram_bytes=board.dram.bytes,
            firmware=[0],
            rom_bytes=board.rom_bytes,
            cpu=board.cpu,
            console_bytes=board.console_bytes,
            description=board.title,
        )
        self.rom.mem.name_override = "firmware"
        target = board.target_module()
        if config.ethernet and board.ethernet:
            board.ethernet.connect(self, target, config.ethernet)
        if config.pcie and board.pcie:
            board.pcie.connect(self, target)
        if config.sensors and board.sensors:
            board.sensors.connect(self)
        if config.scope:
            from jalsoc.scope import add_scope

            add_scope(self)
