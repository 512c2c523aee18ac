"""PMBus: power controllers such as TI's UCD9248, and the formats in which they give numbers.

The formats are those of the PMBus Power System Management Protocol, part II, section 7.
"""

from dataclasses import dataclass
from enum import IntEnum

from jalhost.device import Device
from jalhost.errors import DeviceError, UsageError
from jalhost.power.i2c import I2cBus, signed
from jalhost.power.meter import Source
from jalhost.power.spec import parse_address

INTERVAL_S = 0.05


class PmbusCommand(IntEnum):
    """Commands, by their codes."""

    PAGE = 0x00
    VOUT_MODE = 0x20
    READ_VOUT = 0x8B
    READ_IOUT = 0x8C
    READ_TEMPERATURE_1 = 0x8D
    READ_POUT = 0x96
    READ_PIN = 0x97


@dataclass(frozen=True)
class Direct:
    """Coefficients of the direct format, from a chip's data sheet: ``x = (y / 10**r - b) / m``."""

    m: float
    b: float
    r: int

    def value(self, word: int) -> float:
        """The number that a word stands for."""
        return (signed(word, 16) * 10.0**-self.r - self.b) / self.m


def linear11(word: int) -> float:
    """Eleven bits times a power of two of five bits, both signed."""
    return signed(word & 0x7FF, 11) * 2.0 ** signed(word >> 11, 5)


def linear16(word: int, exponent: int) -> float:
    """Sixteen bits without a sign, times a power of two."""
    return word * 2.0**exponent


@dataclass(frozen=True)
class Controller:
    """An output of a power controller; ``direct``: where it gives no numbers in linear format."""

    bus: I2cBus
    address: int
    page: int = 0
    direct: Direct | None = None

    def select(self) -> None:
        """Makes this output the one that is talked about."""
        self.bus.transfer(self.address, bytes([PmbusCommand.PAGE, self.page]))

    def read(self, command: PmbusCommand) -> float:
        """A number of the output that is selected, other than its voltage."""
        word = self.bus.read_word(self.address, command, big_endian=False)
        return self.direct.value(word) if self.direct else linear11(word)

    def read_volts(self) -> float:
        """Output voltage, in the format that VOUT_MODE names.

        Raises:
            DeviceError: a format that cannot be read: VID codes, or IEEE half precision.
        """
        (mode,) = self.bus.transfer(self.address, bytes([PmbusCommand.VOUT_MODE]), 1)
        word = self.bus.read_word(self.address, PmbusCommand.READ_VOUT, big_endian=False)
        form = mode >> 5
        if form == 0:
            return linear16(word, signed(mode & 0x1F, 5))
        if form == 2 and self.direct:
            return self.direct.value(word)
        raise DeviceError(
            f"the controller at {self.address:#04x} gives voltages in format {form} of PMBus",
            "linear is read, and direct with m=...,b=...,r=...",
        )

    def read_vi(self) -> tuple[float, float]:
        """Volts and amperes of the output."""
        with self.bus.lock:
            self.select()
            return self.read_volts(), self.read(PmbusCommand.READ_IOUT)

    def read_power(self, command: PmbusCommand) -> float:
        """Power, by the controller's own multiplication."""
        with self.bus.lock:
            self.select()
            return self.read(command)


class PmbusMeter:
    """Power of one output, or of a controller's input.

    ``power``: ``vi`` multiplies what the controller says of voltage and current, ``pout`` and
    ``pin`` take its own power.
    """

    source = Source.RAIL

    def __init__(self, output: Controller, power: str, interval_s: float) -> None:
        self._output = output
        self._power = power
        self.interval_s = interval_s
        self.description = f"pmbus at {output.address:#04x}, page {output.page}"

    def read_w(self) -> float:
        """Power now.

        Raises:
            DeviceError: nobody answers, the bus is stuck, or the format is unknown.
        """
        if self._power == "vi":
            volts, amperes = self._output.read_vi()
            return volts * amperes
        command = {"pout": PmbusCommand.READ_POUT, "pin": PmbusCommand.READ_PIN}[self._power]
        return self._output.read_power(command)

    def close(self) -> None:
        """Nothing: the link is the device's."""


def open_pmbus(
    device: Device,
    place: str,
    page: int = 0,
    power: str = "vi",
    m: float | None = None,
    b: float = 0.0,
    r: int = 0,
    interval: float = INTERVAL_S,
) -> PmbusMeter:
    """The meter ``pmbus:ADDRESS[,page=N][,power=vi|pout|pin][,m=...,b=...,r=...]``.

    ``m``, ``b``, ``r``: coefficients of the direct format; without, numbers are linear.

    Raises:
        UsageError: coefficients without ``m``.
    """
    address = parse_address("pmbus", place)
    if m is None and (b or r):
        raise UsageError(
            f"the meter pmbus:{place} takes b and r with m", "the chip's data sheet has all three"
        )
    direct = Direct(m, b, r) if m is not None else None
    return PmbusMeter(Controller(I2cBus(device), address, page, direct), power, interval)
