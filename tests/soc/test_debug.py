"""Registers, memory, console and a report of the simulated system, by the command line."""

import json
import zipfile
from pathlib import Path

import pytest

from jalgateware.contract.memory_map import MAIN_RAM_ORIGIN
from jalhost.engine.records import ConsoleRecord, CsrRecord, MemoryTestRecord, ReportRecord
from jaltest.system import System
from jaltest.texts import run_json

pytestmark = [pytest.mark.sim, pytest.mark.slow, pytest.mark.usefixtures("simulator_build")]


def test_registers_have_the_names_of_the_simulators_build(shared: System) -> None:
    names = ["ctrl_scratch", "engine_lanes", "fingerprint_value", "watchdog_status"]
    record = CsrRecord.model_validate(run_json("csr", "read", *names, "--target", "sim", "--json"))
    values = {item.name: item.value for item in record.registers}
    # What LiteX's register resets to, and what this other simulator of the same build says.
    assert values["ctrl_scratch"] == 0x12345678
    assert values["engine_lanes"] == shared.register("engine_lanes")
    assert values["fingerprint_value"] == int(
        json.loads(shared.build.soc_json.read_text())["fingerprint"], 16
    )
    assert {item.name: item.address for item in record.registers} == {
        name: shared.registers[name] for name in names
    }


def test_dram_passes_the_memory_tests() -> None:
    text = run_json("mem", "test", "main_ram", "--size", "4K", "--target", "sim", "--json")
    record = MemoryTestRecord.model_validate(text)
    assert record.passed
    assert (record.memory, record.address, record.size) == ("main_ram", MAIN_RAM_ORIGIN, 4096)
    assert {item.name: item.accesses for item in record.tests} == {
        "data-bus": 192,
        "address-bus": 11 * (3 + 11),
        "random": 2 * 1024,
        "march": 10 * 1024,
    }


def test_the_console_answers_scripts() -> None:
    commands = ["-c", "ident", "-c", "read 90000000 2", "-c", "help", "-c", "nonsense"]
    record = ConsoleRecord.model_validate(
        run_json("console", *commands, "--target", "sim", "--json")
    )
    ident, words, helped, unknown = (answer.lines for answer in record.answers)
    assert len(ident) == 1
    assert ident[0].startswith("jalfirmware ")
    assert [line.split(":")[0] for line in words] == ["90000000", "90000004"]
    assert helped == unknown == ["commands: help, ident, status, read ADDRESS [WORDS]"]


def test_a_report_has_the_self_test_and_the_console(tmp_path: Path) -> None:
    output = tmp_path / "r.zip"
    record = ReportRecord.model_validate(
        run_json("report", "--target", "sim", "-o", str(output), "--json")
    )
    assert record.problems == []
    with zipfile.ZipFile(output) as archive:
        found = json.loads(archive.read("self-test.json"))
        assert found["result"] == "OK"
        assert found["tests"] == dict.fromkeys(found["tests"], True)
        assert len(found["tests"]) == 5
        assert b"> ident\njalfirmware " in archive.read("console.txt")
        assert "engine_status" in json.loads(archive.read("registers.json"))
