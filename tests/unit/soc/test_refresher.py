"""Refresh in bursts: the commands, their distances, and how often they come."""

from dataclasses import dataclass
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import pytest

from jalsoc.dram import DRAM_KINDS, dram_chip
from jalsoc.refresher import A10, BurstRefresher
from jaltest.gateware import Process, simulate

PRECHARGE, REFRESH, CALIBRATE = (0, 1, 1), (1, 1, 0), (0, 0, 1)
"""Commands as (cas, ras, we)."""


@dataclass(frozen=True)
class Event:
    """A command on the bus."""

    cycle: int
    command: tuple[int, int, int]
    address: int


def settings(with_refresh: bool = True, calibrates: bool = True) -> Any:
    """What LiteDRAM's controller hands to its refresher, with an interval that tests can wait."""
    chip = dram_chip(DRAM_KINDS["ddr3x16"], 32 << 20, 100e6)
    timing = SimpleNamespace(**vars(chip.timing_settings))
    timing.tREFI = 100
    if not calibrates:
        timing.tZQCS = None
    return SimpleNamespace(
        timing=timing,
        geom=SimpleNamespace(addressbits=13, bankbits=3),
        phy=SimpleNamespace(nranks=1),
        with_refresh=with_refresh,
    )


def watch(unit: BurstRefresher, cycles: int, grant: int = 5) -> tuple[list[Event], list[int]]:
    """Commands, and the cycles in which the bus is asked for; it is granted after a while."""
    events: list[Event] = []
    wanted: list[int] = []

    def multiplexer() -> Process:
        cmd, granted, waited = unit.cmd, False, 0
        for cycle in range(cycles):
            valid = yield cmd.valid
            if valid:
                wanted.append(cycle)
                waited += 1
                command = ((yield cmd.cas), (yield cmd.ras), (yield cmd.we))
                if any(command):
                    assert granted, "a command without the bus"
                    events.append(Event(cycle, command, (yield cmd.a)))
            if (yield cmd.last):
                assert not valid
                granted, waited = False, 0
            elif waited == grant:
                granted = True
            yield cmd.ready.eq(int(granted))
            yield

    simulate(unit, [multiplexer()])
    return events, wanted


def distances(events: list[Event]) -> list[int]:
    return [after.cycle - before.cycle for before, after in pairwise(events)]


@pytest.mark.parametrize("postponing", [1, 2, 8])
def test_a_burst(postponing: int) -> None:
    config = settings(calibrates=False)
    timing = config.timing
    events, wanted = watch(BurstRefresher(config, 100e6, postponing=postponing), 2000)
    burst = events[: postponing + 1]
    assert [event.command for event in burst] == [PRECHARGE] + [REFRESH] * postponing
    assert distances(burst) == [timing.tRP] + [timing.tRFC] * (postponing - 1)
    assert burst[0].address & A10
    # The bus is given back no sooner than the last refresh is over, and hardly later.
    end = next(cycle for cycle in wanted if cycle + 1 not in wanted)
    assert 0 <= end + 1 - (burst[-1].cycle + timing.tRFC) <= 2


@pytest.mark.parametrize(("postponing", "grant"), [(1, 5), (8, 5), (8, 60)])
def test_as_many_as_the_chip_needs(postponing: int, grant: int) -> None:
    config = settings(calibrates=False)
    interval, bursts = config.timing.tREFI * postponing, 5
    unit = BurstRefresher(config, 100e6, postponing=postponing)
    events, _ = watch(unit, interval * bursts + interval // 2 + 40, grant)
    starts = [event for event in events if event.command == PRECHARGE]
    assert len(starts) == bursts
    assert distances(starts) == [interval] * (bursts - 1)
    assert len(events) == bursts * (postponing + 1)


def test_calibration_follows_a_burst() -> None:
    config = settings()
    # Due three times in 3000 cycles, at intervals of 10 refreshes.
    events, wanted = watch(BurstRefresher(config, 1e6, 1e3, postponing=2), 3300)
    places = [i for i, event in enumerate(events) if event.command == CALIBRATE]
    assert len(places) == 3
    for place in places:
        before = events[place - 3 : place]
        assert [event.command for event in before] == [PRECHARGE, REFRESH, REFRESH]
        end = next(c for c in wanted if c > events[place].cycle and c + 1 not in wanted)
        assert end + 1 >= events[place].cycle + config.timing.tZQCS


def test_without_refresh_the_bus_stays_free() -> None:
    assert watch(BurstRefresher(settings(with_refresh=False), 100e6), 500) == ([], [])


@pytest.mark.parametrize("postponing", [0, 9])
def test_bursts_are_as_long_as_chips_allow(postponing: int) -> None:
    with pytest.raises(ValueError, match=f"1 to 8 refreshes in a burst, not {postponing}"):
        BurstRefresher(settings(), 100e6, postponing=postponing)
