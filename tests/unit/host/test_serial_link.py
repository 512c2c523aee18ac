"""How host and device come to a rate, in simulated time."""

from collections.abc import Iterator

import pytest

from jalgateware.contract.mailbox import Field
from jalgateware.contract.memory_map import MAIN_RAM_ORIGIN, TUNING_WORD_ADDRESS
from jalgateware.contract.serial_port import (
    BASE_BAUD,
    BAUD_RATES,
    SLOWEST_BIT_CYCLES,
    possible_rates,
    tuning_word,
)
from jalhost.device import Device
from jalhost.errors import LinkError
from jalhost.links.serial_link import SerialLink
from jaltest.device import CLOCK_HZ
from jaltest.uart import Clock, Faults, SerialDevice, Uart, simulated_time


@pytest.fixture
def clock() -> Iterator[Clock]:
    with simulated_time() as simulated:
        yield simulated


def connect(uart: Uart, said: list[str] | None = None, pinned: int | None = None) -> SerialLink:
    """Finds the device, and tunes what can be tuned."""
    link = SerialLink(uart, (said if said is not None else []).append, pinned)
    link.find()
    identity = Device(link).identity
    if identity.tunable:
        link.tune(identity.clock_hz)
    return link


def works(link: SerialLink) -> bool:
    values = [0x01020304 * i & 0xFFFFFFFF for i in range(1000)]
    link.write(MAIN_RAM_ORIGIN, values)
    return link.read(MAIN_RAM_ORIGIN, len(values)) == values


def test_fastest_rate_is_chosen(clock: Clock) -> None:
    said: list[str] = []
    link = connect(Uart(SerialDevice(), clock), said)
    assert link.baud == BAUD_RATES[0] == 3_000_000
    assert said == ["ttyTEST0 at 3,000,000 baud"]
    assert works(link)


@pytest.mark.parametrize("best", BAUD_RATES)
def test_cable_limits_the_rate(clock: Clock, best: int) -> None:
    link = connect(Uart(SerialDevice(), clock, best_baud=best))
    assert link.baud == best
    assert works(link)


def test_adapter_limits_the_rate(clock: Clock) -> None:
    assert connect(Uart(SerialDevice(), clock, adapter_baud=1_000_000)).baud == 1_000_000


def test_rate_is_confirmed(clock: Clock) -> None:
    device = SerialDevice()
    link = connect(Uart(device, clock))
    clock.sleep(60)
    assert works(link)
    assert device.memory[TUNING_WORD_ADDRESS] == tuning_word(3_000_000, CLOCK_HZ)


@pytest.mark.parametrize("left", BAUD_RATES)
def test_device_is_found_at_the_rate_that_it_was_left_at(clock: Clock, left: int) -> None:
    link = connect(Uart(SerialDevice(baud=left), clock))
    assert link.baud == 3_000_000


def test_next_program_finds_the_device(clock: Clock) -> None:
    device = SerialDevice()
    for seed in range(3):
        assert connect(Uart(device, clock, seed=seed)).baud == 3_000_000


def test_pinned_rate_is_kept(clock: Clock) -> None:
    link = connect(Uart(SerialDevice(), clock), pinned=460_800)
    assert link.baud == 460_800
    assert works(link)


def test_pinned_rate_that_does_not_work_is_an_error(clock: Clock) -> None:
    with pytest.raises(LinkError, match="ttyTEST0 does not work at 2000000 baud"):
        connect(Uart(SerialDevice(), clock, best_baud=1_000_000), pinned=2_000_000)


def test_device_without_the_register_is_left_alone(clock: Clock) -> None:
    device = SerialDevice(tunable=False)
    link = connect(Uart(device, clock))
    assert link.baud == BASE_BAUD
    assert works(link)
    assert device.memory[TUNING_WORD_ADDRESS] == tuning_word(BASE_BAUD, CLOCK_HZ)


def test_damaged_tuning_word_does_not_cut_the_host_off(clock: Clock) -> None:
    device = SerialDevice()
    link = connect(Uart(device, clock))
    device.memory[TUNING_WORD_ADDRESS] ^= 0x10000000
    assert works(link)
    assert link.baud == 3_000_000


def test_device_that_was_reset_is_found_and_tuned_again(clock: Clock) -> None:
    device = SerialDevice()
    link = connect(Uart(device, clock))
    device.restart(whole=True)
    assert works(link)
    assert link.baud == 3_000_000
    assert device.get(Field.TUNING_WORD) == tuning_word(3_000_000, CLOCK_HZ)


def test_rate_that_stops_working_is_left(clock: Clock) -> None:
    said: list[str] = []
    uart = Uart(SerialDevice(), clock)
    link = connect(uart, said)
    uart.best_baud = 1_500_000
    assert works(link)
    assert link.baud == 1_500_000
    assert "1,500,000 baud" in said[-1]


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("noise", [1e-4, 8e-4])
def test_errors_make_the_link_slower(clock: Clock, noise: float, seed: int) -> None:
    said: list[str] = []
    uart = Uart(SerialDevice(), clock, seed=seed)
    link = connect(uart, said)
    uart.best_baud, uart.noise = 1_500_000, Faults(noise / 2, noise / 4, noise / 4)
    rounds = 0
    while link.baud > uart.best_baud and (rounds := rounds + 1) < 400:
        works(link)  # what words carry may be damaged: those who use links check that
    assert link.baud in (1_500_000, 1_000_000)  # a rate may fail its patterns by chance
    assert f"going on at {link.baud:,}" in said[-1]


def test_few_errors_do_not(clock: Clock) -> None:
    uart = Uart(SerialDevice(), clock, Faults(0, 3e-6, 3e-6))
    link = connect(uart)
    for _ in range(60):
        works(link)
    assert link.failures > 0
    assert link.baud == 3_000_000


def test_rates_behind_one_that_does_not_work_are_tried(clock: Clock) -> None:
    said: list[str] = []
    uart = Uart(SerialDevice(), clock)
    link = connect(uart, said)
    uart.best_baud, uart.noise = 1_500_000, Faults(2e-3, 1e-3, 1e-3)  # patterns fail, spans too
    while len(said) == 1:
        works(link)
    assert link.baud == 1_500_000
    assert said[1:] == ["many errors at 3,000,000 baud: going on at 1,500,000"]


def test_silence_is_an_error(clock: Clock) -> None:
    uart = Uart(SerialDevice(), clock, Faults(drop=1.0))
    with pytest.raises(LinkError, match="no answer from ttyTEST0 at 115200 to 3000000 baud"):
        connect(uart)
    assert clock.now < 15


def test_link_that_goes_silent_is_given_up(clock: Clock) -> None:
    uart = Uart(SerialDevice(), clock)
    link = connect(uart)
    uart.faults = Faults(drop=1.0)
    with pytest.raises(LinkError, match="no answer"):
        link.read(MAIN_RAM_ORIGIN)


def test_rates_are_those_that_the_clock_can_make() -> None:
    assert possible_rates(100_000_000)[0] == 3_000_000
    slow = possible_rates(25_000_000)
    assert slow[0] == 2_000_000
    assert all(25_000_000 / baud >= SLOWEST_BIT_CYCLES for baud in slow)
    assert tuning_word(115_200, 50_000_000) == 9895604
