"""Sensors that a system can have: registers of its sensor bus and XADC, and what hangs on it where.

The bus is I2C, which PMBus is a dialect of. Its bank of registers says by a number which of
:data:`SENSOR_SETS` is connected, so that a host needs no other description of the board.
"""

from dataclasses import dataclass
from enum import IntEnum, StrEnum

from jalgateware.contract.memory_map import CSR_BANK_BYTES, CSR_ORIGIN

BUS_LOCATION = 25
XADC_LOCATION = 24
"""Places of the CSR banks, below those of the scope: all others lie where they lie without them."""

BUS_ADDRESS = CSR_ORIGIN + BUS_LOCATION * CSR_BANK_BYTES
XADC_ADDRESS = CSR_ORIGIN + XADC_LOCATION * CSR_BANK_BYTES

BUS_IDENTITY = 0x493243
"""Upper 24 bits of the register ``identity``; the others are the number of the sensor set."""

QUEUE = 16
"""Commands that wait for the bus."""

RECEIVED_BYTES = 4
"""Bytes that the register ``received`` holds, the last one lowest."""


class BusRegister(IntEnum):
    """Byte offsets of the sensor bus's registers."""

    IDENTITY = 0
    COMMAND = 4
    STATUS = 8
    RECEIVED = 12
    CLEAR = 16


class BusCommand(IntEnum):
    """Bits of a command, above the byte to send; a command moves one byte.

    ``ACKNOWLEDGE``: of a byte that is read, that more are wanted.
    """

    START = 8
    READ = 9
    ACKNOWLEDGE = 10
    STOP = 11


class BusStatus(IntEnum):
    """Bits of the register ``status``. ``NACK`` and ``STUCK`` stay until ``clear`` is written."""

    BUSY = 0
    NACK = 1
    STUCK = 2
    SCL = 3
    SDA = 4


XADC_REGISTERS = ("temperature", "vccint", "vccaux", "vccbram")
"""The first registers of LiteX's XADC core, a word each, 12 bits."""

XADC_FULL_SCALE = 1 << 12

XADC_KELVIN = 503.975
"""Full scale of the temperature, in K (AMD UG480, "Temperature sensor")."""

XADC_VOLTS = 3.0
"""Full scale of the supply sensors (AMD UG480, "Power supply sensor")."""

XADC_LIMITS = {
    "temperature": (0.0, 85.0),
    "vccint": (0.95, 1.05),
    "vccaux": (1.71, 1.89),
    "vccbram": (0.95, 1.05),
}
"""Of the commercial range (AMD DS181 and DS182, "Recommended operating conditions")."""


class Chip(StrEnum):
    """Sensor chips that boards have."""

    INA219 = "ina219"
    INA226 = "ina226"
    UCD9248 = "ucd9248"


@dataclass(frozen=True)
class Rail:
    """A supply with a sensor.

    Args:
        name: as the board's manual has it.
        chip: the sensor.
        address: on the bus, 7 bits.
        volts: nominal; 0 where the board's user sets it.
        shunt_ohm: resistor across which the current is measured (INA chips).
        page: of the controller (PMBus).
    """

    name: str
    chip: Chip
    address: int
    volts: float
    shunt_ohm: float = 0.0
    page: int = 0


@dataclass(frozen=True)
class SensorSet:
    """What is on a board's sensor bus.

    ``number``: what the gateware says; ``source``: where it is written.

    """

    number: int
    rails: tuple[Rail, ...]
    source: str


def _genesys2() -> tuple[Rail, ...]:
    rails = (
        ("VCC1V0", 0x45, 1.0),
        ("VCC1V5", 0x4C, 1.5),
        ("VCC1V8", 0x48, 1.8),
        ("VADJ", 0x41, 0.0),
        ("VCC3V3", 0x44, 3.3),
        ("VCC5V0", 0x40, 5.0),
    )
    return tuple(Rail(name, Chip.INA219, at, volts, 0.005) for name, at, volts in rails)


def _kc705() -> tuple[Rail, ...]:
    controllers = {
        52: (("VCCINT_FPGA", 1.0), ("VCCAUX", 1.8), ("VCC3V3", 3.3), ("VADJ", 0.0)),
        53: (("VCC2V5_FPGA", 2.5), ("VCC1V5_FPGA", 1.5), ("MGTAVCC", 1.0), ("MGTAVTT", 1.2)),
        54: (("VCCAUX_IO", 0.0), ("VCC_BRAM", 1.0), ("MGTVCCAUX", 1.8)),
    }
    return tuple(
        Rail(name, Chip.UCD9248, address, volts, page=page)
        for address, rails in controllers.items()
        for page, (name, volts) in enumerate(rails)
    )


SIMULATED_RAIL = Rail("board", Chip.INA226, 0x40, 5.0, 0.01)
"""What simulators have that are built with sensors."""

SIMULATED_BUS_V = 5.0
SIMULATED_CURRENT_A = 0.25
"""What its model says unless told otherwise."""

SENSOR_SETS = {
    "none": SensorSet(0, (), ""),
    "simulated": SensorSet(1, (SIMULATED_RAIL,), "the simulator's own model"),
    "genesys2": SensorSet(2, _genesys2(), "Digilent, Genesys 2 reference manual, table 3"),
    "kc705": SensorSet(3, _kc705(), "AMD UG810, onboard power system devices"),
}
"""By name. A number that has been given stays."""

INA226_SHUNT_V = 2.5e-6
INA226_BUS_V = 1.25e-3
"""Steps of the INA226's shunt and bus registers (TI SBOS547)."""

INA219_SHUNT_V = 10e-6
INA219_BUS_V = 4e-3
"""Of the INA219; its bus voltage stands 3 bits higher (TI SBOS448)."""

INA_SHUNT_REGISTER, INA_BUS_REGISTER = 1, 2

INA226_IDENTITY = {0xFE: 0x5449, 0xFF: 0x2260}
"""Registers with the maker's name and the chip's number, and what they hold."""
