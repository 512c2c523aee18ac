"""INA219 and INA226: voltage and current of a supply, by the voltage across a shunt."""

from dataclasses import dataclass

from jalgateware.contract import sensors
from jalgateware.contract.sensors import Chip
from jalhost.device import Device
from jalhost.errors import DeviceError, UsageError
from jalhost.power.i2c import I2cBus, signed
from jalhost.power.meter import Source
from jalhost.power.spec import parse_address

INTERVAL_S = 0.05
"""The chips convert in some milliseconds, but the link is the run's, too."""


@dataclass(frozen=True)
class Ina:
    """A chip on a bus, as it is after power-up: it measures all the time.

    ``shunt_ohm``: resistor whose voltage it measures.
    """

    bus: I2cBus
    chip: Chip
    address: int
    shunt_ohm: float

    def check(self) -> None:
        """Refuses another chip, as far as these tell: the INA219 does not say who it is.

        Raises:
            DeviceError: it is another, or nobody answers.
        """
        if self.chip is not Chip.INA226:
            return
        for register, expected in sensors.INA226_IDENTITY.items():
            found = self.bus.read_word(self.address, register)
            if found != expected:
                raise DeviceError(
                    f"the chip at {self.address:#04x} is no INA226: register {register:#04x} is "
                    f"{found:#06x}, not {expected:#06x}",
                    "an INA219 is ina219:ADDRESS",
                )

    def read(self) -> tuple[float, float]:
        """Volts and amperes.

        Raises:
            DeviceError: nobody answers, or the bus is stuck.
        """
        shunt = signed(self.bus.read_word(self.address, sensors.INA_SHUNT_REGISTER), 16)
        bus = self.bus.read_word(self.address, sensors.INA_BUS_REGISTER)
        if self.chip is Chip.INA226:
            return bus * sensors.INA226_BUS_V, shunt * sensors.INA226_SHUNT_V / self.shunt_ohm
        return (bus >> 3) * sensors.INA219_BUS_V, shunt * sensors.INA219_SHUNT_V / self.shunt_ohm


class InaMeter:
    """Power of one supply."""

    source = Source.RAIL

    def __init__(self, chip: Ina, interval_s: float) -> None:
        self._chip = chip
        self.interval_s = interval_s
        self.description = f"{chip.chip} at {chip.address:#04x}"

    def read_w(self) -> float:
        """Volts times amperes.

        Raises:
            DeviceError: nobody answers, or the bus is stuck.
        """
        volts, amperes = self._chip.read()
        return volts * amperes

    def close(self) -> None:
        """Nothing: the link is the device's."""


def open_ina219(
    device: Device, place: str, shunt: float | None = None, interval: float = INTERVAL_S
) -> InaMeter:
    """The meter ``ina219:ADDRESS,shunt=OHM``."""
    return _open(device, Chip.INA219, place, shunt, interval)


def open_ina226(
    device: Device, place: str, shunt: float | None = None, interval: float = INTERVAL_S
) -> InaMeter:
    """The meter ``ina226:ADDRESS,shunt=OHM``."""
    return _open(device, Chip.INA226, place, shunt, interval)


def _open(device: Device, chip: Chip, place: str, shunt: float | None, interval: float) -> InaMeter:
    address = parse_address(chip, place)
    if shunt is None:
        raise UsageError(
            f"the meter {chip}:{place} needs its shunt in ohms",
            f"for example {chip}:{place},shunt=0.01",
        )
    found = Ina(I2cBus(device), chip, address, shunt)
    found.check()
    return InaMeter(found, interval)
