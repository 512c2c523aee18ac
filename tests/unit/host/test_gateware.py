"""The option ``--gateware``: what it takes, and what targets make of it."""

import pytest

from jalgateware.contract.config import EngineConfig
from jalhost.engine.emulator import Emulator
from jalhost.engine.gateware import engine_config, parse_gateware
from jalhost.engine.targets import open_target
from jalhost.errors import UsageError


def test_keys_of_engine_and_system() -> None:
    text = "lanes=32, mxfp4=true,dram=sdr16,clock_hz=50_000_000"
    gateware = parse_gateware(text)
    assert gateware.engine == {"lanes": 32, "mxfp4": True}
    assert gateware.system == {"dram": "sdr16", "clock_hz": 50_000_000}
    assert gateware.text == text
    assert engine_config(gateware.engine) == EngineConfig(lanes=32, mxfp4=True)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("speed=3", r"knows no 'speed' \(it knows dram, clock_hz, lanes, .*port_burst_words\)"),
        ("dram_mib=64", "knows no 'dram_mib'"),
        ("lanes=32,", "knows no ''"),
        ("lanes", "names lanes without a value"),
        ("dram=", "names dram without a value"),
        ("lanes=16,lanes=32", "names lanes twice"),
        ("lanes=many", "takes a whole number for lanes, not 'many'"),
        ("clock_hz=1.5", "takes a whole number for clock_hz, not '1.5'"),
        ("mxfp4=2", "takes true or false for mxfp4, not '2'"),
    ],
)
def test_what_makes_no_sense_is_refused(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=f"--gateware {message}"):
        parse_gateware(text)


def test_values_out_of_range_are_refused() -> None:
    with pytest.raises(UsageError, match="--gateware: lanes is a power of two from 2 to 64, not 3"):
        engine_config({"lanes": 3})


def test_emulator_has_an_engine_and_no_dram() -> None:
    with open_target("emu", print, gateware="lanes=64,max_dim=64") as target:
        assert isinstance(target, Emulator)
        assert target.config == EngineConfig(lanes=64, max_dim=64)
        assert target.info.gateware == "lanes=64,max_dim=64"
    with (
        pytest.raises(UsageError, match="the emulator has no dram and no clock_hz"),
        open_target("emu", print, gateware="dram=sdr16,clock_hz=50000000"),
    ):
        pass


def test_a_board_has_the_gateware_that_it_has() -> None:
    with (
        pytest.raises(UsageError, match="a board has the gateware that it was built with"),
        open_target("uart:/dev/null", print, gateware="lanes=16"),
    ):
        pass
