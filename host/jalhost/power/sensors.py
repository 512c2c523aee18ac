"""What a device's sensors say: temperature and supplies, with the limits that they should keep."""

from dataclasses import dataclass
from typing import Any, NamedTuple

from jalgateware.contract import sensors
from jalgateware.contract.sensors import Chip, Rail, SensorSet
from jalhost.device import Device
from jalhost.errors import DeviceError
from jalhost.power.i2c import I2cBus, sensor_set_number
from jalhost.power.ina import Ina
from jalhost.power.meter import Source
from jalhost.power.pmbus import Controller

INTERVAL_S = 0.1

TOLERANCE = 0.05
"""What a supply may be off: the common limit of FPGAs and memories."""

ZERO_CELSIUS_K = 273.15


class Reading(NamedTuple):
    """What a sensor says; ``low`` and ``high`` are the limits, None where nothing limits it."""

    name: str
    value: float
    unit: str
    low: float | None
    high: float | None

    @property
    def fine(self) -> bool:
        """Whether it is within its limits."""
        above = self.low is None or self.value >= self.low
        return above and (self.high is None or self.value <= self.high)


def device_of(target: Any) -> Device | None:
    """The device of a target (or a device itself); None where there is none: the emulator."""
    device = target if isinstance(target, Device) else getattr(target, "device", None)
    assert device is None or isinstance(device, Device)
    return device


def read_sensors(target: Any) -> list[Reading]:
    """Temperature and supplies of a target: what its gateware has a sensor for, else nothing.

    Args:
        target: of :mod:`jalhost.engine`, with an image loaded where it is a simulator, or a device.

    Raises:
        DeviceError: a sensor does not answer, or the bus is stuck.
        LinkError: the link does not work.
    """
    device = device_of(target)
    if device is None:
        return []
    found = read_xadc(device)
    number = sensor_set_number(device)
    if number is None:
        return found
    bus, rails = I2cBus(device), _sensor_set(number).rails
    for rail in rails:
        volts, amperes = read_rail(bus, rail)
        limits = [rail.volts * (1 + off) if rail.volts else None for off in (-TOLERANCE, TOLERANCE)]
        found.append(Reading(rail.name, volts, "V", *limits))
        found.append(Reading(rail.name, amperes, "A", None, None))
    return found


def read_xadc(device: Device) -> list[Reading]:
    """Temperature and supplies of a 7-series FPGA; nothing where there is no XADC.

    Raises:
        LinkError: the link does not work.
    """
    words = device.link.read(sensors.XADC_ADDRESS, len(sensors.XADC_REGISTERS))
    if not any(words):
        return []
    found = []
    for name, word in zip(sensors.XADC_REGISTERS, words, strict=True):
        low, high = sensors.XADC_LIMITS[name]
        share = word / sensors.XADC_FULL_SCALE
        if name == "temperature":
            value, unit = share * sensors.XADC_KELVIN - ZERO_CELSIUS_K, "°C"
        else:
            value, unit = share * sensors.XADC_VOLTS, "V"
        found.append(Reading(name, value, unit, low, high))
    return found


def read_rail(bus: I2cBus, rail: Rail) -> tuple[float, float]:
    """Volts and amperes of a supply.

    Raises:
        DeviceError: its sensor does not answer, or the bus is stuck.
    """
    if rail.chip is Chip.UCD9248:
        return Controller(bus, rail.address, rail.page).read_vi()
    return Ina(bus, rail.chip, rail.address, rail.shunt_ohm).read()


def _sensor_set(number: int) -> SensorSet:
    for found in sensors.SENSOR_SETS.values():
        if found.number == number:
            return found
    raise DeviceError(
        f"the device has sensors of kind {number}, which this jalhost does not know",
        "use the jalhost that its gateware was built with",
    )


@dataclass(frozen=True)
class RailsMeter:
    """Power of all supplies with a sensor, together."""

    bus: I2cBus
    rails: tuple[Rail, ...]
    interval_s: float
    source = Source.RAIL

    @property
    def description(self) -> str:
        """With the names of the supplies."""
        return f"rails {', '.join(rail.name for rail in self.rails)}"

    def read_w(self) -> float:
        """The sum.

        Raises:
            DeviceError: a sensor does not answer, or the bus is stuck.
        """
        total = 0.0
        for rail in self.rails:
            volts, amperes = read_rail(self.bus, rail)
            total += volts * amperes
        return total

    def close(self) -> None:
        """Nothing: the link is the device's."""


def open_rails(device: Device, _place: str, interval: float = INTERVAL_S) -> RailsMeter:
    """The meter ``rails``: whatever sensors the board has.

    Raises:
        DeviceError: it has none.
    """
    bus = I2cBus(device)
    rails = _sensor_set(bus.set_number).rails
    if not rails:
        raise DeviceError(
            "the board has no sensors that are known", "name one: ina226:0x40,shunt=0.01"
        )
    return RailsMeter(bus, rails, interval)
