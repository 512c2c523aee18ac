"""The I2C master against the INA226's model, and against lines that somebody holds."""

from collections.abc import Callable
from itertools import pairwise

import pytest
from litex.gen import LiteXModule
from migen import Signal, passive, run_simulation

from jalgateware.contract import sensors
from jalsoc.i2c import COMMAND, I2cEngine
from jalsoc.sim.sensors import Fault, Ina226Model, bus_steps, shunt_steps
from jaltest.gateware import Process

QUARTER, PATIENCE = 4, 200
ADDRESS = sensors.SIMULATED_RAIL.address
LONGEST = 20_000


class Bench:
    """Master and model on one bus; ``hold_scl`` pulls, too."""

    def __init__(self) -> None:
        self.module = module = LiteXModule()
        module.engine = self.engine = I2cEngine(QUARTER, PATIENCE)
        module.model = self.model = Ina226Model(ADDRESS)
        self.hold_scl = Signal()
        self.scl, self.sda = Signal(), Signal()
        module.comb += [
            self.scl.eq(~(self.engine.scl_low | self.model.scl_low | self.hold_scl)),
            self.sda.eq(~(self.engine.sda_low | self.model.sda_low)),
        ]
        for end in (self.engine, self.model):
            module.comb += [end.scl.eq(self.scl), end.sda.eq(self.sda)]


def command(data: int = 0, **flags: int) -> dict[str, int]:
    return dict.fromkeys((name for name, _ in COMMAND), 0) | {"data": data} | flags


def register(pointer: int, address: int = ADDRESS) -> list[dict[str, int]]:
    """Reads two bytes of a register."""
    return [
        command(address << 1, start=1),
        command(pointer),
        command(address << 1 | 1, start=1),
        command(read=1, acknowledge=1),
        command(read=1, stop=1),
    ]


def play(bench: Bench, commands: list[dict[str, int]]) -> Process:
    """Gives the commands, and waits until they are over."""
    sink = bench.engine.sink
    for item in commands:
        for name, value in item.items():
            yield getattr(sink, name).eq(value)
        yield sink.valid.eq(1)
        yield
        for _ in range(LONGEST):
            if (yield sink.ready):
                break
            yield
        else:
            pytest.fail(f"{item} hangs")
        yield sink.valid.eq(0)
        yield
    for _ in range(LONGEST):
        if (yield bench.engine.idle):
            return
        yield
    pytest.fail("the master does not come to rest")


def simulate(
    commands: list[dict[str, int]],
    prepare: Callable[[Bench], Process] | None = None,
    beside: Callable[[Bench], Process] | None = None,
) -> dict[str, int]:
    bench = Bench()
    found: dict[str, int] = {}

    def process() -> Process:
        if prepare:
            yield from prepare(bench)
        yield from play(bench, commands)
        for name in ("received", "nack", "stuck", "scl_low", "sda_low"):
            value = yield getattr(bench.engine, name)
            assert value is not None
            found[name] = value

    processes = [process()] + ([passive(beside)(bench)] if beside else [])
    run_simulation(bench.module, processes)
    return found


@pytest.mark.parametrize(
    ("pointer", "expected"),
    [
        (sensors.INA_SHUNT_REGISTER, shunt_steps(sensors.SIMULATED_CURRENT_A)),
        (sensors.INA_BUS_REGISTER, bus_steps(sensors.SIMULATED_BUS_V)),
        (0xFE, sensors.INA226_IDENTITY[0xFE]),
    ],
)
def test_reads_registers(pointer: int, expected: int) -> None:
    found = simulate(register(pointer))
    assert found == {"received": expected, "nack": 0, "stuck": 0, "scl_low": 0, "sda_low": 0}


def test_reads_one_register_after_the_other() -> None:
    found = simulate(register(sensors.INA_SHUNT_REGISTER) + register(sensors.INA_BUS_REGISTER))
    shunt, bus = shunt_steps(sensors.SIMULATED_CURRENT_A), bus_steps(sensors.SIMULATED_BUS_V)
    assert found["received"] == shunt << 16 | bus


def test_writes_leave_the_pointer_where_it_is() -> None:
    write = [command(ADDRESS << 1, start=1), command(2), command(0x41), command(0x27, stop=1)]
    read = register(2)[2:]
    assert simulate(write + read)["received"] == bus_steps(sensors.SIMULATED_BUS_V)


def test_nobody_at_an_address() -> None:
    found = simulate(register(1, ADDRESS + 1))
    # What came behind was dropped, but for the STOP that gives the bus back.
    assert found == {"received": 0, "nack": 1, "stuck": 0, "scl_low": 0, "sda_low": 0}


def fail(fault: Fault) -> Callable[[Bench], Process]:
    def prepare(bench: Bench) -> Process:
        yield bench.model._fault.storage.eq(int(fault))
        yield

    return prepare


@pytest.mark.parametrize(
    ("fault", "nack", "stuck"),
    [(Fault.SILENT, 1, 0), (Fault.SDA_LOW, 0, 1), (Fault.SCL_LOW, 0, 1)],
)
def test_faults_end_in_an_error(fault: Fault, nack: int, stuck: int) -> None:
    found = simulate(register(1), fail(fault))
    assert (found["nack"], found["stuck"]) == (nack, stuck)
    assert (found["scl_low"], found["sda_low"]) == (0, 0)


def test_waits_for_a_device_that_holds_the_clock() -> None:
    def stretch(bench: Bench) -> Process:
        for low in (40, 3, 0, 150, 20) * 100:
            while not (yield bench.engine.scl_low):
                yield
            yield bench.hold_scl.eq(int(low > 0))
            for _ in range(low + 1):
                yield
            yield bench.hold_scl.eq(0)
            while (yield bench.engine.scl_low):
                yield

    found = simulate(register(sensors.INA_BUS_REGISTER), beside=stretch)
    assert found["stuck"] == 0
    assert found["received"] == bus_steps(sensors.SIMULATED_BUS_V)


def test_nine_clocks_free_a_device_in_the_middle_of_a_byte() -> None:
    """A device that was left in the middle lets go of SDA once its byte is out."""
    left = [*register(2)[:3]]  # reads, and nobody takes the byte
    free = [command(read=1, stop=1)]
    found = simulate(left + free + register(sensors.INA_BUS_REGISTER))
    assert found["stuck"] == 0
    assert found["received"] & 0xFFFF == bus_steps(sensors.SIMULATED_BUS_V)


def test_a_bit_takes_four_quarters() -> None:
    bench = Bench()
    falls: list[int] = []

    def process() -> Process:
        yield from play(bench, [command(ADDRESS << 1, start=1, stop=1)])

    def watch() -> Process:
        before: int | None = 1
        cycle = 0
        while True:
            level = yield bench.scl
            if before and not level:
                falls.append(cycle)
            before, cycle = level, cycle + 1
            yield

    run_simulation(bench.module, [process(), passive(watch)()])
    gaps = {later - sooner for sooner, later in pairwise(falls[1:])}
    assert gaps == {4 * QUARTER}
