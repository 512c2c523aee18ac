"""Registers, memories and the console of a board, played by a stand-in behind a serial port."""

import json
import os
import tty
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from jalgateware.contract.memory_map import MAIN_RAM_ORIGIN, SCRATCH_OFFSET
from jalhost.engine.access import Access, Maps
from jalhost.engine.console import Console
from jalhost.engine.records import CsrRecord, MemoryRecord, MemoryTestRecord
from jalhost.errors import BundleError, DeviceError, UsageError
from jalhost.links.uartbone import UartBone
from jalhost.register_map import parse_number, read_map
from jaltest.bridge import Bridge, BridgeStream, serve
from jaltest.command import Command
from jaltest.device import FINGERPRINT, FakeDevice
from jaltest.register_maps import SCRATCH, bundle_with_map, csr_json


@dataclass
class Desk:
    """A board, and what is said of it on the command line."""

    board: FakeDevice
    options: list[str]
    jalhost: Command


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    return Command(monkeypatch, capsys)


@pytest.fixture
def desk(tmp_path: Path, command: Command) -> Iterator[Desk]:
    master, slave = os.openpty()
    tty.setraw(slave)
    fake = FakeDevice()
    serve(fake, lambda: os.read(master, 4096), lambda data: os.write(master, data))
    bundle = bundle_with_map(tmp_path / "x.jalb")
    yield Desk(fake, ["--target", f"uart:{os.ttyname(slave)}", "--bundle", str(bundle)], command)
    os.close(slave)
    os.close(master)


def test_registers_are_read_and_written_by_name(desk: Desk) -> None:
    run = desk.jalhost("csr", "write", "ctrl_scratch", "0x1234", *desk.options)
    assert (run.returncode, run.stdout) == (0, "ctrl_scratch <- 0x1234\n")
    assert desk.board.memory[SCRATCH] == 0x1234
    run = desk.jalhost("csr", "read", "ctrl_scratch", "fingerprint_value", *desk.options)
    assert run.stdout.splitlines() == [
        "ctrl_scratch = 0x00001234 (4660)",
        f"fingerprint_value = {FINGERPRINT:#018x} ({FINGERPRINT})",
    ]
    run = desk.jalhost("csr", "read", "fingerprint_value", "--json", *desk.options)
    record = CsrRecord.model_validate_json(run.stdout)
    assert [item.value for item in record.registers] == [FINGERPRINT]


def test_wide_registers_are_written_from_the_top(desk: Desk) -> None:
    value = 0x0000_0001_8000_0002
    desk.jalhost("csr", "write", "timer0_uptime_cycles", str(value), *desk.options)
    assert [desk.board.memory[0xF000_4000 + i] for i in (0, 4)] == [1, 0x8000_0002]


def test_what_makes_no_sense_is_refused_with_the_way_out(desk: Desk) -> None:
    fails = desk.jalhost.fails
    assert "did you mean engine_status" in fails(2, "csr", "read", "engine_stats", *desk.options)
    assert "is read-only" in fails(2, "csr", "write", "engine_status", "1", *desk.options)
    line = fails(2, "csr", "write", "ctrl_scratch", "0x100000000", *desk.options)
    assert "takes 0 to 0xffffffff" in line
    assert "jalhost csr list" in fails(2, "csr", "read", "zzz", *desk.options)
    assert "no number" in fails(2, "csr", "write", "ctrl_scratch", "many", *desk.options)
    unnamed = desk.options[:2]
    assert "--bundle" in fails(2, "csr", "read", "ctrl_scratch", *unnamed)
    assert "no bus" in fails(2, "csr", "read", "ctrl_scratch", "--target", "emu")
    assert "drop --bundle" in fails(2, "mem", "read", "0", "--target", "sim", *desk.options[2:])
    line = fails(2, "mem", "read", "0", "--gateware", "lanes=32", *desk.options)
    assert "drop --gateware" in line
    assert "no target" in fails(2, "mem", "read", "0", "--target", "moon")


def test_another_build_is_refused(desk: Desk, tmp_path: Path) -> None:
    other = bundle_with_map(tmp_path / "other.jalb", fingerprint=0xABC)
    options = [*desk.options[:2], "--bundle", str(other)]
    line = desk.jalhost.fails(5, "csr", "read", "ctrl_scratch", *options)
    assert f"{FINGERPRINT:016x}" in line
    assert "0000000000000abc" in line


def test_listing_needs_only_the_bundle(desk: Desk) -> None:
    run = desk.jalhost("csr", "list", "engine", *desk.options[2:])
    assert run.stdout.splitlines() == [
        "0xf0002804  ro  engine_status",
        "0xf0002834  rw  engine_streams",
    ]
    run = desk.jalhost("csr", "list", "--json", *desk.options)
    record = CsrRecord.model_validate_json(run.stdout)
    assert {item.name for item in record.registers} >= {"ctrl_scratch", "uart_xover_rxtx"}
    assert {item.value for item in record.registers} == {None}
    assert "has 'nix'" in desk.jalhost.fails(2, "csr", "list", "nix", *desk.options[2:])


def test_memory_is_written_read_and_dumped(desk: Desk, tmp_path: Path) -> None:
    place = "main_ram+0x2000"
    run = desk.jalhost("mem", "write", place, "0x64636261", "7", *desk.options)
    assert "2 words written to 0x40002000 (main_ram)" in run.stdout
    run = desk.jalhost("mem", "read", place, "2", *desk.options)
    assert run.stdout == "64636261 00000007\n"
    run = desk.jalhost("mem", "dump", place, "8", *desk.options)
    assert run.stdout.split() == ["40002000", "64636261", "00000007", "abcd...."]
    output = tmp_path / "dump.bin"
    run = desk.jalhost("mem", "dump", "0x40002000", "4K", "-o", str(output), *desk.options)
    assert output.read_bytes()[:8] == b"abcd\x07\0\0\0"
    assert output.stat().st_size == 4096
    run = desk.jalhost("mem", "read", place, "--json", *desk.options)
    record = MemoryRecord.model_validate_json(run.stdout)
    assert (record.memory, record.words, record.written) == ("main_ram", [0x64636261], False)


def test_memories_have_the_same_places_without_a_bundle(desk: Desk) -> None:
    run = desk.jalhost("mem", "read", "main_ram+0x3ffffc", *desk.options[:2])
    assert run.stdout == "00000000\n"
    line = desk.jalhost.fails(2, "mem", "read", "main_ram+0x400000", *desk.options[:2])
    assert "main_ram 0x40000000 to 0x403fffff" in line


def test_ranges_are_checked(desk: Desk) -> None:
    fails = desk.jalhost.fails
    assert "in no memory" in fails(2, "mem", "read", "0x403ffffc", "2", *desk.options)
    assert "multiples of 4" in fails(2, "mem", "read", "0x40000002", *desk.options)
    assert "no whole words" in fails(2, "mem", "dump", "mailbox", "6", *desk.options)
    assert "ROM is read-only" in fails(2, "mem", "write", "rom", "1", *desk.options)
    assert "0xffffffff" in fails(2, "mem", "write", "main_ram", "0x1ffffffff", *desk.options)
    assert "did you mean main_ram" in fails(2, "mem", "read", "main_rma", *desk.options)
    assert "in use by the firmware" in fails(2, "mem", "test", "sram", *desk.options)
    assert "name the start" in fails(2, "mem", "test", "--size", "1M", *desk.options)


def test_a_memory_test_says_what_is_wrong(desk: Desk) -> None:
    run = desk.jalhost("mem", "test", "main_ram", "--size", "1K", *desk.options)
    assert run.returncode == 0
    assert [line.split()[:2] for line in run.stdout.splitlines()] == [
        [name, "passed,"] for name in ("data-bus", "address-bus", "random", "march")
    ]
    desk.board.corrupt = [(SCRATCH_OFFSET + 8, 1000)]
    options = ["--tests", "data-bus,march", "--json", *desk.options]
    run = desk.jalhost("mem", "test", *options)
    assert run.returncode == 5
    assert "failed the test march" in run.stderr
    record = MemoryTestRecord.model_validate_json(run.stdout)
    assert [(item.name, item.passed) for item in record.tests] == [
        ("data-bus", True),
        ("march", False),
    ]
    assert not record.passed
    assert record.tests[1].wrong_bits == 0x100
    assert {item.address for item in record.tests[1].first} == {
        MAIN_RAM_ORIGIN + SCRATCH_OFFSET + 8
    }
    assert "no memory test" in desk.jalhost.fails(2, "mem", "test", "--tests", "x", *desk.options)


class Firmware(Bridge):
    """Console registers, with the firmware's answers behind them."""

    def __init__(self, dead: bool = False) -> None:
        super().__init__()
        self.dead = dead
        self.output = bytearray(b"booting\n")
        self.line = bytearray()

    def load(self, address: int) -> int:
        if address == 0xF000_1828:
            return int(not self.output)
        if address == 0xF000_1820 and self.output:
            return self.output.pop(0)
        return 0

    def store(self, address: int, value: int) -> None:
        if self.dead:
            return
        self.line.append(value)
        if value == 10:
            line, self.line = self.line[:-1].decode(), bytearray()
            answers = {"": "", "read": "read ADDRESS [WORDS], both\n", "ident": "jal 1\r\nbuild\n"}
            self.output += answers.get(line, "commands: help\n").encode()


def access_to(firmware: Firmware) -> Access:
    maps = Maps(read_map(csr_json(), "test"), None, None, "test")
    return Access("uart:x", UartBone(BridgeStream(firmware), 1.0), maps, patience_s=0.05)


def test_console_gives_the_lines_of_an_answer_alone() -> None:
    terminal = Console(access_to(Firmware()))
    assert terminal.ask("ident") == ["jal 1", "build"]
    assert terminal.ask("help") == ["commands: help"]
    assert terminal.ask("read") == ["read ADDRESS [WORDS], both"]
    assert terminal.ask("") == []
    with pytest.raises(UsageError, match="one line of at most 46 characters"):
        terminal.ask("x" * 47)
    with pytest.raises(UsageError, match="one line"):
        terminal.ask("ident\nident")
    with pytest.raises(DeviceError, match=r"is silent \(the firmware does not run"):
        Console(access_to(Firmware(dead=True)), 0.05).ask("ident")


def test_json_of_a_console_needs_a_command(command: Command) -> None:
    assert "--command" in command.fails(2, "console", "--json", "--target", "sim")


@pytest.mark.parametrize(
    ("text", "value"), [("10", 10), ("0x1f", 31), ("0b11", 3), ("4K", 4096), ("2m", 2 << 20)]
)
def test_numbers_are_read_as_people_write_them(text: str, value: int) -> None:
    assert parse_number(text) == value


@pytest.mark.parametrize("text", ["", "K", "x", "1.5", "0x"])
def test_other_texts_are_no_numbers(text: str) -> None:
    with pytest.raises(UsageError, match="is no number"):
        parse_number(text)


@pytest.mark.parametrize("content", [b"", b"{}", b"[]", json.dumps({"memories": {}}).encode()])
def test_damaged_maps_are_refused(content: bytes) -> None:
    with pytest.raises(BundleError, match="no register map"):
        read_map(content, "x.jalb")
