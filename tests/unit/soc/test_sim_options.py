"""Options of ``python -m jalsoc.sim``: which system they ask for."""

import json
import subprocess
import sys
from dataclasses import replace

import pytest

from jalgateware.contract.config import STANDARD
from jalhost.engine.simulator_process import complete_engine
from jalhost.errors import UsageError
from jalsoc.dram import DRAM_KINDS
from jalsoc.sim.__main__ import configuration, parse
from jalsoc.sim.config import SimulatorConfig


def config(*arguments: str) -> SimulatorConfig:
    return configuration(parse(["describe", *arguments]))


def test_without_options_it_is_the_default() -> None:
    assert config() == SimulatorConfig()


def test_the_dram_decides_on_what_is_not_given() -> None:
    assert config("--dram=sdr16").engine == replace(STANDARD, **DRAM_KINDS["sdr16"].engine)
    given = json.dumps({"lanes": 4, "port_burst_words": 64, "max_dim": 64})
    engine = config("--dram=sdr16", f"--engine={given}").engine
    assert (engine.lanes, engine.port_burst_words, engine.max_dim) == (4, 64, 64)
    assert engine.port_fifo_words == DRAM_KINDS["sdr16"].engine["port_fifo_words"]


def test_a_scope_is_asked_for() -> None:
    assert not config().scope
    assert config("--scope") == replace(SimulatorConfig(), scope=True)


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("--dram=rope", "there is no DRAM 'rope'"),
        ("--dram-mib=2048", "a DRAM model of 2147483648 bytes is not possible"),
        ("--link=rope", r"there is no link 'rope' \(choose from .*eth"),
        ("--clock-hz=1", "the clock is 10 to 400 MHz"),
        ('--engine={"lanes": 8}', "8 lanes read less than a word of ddr3x16"),
        ('--engine={"lamps": 8}', "--engine: .*lamps"),
    ],
)
def test_systems_that_do_not_exist(option: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        config(option)


def test_hosts_are_told() -> None:
    """As a process: the host has no other way."""
    assert complete_engine({"max_dim": 64}, {"dram": "ddr3x64"}) == replace(
        STANDARD, lanes=64, max_dim=64
    )
    with pytest.raises(UsageError, match="the clock is 10 to 400 MHz, not 5 Hz"):
        complete_engine({}, {"clock_hz": 5})
    command = [sys.executable, "-m", "jalsoc.sim", "describe", "--dram=sdr16"]
    run = subprocess.run(command, capture_output=True, text=True, check=True)
    event = json.loads(run.stdout)
    assert (event["event"], event["dram"], event["engine"]["lanes"]) == ("system", "sdr16", 2)
