"""Adds sensors to a system: the I2C bus with what hangs on it, and Xilinx's XADC."""

from typing import Any

from jalgateware.contract import sensors
from jalsoc.i2c import I2cMaster


def add_sensor_bus(soc: Any, master: I2cMaster) -> None:
    """Gives a system the bank ``sensor_bus``.

    Args:
        soc: a :class:`jalsoc.soc.JalSoC`, before it is finalised.
        master: connected to pins or to a model.
    """
    soc.csr.add("sensor_bus", n=sensors.BUS_LOCATION)
    soc.sensor_bus = master


def add_xadc(soc: Any) -> None:
    """Gives a system of the 7 series the bank ``xadc``: temperature and supplies of the FPGA."""
    from litex.soc.cores.xadc import XADC

    soc.csr.add("xadc", n=sensors.XADC_LOCATION)
    soc.xadc = XADC()
