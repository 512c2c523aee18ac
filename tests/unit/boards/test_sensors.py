"""Sensors of boards: off unless asked for, and at the pins and places that hosts know."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from jalboards.catalogue import all_boards, find_board
from jalboards.config import BuildConfig, configure
from jalgateware.contract import sensors
from jalgateware.contract.sensors import BusRegister
from jalhost.errors import UsageError

BUSES = {"genesys2", "kc705"}


def text(folder: Path, name: str) -> str:
    return (folder / name).read_text(encoding="utf-8")


def test_boards_say_what_they_have() -> None:
    measured = {board.name: board.sensors for board in all_boards() if board.sensors}
    assert set(measured) == {board.name for board in all_boards() if board.tier == 2}
    assert {name for name, item in measured.items() if item.bus} == BUSES
    assert all(item.xadc for item in measured.values())
    for name in BUSES:
        bus = measured[name].bus
        assert bus
        assert sensors.SENSOR_SETS[bus.sensor_set].rails


def test_sensors_are_off_unless_asked_for() -> None:
    assert not any(configure(board, {}).sensors for board in all_boards())
    assert configure(find_board("kc705"), {}, sensors=True).sensors


def test_boards_without_sensors_refuse() -> None:
    with pytest.raises(UsageError, match=r"ecpix5 has no sensors .*boards with sensors: acorn, "):
        configure(find_board("ecpix5"), {}, sensors=True)


@pytest.mark.parametrize("name", sorted(BUSES))
def test_sensors_are_in_the_design(name: str, elaborated_little: Callable[..., Path]) -> None:
    folder = elaborated_little(name, sensors=True)
    maps = json.loads(text(folder, "csr.json"))
    registers = {key: item["addr"] for key, item in maps["csr_registers"].items()}
    for item in BusRegister:
        place = registers[f"sensor_bus_{item.name.lower()}"]
        assert place == sensors.BUS_ADDRESS + item
    for index, register in enumerate(sensors.XADC_REGISTERS):
        assert registers[f"xadc_{register}"] == sensors.XADC_ADDRESS + 4 * index
    verilog, constraints = text(folder, "top.v"), text(folder, "top.xdc")
    assert re.search(r"^\s*XADC\b", verilog, re.MULTILINE)
    bus = find_board(name).sensors.bus  # type: ignore[union-attr]  # they have one
    assert bus
    for pin, line in ((bus.scl, "scl"), (bus.sda, "sda")):
        assert re.search(rf"inout\s+wire\s+sensors_{line}\b", verilog)
        assert re.search(rf"LOC {pin} \[get_ports {{sensors_{line}}}\]", constraints)
        assert re.search(
            rf"IOSTANDARD {bus.standard} \[get_ports {{sensors_{line}}}\]", constraints
        )
    assert "## sensor_bus" in text(folder, "registers.md")


def test_addresses_do_not_move_what_is_there_without(
    little: Callable[..., BuildConfig], elaborated_little: Callable[..., Path]
) -> None:
    bases = json.loads(text(elaborated_little("kc705", sensors=True), "csr.json"))["csr_bases"]
    without = {name: base for name, base in bases.items() if name not in ("sensor_bus", "xadc")}
    assert sorted(without.values())[-1] < bases["xadc"] < bases["sensor_bus"]
    assert not little("kc705").sensors
