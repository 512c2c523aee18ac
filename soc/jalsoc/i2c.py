"""An I2C master for sensors: a register access per byte, and no bus that hangs it."""

from typing import Any

from litex.gen import LiteXModule
from litex.soc.interconnect import stream
from litex.soc.interconnect.csr import CSRField, CSRStatus, CSRStorage
from migen import Array, Cat, If, NextState, NextValue, ResetInserter, Signal
from migen.fhdl.specials import Tristate
from migen.genlib.cdc import MultiReg
from migen.genlib.fsm import FSM

from jalgateware.contract import sensors

COMMAND = [("data", 8), ("start", 1), ("read", 1), ("acknowledge", 1), ("stop", 1)]
"""Bits of a command, as :class:`jalgateware.contract.sensors.BusCommand` numbers them."""


class I2cEngine(LiteXModule):
    """Carries out commands, each of which moves a byte.

    A command sends START first where asked for (also in the middle of a transfer), then sends its
    byte or reads one, then sends STOP where asked for. Between commands SCL stays low. Devices may
    hold SCL low (clock stretching, which PMBus needs) for up to ``patience`` cycles.

    Interface: ``sink`` takes commands. ``scl_low`` and ``sda_low`` pull the lines down; ``scl`` and
    ``sda`` are their levels. ``received``: bytes read, the last one lowest.
    Throughput: a byte in 9 bits of four quarters each, and what devices hold SCL.
    Errors: a byte that nobody acknowledges sets ``nack``, a line that somebody else keeps low sets
    ``stuck``; commands up to the next STOP, or all, are then dropped. A reset starts anew.

    Args:
        quarter: cycles of a quarter of a bit.
        patience: cycles, several quarters.
    """

    def __init__(self, quarter: int, patience: int) -> None:
        self.sink = command = stream.Endpoint(COMMAND)
        self.scl_low = Signal()
        self.sda_low = Signal()
        self.scl = Signal()
        self.sda = Signal()
        self.nack = Signal()
        self.stuck = Signal()
        self.idle = Signal()
        self.received = Signal(32)

        # # #

        scl, sda, nack, stuck = self.scl, self.sda, self.nack, self.stuck
        # A line that is let go rises by itself: time goes on only once it is up.
        left = Signal(max=quarter, reset=quarter - 1)
        waited = Signal(max=patience + 1)
        high = Signal()
        tick = Signal()
        late = Signal()
        self.comb += [
            tick.eq((left == 0) & (~high | scl)),
            late.eq(waited == patience),
        ]
        self.sync += [
            If(tick | self.idle, left.eq(quarter - 1)).Elif(left != 0, left.eq(left - 1)),
            If(tick | self.idle, waited.eq(0)).Elif(~late, waited.eq(waited + 1)),
        ]
        # Eight bits and the place of the acknowledgement; 1 where others may speak.
        bit = Signal(4)
        ours = Signal(9)
        self.comb += If(command.read, ours.eq(Cat(~command.acknowledge, *([1] * 8)))).Else(
            ours.eq(Cat(1, command.data))
        )
        out = Array(ours[8 - index] for index in range(9))[bit]
        fail = [
            NextValue(stuck, 1),
            NextValue(self.scl_low, 0),
            NextValue(self.sda_low, 0),
            NextState("DROP"),
        ]
        self.fsm = fsm = FSM("IDLE")
        self.comb += self.idle.eq(fsm.ongoing("IDLE"))
        fsm.act(
            "IDLE",
            NextValue(bit, 0),
            If(
                command.valid,
                NextState("SET"),
                If(command.start, NextState("START")),
                If(nack, NextState("DROP"), If(command.stop, NextState("STOP"))),
                If(stuck, NextState("DROP")),
            ),
        )
        fsm.act("DROP", command.ready.eq(1), NextState("IDLE"))
        self._wait(fsm, "START", [NextValue(self.sda_low, 0)], "START_UP", tick)
        fsm.act(
            "START_UP",
            high.eq(1),
            NextValue(self.scl_low, 0),
            If(tick, NextState("START_DOWN"), If(~sda, *fail)),
            If(late, *fail),
        )
        self._wait(fsm, "START_DOWN", [NextValue(self.sda_low, 1)], "START_END", tick)
        self._wait(fsm, "START_END", [NextValue(self.scl_low, 1)], "SET", tick)
        self._wait(
            fsm, "SET", [NextValue(self.scl_low, 1), NextValue(self.sda_low, ~out)], "UP", tick
        )
        fsm.act(
            "UP",
            high.eq(1),
            NextValue(self.scl_low, 0),
            If(tick, NextState("SAMPLE")),
            If(late, *fail),
        )
        fsm.act(
            "SAMPLE",
            If(
                tick,
                NextState("DOWN"),
                If(bit == 8, If(~command.read, NextValue(nack, sda))).Elif(
                    command.read, NextValue(self.received, Cat(sda, self.received[:-1]))
                ),
            ),
        )
        fsm.act(
            "DOWN",
            NextValue(self.scl_low, 1),
            If(
                tick,
                NextValue(bit, bit + 1),
                NextState("SET"),
                If(bit == 8, NextState("DROP"), If(command.stop, NextState("STOP"))),
            ),
        )
        self._wait(fsm, "STOP", [NextValue(self.sda_low, 1)], "STOP_UP", tick)
        fsm.act(
            "STOP_UP",
            high.eq(1),
            NextValue(self.scl_low, 0),
            If(tick, NextState("STOP_END")),
            If(late, *fail),
        )
        fsm.act(
            "STOP_END",
            NextValue(self.sda_low, 0),
            If(tick, NextState("DROP"), If(~sda, *fail)),
        )

    def _wait(self, fsm: Any, state: str, actions: list[Any], following: str, tick: Signal) -> None:
        """A state that lasts a quarter."""
        fsm.act(state, *actions, If(tick, NextState(following)))


class I2cMaster(LiteXModule):
    """A queue of commands, the engine behind it, and their registers.

    Interface: ``scl_low`` and ``sda_low`` pull the lines down; ``scl`` and ``sda`` are the levels
    of pins (:meth:`connect`) or of a model. Registers in the order of
    :class:`jalgateware.contract.sensors.BusRegister`.
    Errors: those of :class:`I2cEngine`; writing ``clear`` starts anew.

    Args:
        clock_hz: of the system.
        sensor_set: name in :data:`jalgateware.contract.sensors.SENSOR_SETS`.
        bus_hz: of SCL at most.
        stretch_s: longest time that a device may hold SCL.
    """

    def __init__(
        self,
        clock_hz: float,
        sensor_set: str,
        bus_hz: float = 100_000,
        stretch_s: float = 25e-3,
    ) -> None:
        quarter = max(8, -(-int(clock_hz) // int(4 * bus_hz)))
        patience = max(4 * quarter, int(stretch_s * clock_hz))
        number = sensors.SENSOR_SETS[sensor_set].number
        self.scl_low = Signal()
        self.sda_low = Signal()
        self.scl = Signal(reset=1)
        self.sda = Signal(reset=1)
        self._identity = CSRStatus(
            32,
            reset=sensors.BUS_IDENTITY << 8 | number,
            description="Tells that there is a bus; bits 7 to 0: number of the sensors on it.",
        )
        self._command = CSRStorage(
            fields=[
                CSRField("data", size=8, description="The byte to send."),
                CSRField("start", description="START first."),
                CSRField("read", description="Reads a byte instead of sending one."),
                CSRField("acknowledge", description="Of a byte read: more are wanted."),
                CSRField("stop", description="STOP at the end."),
            ],
            description="Appends a command to the queue.",
        )
        self._status = CSRStatus(
            fields=[
                CSRField("busy", description="A command is being carried out, or waits."),
                CSRField("nack", description="A byte was not acknowledged."),
                CSRField("stuck", description="A line was held low for too long."),
                CSRField("scl", description="Level of SCL."),
                CSRField("sda", description="Level of SDA."),
            ],
            description="State of the bus; nack and stuck stay until clear is written.",
        )
        self._received = CSRStatus(32, description="Bytes read, the last one in bits 7 to 0.")
        self._clear = CSRStorage(description="Any write forgets commands, errors and bytes read.")

        # # #

        self.queue = queue = ResetInserter()(stream.SyncFIFO(COMMAND, sensors.QUEUE))
        self.engine = engine = ResetInserter()(I2cEngine(quarter, patience))
        self.specials += [
            MultiReg(self.scl, engine.scl, reset=1),
            MultiReg(self.sda, engine.sda, reset=1),
        ]
        self.comb += [
            queue.reset.eq(self._clear.re),
            engine.reset.eq(self._clear.re),
            queue.sink.valid.eq(self._command.re),
            queue.sink.payload.raw_bits().eq(self._command.storage),
            queue.source.connect(engine.sink),
            self.scl_low.eq(engine.scl_low),
            self.sda_low.eq(engine.sda_low),
            self._status.fields.busy.eq(queue.source.valid | ~engine.idle),
            self._status.fields.nack.eq(engine.nack),
            self._status.fields.stuck.eq(engine.stuck),
            self._status.fields.scl.eq(engine.scl),
            self._status.fields.sda.eq(engine.sda),
            self._received.status.eq(engine.received),
        ]

    def connect(self, pads: Any) -> None:
        """Connects pins ``scl`` and ``sda``, which have pull-up resistors."""
        self.specials += [
            Tristate(pads.scl, o=0, oe=self.scl_low, i=self.scl),
            Tristate(pads.sda, o=0, oe=self.sda_low, i=self.sda),
        ]
