"""``--gateware``: what it takes, and what a target makes of it."""

from dataclasses import replace

import pytest

from jalgateware.contract.config import STANDARD, EngineConfig
from jalgateware.contract.isa import Format
from jalhost.engine.emulator import Emulator
from jalhost.engine.gateware import Gateware, engine_config, parse_gateware
from jalhost.engine.targets import open_target
from jalhost.errors import ModelError, UsageError
from jalhost.models.plan import CLASSIFIER
from jaltest.tiny import tiny_image


def test_keys_of_the_engine_and_of_the_system() -> None:
    text = "tokens=4, mxfp4=true,attention_slots = 4,dram=ddr3x64,clock_hz=50_000_000,sensors=1"
    assert parse_gateware(text) == Gateware(
        {"tokens": 4, "mxfp4": True, "attention_slots": 4},
        {"dram": "ddr3x64", "clock_hz": 50_000_000, "sensors": True},
        text,
    )


@pytest.mark.parametrize(
    ("text", "value"), [("true", True), ("1", True), ("false", False), ("0", False)]
)
def test_switches(text: str, value: bool) -> None:
    config = engine_config(parse_gateware(f"mxfp4={text}").engine, EngineConfig())
    assert config.mxfp4 is value


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("tokens", "tokens without a value"),
        ("tokens=", "tokens without a value"),
        ("tokens=2,tokens=4", "names tokens twice"),
        (
            "lines=16",
            r"knows no 'lines' \(it knows dram, clock_hz, cpu, .*fault, lanes, .*words\)",
        ),
        ("dram_mib=64", "knows no 'dram_mib'"),
        ("lanes=32,", "knows no ''"),
        ("dram=", "dram without a value"),
        ("tokens=many", "a whole number for tokens, not 'many'"),
        ("clock_hz=1.5", "a whole number for clock_hz, not '1.5'"),
        ("sensors=2", "true or false for sensors, not '2'"),
        ("mxfp4=maybe", "true or false for mxfp4, not 'maybe'"),
        ("tokens=9", "tokens is 1 to 4, not 9"),
    ],
)
def test_what_makes_no_sense_is_refused(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message), open_target("emu", print, gateware=text):
        pass


def test_what_is_not_named_stays_as_the_target_has_it() -> None:
    with open_target("emu", print, gateware="max_context=512") as target:
        assert isinstance(target, Emulator)
        assert target.config == replace(STANDARD, max_context=512)
        assert (target.info.token_rows, target.info.gateware) == (4, "max_context=512")
    with open_target("emu", print) as target:
        assert isinstance(target, Emulator)
        assert (target.config, target.info.gateware) == (STANDARD, "")


def test_gateware_without_mxfp4_refuses_such_matrices() -> None:
    image = tiny_image(formats={CLASSIFIER: Format.MXFP4})
    with open_target("emu", print, gateware="mxfp4=true") as target:
        target.load(image)
    with (
        open_target("emu", print, gateware="mxfp4=false") as target,
        pytest.raises(ModelError, match="takes MXINT8 only"),
    ):
        target.load(image)


@pytest.mark.parametrize(
    ("target", "text", "message"),
    [
        ("emu", "dram=ddr3x16,clock_hz=50000000", "the emulator has no dram and no clock_hz"),
        ("uart:/dev/null", "tokens=4", "a board has the gateware that it was built with"),
    ],
)
def test_targets_that_cannot_have_it(target: str, text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message), open_target(target, print, gateware=text):
        pass
