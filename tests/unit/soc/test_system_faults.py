"""Faults around the simulated engine: their texts, and what they make of a simulator's start."""

import pytest

from jalhost.errors import UsageError
from jalsoc.sim.system_faults import (
    KINDS,
    OTHER_BUILD,
    SystemFault,
    forms,
    is_system_fault,
    parse_system_fault,
)

CLOCK_HZ = 100_000_000
REGISTERS = {"watchdog_timeout": 0xF000_1000}


def parse(text: str) -> SystemFault:
    return parse_system_fault(text, data_bits=16, row_bits=11)


@pytest.mark.parametrize(
    ("text", "options"),
    [
        ("link", ["--line-fault", "400"]),
        ("link=50", ["--line-fault", "50"]),
        ("clock=0.8", ["--clock-hz", "80000000.0"]),
        ("watchdog=1000", ["--bus-write", f"1000:{0xF000_1000}:1"]),
        ("calibration", ["--dram-fault", "calibration"]),
        ("dram-data", ["--dram-fault", "dram-data:5:1"]),
        ("dram-data=12:0", ["--dram-fault", "dram-data:12:0"]),
        ("dram-lane=0", ["--dram-fault", "dram-lane:0"]),
        ("dram-address=7", ["--dram-fault", "dram-address:7:0"]),
        ("refresh-off=8", ["--dram-fault", "refresh-off:800000"]),
        ("csr-hash", []),
        ("sensor", []),
    ],
)
def test_faults_are_options_of_the_harness(text: str, options: list[str]) -> None:
    assert is_system_fault(text)
    assert parse(text).options(CLOCK_HZ, REGISTERS) == options


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("fire", "no fault 'fire'"),
        ("dram-data=x", "x is no number"),
        ("clock=nan", "nan is no number"),
        ("dram-data=1:0:2", "too many numbers"),
        ("dram-data=16", "16 is out of range"),
        ("dram-data=1:2", "2 is out of range"),
        ("dram-lane=2", "2 is out of range"),
        ("dram-address=11", "11 is out of range"),
        ("dram-address=1.5", "1.5 is out of range"),
        ("link=0", "0 is not above 0"),
        ("calibration=1", "too many numbers"),
    ],
)
def test_faults_that_make_no_sense_are_refused(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message) as raised:
        parse(text)
    assert raised.value.hint


def test_some_are_in_what_the_simulator_says_of_itself() -> None:
    fields = {"fingerprint": f"{1:016x}"}
    parse("sensor").change(fields)
    parse("csr-hash").change(fields)
    assert fields == {"fingerprint": f"{1 | OTHER_BUILD:016x}", "sensors": ["die temperature"]}


def test_help_names_them_all() -> None:
    assert all(name in forms() for name in KINDS)
    assert not is_system_fault("lane:0.3:7=1")
