"""The simulator as a process: its streams, its control channel, its end."""

import json
import os
import signal
import socket
import struct
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from jalgateware.contract.mailbox import Field
from jalgateware.contract.memory_map import FINGERPRINT_ADDRESS, IMAGE_OFFSET, MAIN_RAM_ORIGIN
from jalhost.links.open import open_uart
from jalsoc.errors import SimulatorError
from jaltest.little import LIMITS
from jaltest.processes import wait_until_gone
from jaltest.system import PATIENCE_S, System

BOOT_CYCLES = 100_000
"""The firmware is ready by then."""

RUN = [sys.executable, "-m", "jalsoc.sim", "run"]


class Process:
    """``python -m jalsoc.sim run``, and its events."""

    def __init__(self, *options: str) -> None:
        self.process = subprocess.Popen(
            [*RUN, *options], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def event(self, kind: str) -> dict[str, Any]:
        """The next event of a kind; what comes before is about the build."""
        assert self.process.stdout
        for line in self.process.stdout:
            event: dict[str, Any] = json.loads(line)
            if event["event"] == kind:
                return event
            assert event["event"] == "build", event
        raise AssertionError(f"no event {kind}")

    def end(self) -> int:
        assert self.process.stdin
        assert self.process.stdout
        status = self.process.wait(PATIENCE_S)
        self.process.stdin.close()
        self.process.stdout.close()
        return status


def test_cycles_pass(shared: System) -> None:
    first = shared.simulator.cycles()
    shared.wait_for(lambda: shared.simulator.cycles() > first + 10_000, "10,000 cycles")


def test_the_fingerprint_is_that_of_the_build(shared: System) -> None:
    description = json.loads(shared.build.soc_json.read_text())
    high, low = shared.read(FINGERPRINT_ADDRESS, 2)
    assert f"{high:08x}{low:08x}" == description["fingerprint"]
    assert description["fingerprint_address"] == FINGERPRINT_ADDRESS


def test_the_bus_and_the_control_channel_see_one_dram(shared: System) -> None:
    size = json.loads(shared.build.soc_json.read_text())["dram"]["bytes"]
    # Ends of words, rows and banks of the model, and of DRAM itself.
    for offset in (0x2000, 0x2000 + 2044, 16384 - 8, size // 2, size - 8):
        shared.write(MAIN_RAM_ORIGIN + offset, 0x01234567, 0x89ABCDEF)
        assert shared.simulator.peek(offset, 8).hex() == "67452301efcdab89", hex(offset)
        shared.simulator.poke(offset + 3, bytes([0xAA, 0x55]))
        assert shared.dram(offset, 2) == [0xAA234567, 0x89ABCD55], hex(offset)


def test_accesses_beyond_the_end_of_dram_are_refused(shared: System) -> None:
    size = json.loads(shared.build.soc_json.read_text())["dram"]["bytes"]
    with pytest.raises(SimulatorError, match="cannot read DRAM"):
        shared.simulator.peek(size - 4, 8)
    with pytest.raises(SimulatorError, match="cannot write DRAM"):
        shared.simulator.poke(size, b"x")
    assert shared.simulator.peek(size - 4, 4)


def test_a_file_is_placed_where_images_lie(start: Any) -> None:
    data = os.urandom(100_001)
    system = start(data)
    assert system.simulator.peek(IMAGE_OFFSET, len(data)) == data
    words = struct.unpack("<4I", data[65536:65552])
    assert system.dram(IMAGE_OFFSET + 65536, 4) == list(words)


def test_what_does_not_fit_is_refused(start: Any) -> None:
    with pytest.raises(SimulatorError, match="does not fit the simulated DRAM"):
        start(bytes(32 << 20))


def test_a_second_client_is_turned_away(shared: System) -> None:
    assert shared.register("ctrl_scratch") == 0x12345678
    with socket.create_connection(shared.simulator.tcp_address, PATIENCE_S) as second:
        assert second.recv(1) == b""
    assert shared.register("ctrl_scratch") == 0x12345678


def test_a_client_that_leaves_makes_room(start: Any) -> None:
    system = start()
    host, port = system.simulator.tcp_address
    for _ in range(3):
        link = open_uart(f"tcp://{host}:{port}", PATIENCE_S)
        assert link.read(system.registers["ctrl_scratch"]) == [0x12345678]
        link.close()


def test_answers_go_to_whoever_asked(start: Any) -> None:
    system = start(pty=True)
    path = system.simulator.pty_path
    terminal = open_uart(path, PATIENCE_S)
    scratch = system.registers["ctrl_scratch"]
    for value in (1, 2):
        system.set_register("ctrl_scratch", value)
        assert terminal.read(scratch) == [value]
        assert system.read(scratch) == [value]
    terminal.close()
    # All byte values pass unchanged: it is no text terminal.
    terminal = open_uart(path, PATIENCE_S)
    terminal.write(scratch, [0x0A0D0304])
    assert terminal.read(scratch) == [0x0A0D0304]
    terminal.close()


def test_a_serial_line_can_be_as_slow_as_a_real_one(start: Any) -> None:
    cycles_per_byte = 868
    system = start(cycles_per_byte=cycles_per_byte)
    before = system.simulator.cycles()
    system.register("ctrl_scratch")
    # The requests and answers of the mailbox's start are on the way, too: at least these bytes.
    request, answer = 6, 4
    assert system.simulator.cycles() - before >= (request + answer - 2) * cycles_per_byte


def test_runs_are_bounded_on_request(start: Any) -> None:
    stopped = start(max_cycles=30_000).simulator.wait(PATIENCE_S)
    assert (stopped["reason"], stopped["cycles"]) == ("max-cycles", 30_000)


def test_runs_are_repeatable(start: Any) -> None:
    times = []
    for _ in range(2):
        system = start()
        # Until then nobody may use the bus, as that is not repeatable.
        system.wait_for(lambda system=system: system.simulator.cycles() > BOOT_CYCLES, "boot")
        times.append(system.field(Field.BOOT_CYCLES))
    assert times[0] == times[1]
    assert 0 < times[0] < BOOT_CYCLES


def test_it_leaves_the_processor_to_others_while_it_waits(start: Any) -> None:
    system = start()
    assert system.field(Field.DRAM_BYTES)
    cycles = system.simulator.cycles()

    def mostly_sleeps() -> bool:
        before = processor_seconds(system.simulator.pid)
        time.sleep(1.0)
        return processor_seconds(system.simulator.pid) - before < 0.5

    system.wait_for(mostly_sleeps, "a sleeping simulator")
    assert system.simulator.cycles() > cycles
    assert system.field(Field.DRAM_BYTES)


def processor_seconds(pid: int) -> float:
    """What a process has used of the processor."""
    user, system = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


def test_it_ends_when_nobody_comes(start: Any) -> None:
    system = start(idle_exit_s=0.05)
    assert system.simulator.wait(PATIENCE_S)["reason"] == "idle"
    with pytest.raises(SimulatorError, match="ended"):
        system.simulator.cycles()


def test_clients_keep_it_from_ending(start: Any) -> None:
    system = start(idle_exit_s=0.3)
    host, port = system.simulator.tcp_address
    with socket.create_connection((host, port)):
        time.sleep(1.0)
        assert system.simulator.cycles()
    assert system.simulator.wait(PATIENCE_S)["reason"] == "idle"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signals_end_it_in_order(simulator_build: object, number: signal.Signals) -> None:
    process = Process()
    pid = process.event("ready")["pid"]
    assert pid == process.process.pid, "no process stands between"
    os.kill(pid, number)
    assert process.event("stopped")["reason"] == "signal"
    assert process.end() == 0


@pytest.mark.parametrize(("command", "reason"), [("quit\n", "quit"), ("", "stdin")])
def test_its_owner_ends_it(simulator_build: object, command: str, reason: str) -> None:
    process = Process("--attached")
    process.event("ready")
    assert process.process.stdin
    process.process.stdin.write(command)
    process.process.stdin.close()
    assert process.event("stopped")["reason"] == reason
    assert process.end() == 0


def test_it_does_not_outlive_its_parent(simulator_build: object, tmp_path: Path) -> None:
    code = f"""
import subprocess, sys, time
process = subprocess.Popen({RUN!r}, stdin=subprocess.DEVNULL, stdout=open(sys.argv[1], "w"))
time.sleep(1000)
"""
    output = tmp_path / "events"
    parent = subprocess.Popen([sys.executable, "-c", code, str(output)])
    deadline = time.monotonic() + PATIENCE_S
    while not (output.exists() and '"ready"' in output.read_text()):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    ready = json.loads(next(line for line in output.read_text().splitlines() if "ready" in line))
    parent.kill()
    parent.wait()
    wait_until_gone(ready["pid"])
    assert json.loads(output.read_text().splitlines()[-1])["reason"] == "parent"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--engine", '{"lanes": 3}'], "lanes is a power of two"),
        (["--engine", '{"lane": 16}'], "lane"),
        (["--engine", "["], "--engine"),
        (["--dram-mib", "33"], "power of two"),
        (["--clock-hz", "5"], "10 to 400 MHz"),
        (["--preload", "/nowhere/image"], "cannot read /nowhere/image"),
    ],
)
def test_requests_that_make_no_sense_are_explained(
    simulator_build: object, options: list[str], message: str
) -> None:
    process = Process(*options)
    error = process.event("error")
    assert message in error["what"]
    assert error["kind"] == "UsageError"
    assert process.end() == 2


def test_an_unknown_control_command_is_named(simulator_build: object) -> None:
    process = Process("--attached")
    process.event("ready")
    assert process.process.stdin
    process.process.stdin.write("dance\ncycles\n")
    process.process.stdin.flush()
    assert "dance" in process.event("error")["what"]
    assert process.event("cycles")["cycles"] >= 0
    process.process.stdin.close()
    process.event("stopped")
    assert process.end() == 0


@pytest.mark.long
def test_waveforms_cover_the_window(tmp_path: Path) -> None:
    path = tmp_path / "window.fst"
    window = ["--trace-start", "1000", "--trace-cycles", "50"]
    # A little engine, as this simulator is built for nothing else.
    little = ["--engine", json.dumps(LIMITS)]
    process = Process(*little, "--trace-file", str(path), *window, "--max-cycles", "2000")
    process.event("ready")
    assert process.event("stopped")["cycles"] == 2000
    assert process.end() == 0
    # FST's header block: type, length, first and last time; the harness counts half cycles.
    kind, _, first, last = struct.unpack(">BQQQ", path.read_bytes()[:25])
    assert (kind, first, last) == (0, 2 * 1000, 2 * 1050 - 1)
