"""What a board can measure by itself: sensors at pins of the FPGA, and the FPGA's own."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class SensorBus:
    """An I2C bus with sensors.

    ``sensor_set``: what is on it, by its name in :mod:`jalgateware.contract.sensors`; ``scl`` and
    ``sda``: pins, with pull-up resistors on the board; ``standard``: of the pins.
    """

    sensor_set: str
    scl: str
    sda: str
    standard: str


@dataclass(frozen=True)
class Sensors:
    """A board's sensors.

    ``bus``: None where there is none that is known; ``xadc``: whether the FPGA has one.
    """

    bus: SensorBus | None = None
    xadc: bool = True

    def connect(self, soc: Any) -> None:
        """Adds them to a system, which is not finalised yet."""
        from jalsoc.sensors import add_sensor_bus, add_xadc

        if self.xadc:
            add_xadc(soc)
        if self.bus is None:
            return
        from litex.build.generic_platform import IOStandard, Pins, Subsignal

        from jalsoc.i2c import I2cMaster

        pins = (Subsignal("scl", Pins(self.bus.scl)), Subsignal("sda", Pins(self.bus.sda)))
        soc.platform.add_extension([("sensors", 0, *pins, IOStandard(self.bus.standard))])
        master = I2cMaster(soc.sys_clk_freq, self.bus.sensor_set)
        master.connect(soc.platform.request("sensors"))
        add_sensor_bus(soc, master)


XADC_ALONE = Sensors()
"""Boards of the 7 series without a bus that is known."""
