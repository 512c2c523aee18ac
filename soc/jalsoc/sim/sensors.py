"""A sensor bus in simulation: an INA226 that says what its registers are set to, or fails."""

from enum import IntEnum
from typing import Any

from litex.gen import LiteXModule
from litex.soc.interconnect.csr import CSRStorage
from migen import Case, Cat, If, Signal

from jalgateware.contract import sensors
from jalsoc.i2c import I2cMaster
from jalsoc.sensors import add_sensor_bus

BUS_HZ = 1_000_000
STRETCH_S = 200e-6
"""Faster and less patient than on boards: each cycle takes the simulator's time."""

MODEL_LOCATION = sensors.XADC_LOCATION - 1
"""Place of the model's CSR bank."""

ADDRESS_BITS = 8


class Fault(IntEnum):
    """How the model fails."""

    NONE = 0
    SILENT = 1
    """It acknowledges nothing."""
    SDA_LOW = 2
    SCL_LOW = 3


def shunt_steps(current_a: float) -> int:
    """The shunt register for a current."""
    return round(current_a * sensors.SIMULATED_RAIL.shunt_ohm / sensors.INA226_SHUNT_V) & 0xFFFF


def bus_steps(volts: float) -> int:
    """The bus voltage register for a voltage."""
    return round(volts / sensors.INA226_BUS_V)


class Ina226Model(LiteXModule):
    """TI's INA226 (SBOS547) as far as a host reads it: shunt and bus voltage, and who it is.

    Writes set the pointer; what else is written is taken and forgotten.

    Interface: ``scl`` and ``sda`` are levels of the lines; ``scl_low`` and ``sda_low`` pull them.
    Registers: ``shunt`` and ``bus`` as the chip has them, ``fault`` of :class:`Fault`.
    """

    def __init__(self, address: int) -> None:
        self.scl = Signal()
        self.sda = Signal()
        self.scl_low = Signal()
        self.sda_low = Signal()
        self._shunt = CSRStorage(
            16,
            reset=shunt_steps(sensors.SIMULATED_CURRENT_A),
            description="Shunt voltage in steps of 2.5 uV, signed.",
        )
        self._bus = CSRStorage(
            16,
            reset=bus_steps(sensors.SIMULATED_BUS_V),
            description="Bus voltage in steps of 1.25 mV.",
        )
        self._fault = CSRStorage(
            2, description="How it fails: 1 acknowledges nothing, 2 holds SDA, 3 holds SCL."
        )

        # # #

        scl = Signal(reset=1)
        sda = Signal(reset=1)
        before = Signal(2, reset=3)
        self.sync += [scl.eq(self.scl), sda.eq(self.sda), before.eq(Cat(scl, sda))]
        rise, fall = scl & ~before[0], ~scl & before[0]
        begins, ends = scl & before[1] & ~sda, scl & ~before[1] & sda
        # A byte: its bits go in as SCL rises; ours change as SCL falls.
        count = Signal(4)
        byte = Signal(8)
        chosen = Signal()
        reading = Signal()
        first = Signal()
        pointed = Signal()
        pointer = Signal(8)
        value = Signal(16)
        pull = Signal()
        content = Signal(16)
        registers: dict[Any, Any] = {
            sensors.INA_SHUNT_REGISTER: self._shunt.storage,
            sensors.INA_BUS_REGISTER: self._bus.storage,
            **sensors.INA226_IDENTITY,
            "default": 0,
        }
        self.comb += Case(pointer, {at: content.eq(what) for at, what in registers.items()})
        mine = Signal()
        self.comb += mine.eq((byte[1:] == address) & (self._fault.storage != Fault.SILENT))
        self.sync += [
            If(rise, byte.eq(Cat(sda, byte[:-1]))),
            # The master wants no more.
            If(rise & reading & sda & (count == ADDRESS_BITS + 1), chosen.eq(0)),
            If(
                fall,
                count.eq(count + 1),
                pull.eq(0),
                # The eighth bit is in: the acknowledgement is next.
                If(
                    count == ADDRESS_BITS,
                    If(
                        first,
                        first.eq(0),
                        chosen.eq(mine),
                        reading.eq(byte[0]),
                        value.eq(content),
                        pull.eq(mine),
                    ).Elif(
                        chosen & ~reading,
                        pull.eq(1),
                        pointed.eq(1),
                        If(~pointed, pointer.eq(byte)),
                    ),
                ),
                If(count == ADDRESS_BITS + 1, count.eq(1)),
                If(
                    chosen & reading & ~first & (count != ADDRESS_BITS),
                    pull.eq(~value[-1]),
                    value.eq(Cat(1, value[:-1])),
                ),
            ),
            If(begins, count.eq(0), first.eq(1), pointed.eq(0), chosen.eq(0), pull.eq(0)),
            If(ends, chosen.eq(0), first.eq(0), pull.eq(0)),
        ]
        self.comb += [
            self.sda_low.eq(pull | (self._fault.storage == Fault.SDA_LOW)),
            self.scl_low.eq(self._fault.storage == Fault.SCL_LOW),
        ]


def add_simulated_sensors(soc: Any) -> None:
    """Gives a simulated system a sensor bus with the model on it, in the bank ``ina226``."""
    rail = sensors.SIMULATED_RAIL
    master = I2cMaster(soc.sys_clk_freq, "simulated", BUS_HZ, STRETCH_S)
    soc.csr.add("ina226", n=MODEL_LOCATION)
    soc.ina226 = model = Ina226Model(rail.address)
    scl = Signal()
    sda = Signal()
    soc.comb += [
        scl.eq(~(master.scl_low | model.scl_low)),
        sda.eq(~(master.sda_low | model.sda_low)),
        master.scl.eq(scl),
        master.sda.eq(sda),
        model.scl.eq(scl),
        model.sda.eq(sda),
    ]
    add_sensor_bus(soc, master)
