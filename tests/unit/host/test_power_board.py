"""Meters on a board's sensor bus, and its sensors, on stand-ins for the chips."""

from collections.abc import Generator
from typing import Any

import pytest

from jalgateware.contract import sensors
from jalgateware.contract.sensors import BusStatus
from jalgateware.golden.sampler import Sampling
from jalhost.engine.emulator import Emulator
from jalhost.engine.hardware import device_info, run_on
from jalhost.engine.target import Request, Sampled, TargetInfo
from jalhost.errors import DeviceError, LinkError, UsageError
from jalhost.models.blob import build_blob
from jalhost.power import i2c
from jalhost.power.i2c import signed
from jalhost.power.meter import Meter, Source
from jalhost.power.pmbus import Direct, linear11, linear16
from jalhost.power.sensors import Reading, read_sensors
from jalhost.power.session import open_power
from jalhost.power.spec import parse_meter
from jaltest.sensors import Pages, SensorDevice, Words, connect
from jaltest.tiny import tiny_image

IMAGE = tiny_image()

INA226 = Words({1: 1000, 2: 4000, **sensors.INA226_IDENTITY})
"""0.25 A through 10 mΩ, at 5 V."""

UCD9248 = Pages(
    {
        (0, 0x20): bytes([0x14]),
        (0, 0x8B): (0x1011).to_bytes(2, "little"),
        (0, 0x8C): (0xC2C1).to_bytes(2, "little"),
        (0, 0x96): (0xCB00).to_bytes(2, "little"),
        (3, 0x20): bytes([0x14]),
        (3, 0x8B): (0x2800).to_bytes(2, "little"),
        (3, 0x8C): (0x8000).to_bytes(2, "little"),
    }
)
"""Page 0: 1.0042 V; page 3: 2.5 V and no current."""


def board(**options: Any) -> SensorDevice:
    return SensorDevice(**({"chips": {0x40: INA226, 0x34: UCD9248}} | options))


def meter(spec: str, fake: SensorDevice | None = None) -> Meter:
    return parse_meter(spec).open(connect(fake or board()))


def test_ina226() -> None:
    found = meter("ina226:0x40,shunt=0.01")
    assert found.read_w() == pytest.approx(1.25)
    assert (found.source, found.description) == (Source.RAIL, "ina226 at 0x40")


def test_the_shunt_decides_on_the_current() -> None:
    assert meter("ina226:0x40,shunt=0.1").read_w() == pytest.approx(0.125)


def test_currents_may_flow_back() -> None:
    chip = Words({1: -400 & 0xFFFF, 2: 4000, **sensors.INA226_IDENTITY})
    found = meter("ina226:64,shunt=0.01", board(chips={0x40: chip}))
    assert found.read_w() == pytest.approx(-0.5)


def test_ina219_has_other_steps() -> None:
    # 100 mV across 0.1 Ω, 12 V; the register's lower bits are flags.
    chip = Words({1: 10_000, 2: 3000 << 3 | 0b010})
    found = meter("ina219:0x45,shunt=0.1", board(chips={0x45: chip}))
    assert found.read_w() == pytest.approx(12.0)


def test_another_chip_is_no_ina226() -> None:
    chip = Words({1: 1000, 2: 4000})
    with pytest.raises(DeviceError, match="the chip at 0x40 is no INA226: register 0xfe is 0x0000"):
        meter("ina226:0x40,shunt=0.01", board(chips={0x40: chip}))


def test_a_shunt_is_needed() -> None:
    with pytest.raises(UsageError, match="needs its shunt in ohms"):
        meter("ina226:0x40")


@pytest.mark.parametrize(
    ("word", "value"),
    # As Eli Billauer read them from a KC705, https://billauer.co.il/blog/2018/01/pmbus-kc705-parameter-dump
    [(0xDBC2, 30.0625), (0xD303, 12.0469), (0x8000, 0.0), (0xDA80, 20.0)],
)
def test_linear11(word: int, value: float) -> None:
    assert linear11(word) == pytest.approx(value, abs=5e-5)


def test_linear11_below_zero() -> None:
    assert linear11(0b11111_11111111111) == -0.5


def test_linear16() -> None:
    # From the same place: VOUT_MODE 0x14.
    assert linear16(0x1011, signed(0x14, 5)) == pytest.approx(1.0042, abs=5e-5)
    assert linear16(0xFFFF, 0) == 65535


def test_direct() -> None:
    # m = 850, b = 0, R = -2: 5 A are 42.5, and 0xFFFE is below zero.
    assert Direct(850, 0, -2).value(42) == pytest.approx(42 * 100 / 850)
    assert Direct(850, 10, 1).value(0xFFFE) == pytest.approx((-0.2 - 10) / 850)


def test_pmbus_multiplies_volts_and_amperes() -> None:
    expected = linear16(0x1011, -12) * linear11(0xC2C1)
    assert meter("pmbus:0x34").read_w() == pytest.approx(expected)


def test_pmbus_by_its_own_power() -> None:
    assert meter("pmbus:52,power=pout").read_w() == pytest.approx(linear11(0xCB00))


def test_pmbus_pages() -> None:
    assert meter("pmbus:52,page=3").read_w() == 0.0


def test_pmbus_direct() -> None:
    pages = Pages({(0, 0x20): b"\x40", (0, 0x8B): b"\x64\x00", (0, 0x8C): b"\x32\x00"})
    found = meter("pmbus:0x34,m=10,r=0", board(chips={0x34: pages}))
    assert found.read_w() == pytest.approx(10.0 * 5.0)


def test_pmbus_formats_that_cannot_be_read() -> None:
    pages = Pages({(0, 0x20): b"\x20", (0, 0x8B): b"\x64\x00"})
    with pytest.raises(DeviceError, match="at 0x34 gives voltages in format 1 of PMBus"):
        meter("pmbus:0x34", board(chips={0x34: pages})).read_w()


def test_pmbus_coefficients_go_together() -> None:
    with pytest.raises(UsageError, match="takes b and r with m"):
        meter("pmbus:0x34,r=1")


# What goes wrong on the bus.


def test_nobody_at_the_address() -> None:
    with pytest.raises(DeviceError) as error:
        meter("ina226:0x41,shunt=0.01")
    assert str(error.value) == (
        "nobody answers at address 0x41 on the sensor bus of bridge"
        " (check the address in --meter, and what the board has)"
    )


@pytest.mark.parametrize(
    ("low", "text"),
    [
        ((BusStatus.SDA,), "SDA held low"),
        ((BusStatus.SCL,), "SCL held low"),
        ((BusStatus.SCL, BusStatus.SDA), "SCL and SDA held low"),
    ],
)
def test_a_stuck_bus(low: tuple[BusStatus, ...], text: str) -> None:
    with pytest.raises(DeviceError, match=f"the sensor bus of bridge is stuck: {text}"):
        meter("ina226:0x40,shunt=0.01", board(low=low))


def test_a_chip_in_the_middle_of_a_byte_is_clocked_free() -> None:
    found = meter("ina226:0x40,shunt=0.01", board(low=(BusStatus.SDA,), frees=1))
    assert found.read_w() == pytest.approx(1.25)


def test_a_bus_that_never_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(i2c, "WAIT_S", 0.01)
    with pytest.raises(LinkError, match="the sensor bus of bridge does not finish"):
        meter("ina226:0x40,shunt=0.01", board(never_ends=True))


def test_gateware_without_a_bus() -> None:
    with pytest.raises(DeviceError, match="has no sensor bus") as error:
        meter("ina226:0x40,shunt=0.01", board(sensor_set=None))
    assert "--with-sensors" in error.value.hint


def test_targets_without_a_device() -> None:
    with pytest.raises(UsageError, match="read through a board, and there is none"):
        parse_meter("ina226:0x40,shunt=0.01").open(None)


# A run, and what is measured beside it over the same link.


class Board(Emulator):
    """A target with a stand-in for its device."""

    def __init__(self, fake: SensorDevice) -> None:
        super().__init__()
        self.device = connect(fake)
        self.device.transfer_image(build_blob(IMAGE, fake.config), lambda _: None)
        self.device.load()

    @property
    def info(self) -> TargetInfo:
        return device_info("board", self.device)

    def run(self, request: Request) -> Generator[Sampled, None, None]:
        yield from run_on(self.device, request)


@pytest.mark.parametrize("simulated", [False, True])
def test_a_run_and_its_meter_share_the_link(simulated: bool) -> None:
    target = Board(board(sensor_set="simulated", simulated=simulated))
    prompt = tuple(IMAGE.tokenizer.encode("the one"))
    request = Request((prompt,), 24, Sampling())
    expected = [item.token for item in target.run(request)]
    with open_power("rails,interval=0.0001", target) as power:
        for _ in range(3):
            with power.run():
                tokens = [item.token for item in target.run(request)]
            report = power.report(len(tokens), 0.5 if power.simulated else None)
            assert tokens == expected
            assert report.samples >= 2
            assert report.mean_w == pytest.approx(1.25)
            assert report.simulated is simulated
            # A simulated board's energy is that of its own time.
            assert report.energy_j == pytest.approx(1.25 * (0.5 if simulated else report.seconds))


# What a board is known to have.


def test_rails_are_added_up() -> None:
    found = meter("rails", board(sensor_set="simulated"))
    assert found.read_w() == pytest.approx(1.25)
    assert found.description == "rails board"


def test_boards_without_known_rails() -> None:
    with pytest.raises(DeviceError, match="no sensors that are known"):
        meter("rails")
    with pytest.raises(DeviceError, match="sensors of kind 238"):
        meter("rails", board(sensor_set="of tomorrow"))


VADJ = 1.2
"""A supply that the board's user sets."""


def genesys2() -> SensorDevice:
    rails = sensors.SENSOR_SETS["genesys2"].rails
    chips = {
        rail.address: Words({1: 500, 2: round((rail.volts or VADJ) / 4e-3) << 3})  # 5 mV: 1 A
        for rail in rails
    }
    return board(chips=chips, sensor_set="genesys2")


def test_genesys2_adds_up_six_rails() -> None:
    volts = 1.0 + 1.5 + 1.8 + VADJ + 3.3 + 5.0
    assert meter("rails", genesys2()).read_w() == pytest.approx(volts, rel=1e-3)


def test_readings_have_limits() -> None:
    found = read_sensors(connect(genesys2()))
    assert len(found) == 12
    core = next(item for item in found if item.name == "VCC1V0" and item.unit == "V")
    assert core[:3] == ("VCC1V0", 1.0, "V")
    assert core[3:] == pytest.approx((0.95, 1.05))
    assert core.fine
    (adjustable,) = [item for item in found if item.name == "VADJ" and item.unit == "V"]
    assert adjustable.value == pytest.approx(VADJ)
    assert (adjustable.low, adjustable.high, adjustable.fine) == (None, None, True)
    amperes = [item for item in found if item.unit == "A"]
    assert [item.value for item in amperes] == pytest.approx([1.0] * 6)
    assert {(item.low, item.high) for item in amperes} == {(None, None)}


@pytest.mark.parametrize(("value", "fine"), [(0.9, False), (1.0, True), (1.2, False)])
def test_a_reading_beyond_its_limits_is_not_fine(value: float, fine: bool) -> None:
    assert Reading("x", value, "V", 0.95, 1.05).fine is fine
    assert Reading("x", value, "A", None, None).fine


def test_xadc() -> None:
    # 0x977 is AMD's example for 25 °C (UG480: 503.975 x code / 4096 - 273.15).
    fake = board(sensor_set=None, xadc=(0x977, 0x555, 0x999, 0x555))
    readings = read_sensors(connect(fake))
    assert [item.name for item in readings] == list(sensors.XADC_REGISTERS)
    values = [item.value for item in readings]
    assert values == pytest.approx([25.0, 1.0, 1.8, 1.0], abs=0.03)
    assert [item.unit for item in readings] == ["°C", "V", "V", "V"]
    assert all(item.fine for item in readings)


def test_gateware_without_sensors_says_nothing() -> None:
    assert read_sensors(connect(board(sensor_set=None))) == []
    assert read_sensors(Emulator()) == []


def test_addresses_and_numbers_of_sensor_sets_are_unique() -> None:
    sets = sensors.SENSOR_SETS.values()
    assert len({item.number for item in sets}) == len(sets)
    for item in sets:
        places = [(rail.address, rail.page) for rail in item.rails]
        assert len(set(places)) == len(places)
