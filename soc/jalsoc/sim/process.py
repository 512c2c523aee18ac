"""A running simulator: started, asked and stopped from Python."""

import json
import subprocess
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, Queue
from threading import Thread
from types import TracebackType
from typing import Any, Self

from jalgateware.contract import memory_map
from jalsoc.errors import SimulatorError
from jalsoc.sim.build import SimulatorBuild
from jalsoc.sim.system_faults import parse_system_fault

START_TIMEOUT_S = 30.0

ANSWER_TIMEOUT_S = 30.0

STOP_TIMEOUT_S = 10.0


@dataclass(frozen=True)
class SimulatorOptions:
    """How a simulator runs.

    Args:
        preload: a file whose bytes are put where images lie in DRAM.
        pty: also offers the byte stream on a pseudo terminal.
        cycles_per_byte: pace of the serial line; 0 is as fast as possible. At 100 MHz, 868 is
            115200 baud.
        idle_exit_s: ends when nobody has been connected for so long; 0 is never.
        max_cycles: ends after so many cycles; 0 is never.
        trace_file: writes waveforms (FST) of ``trace_cycles`` cycles from ``trace_start`` on; needs
            a build with ``trace``.
        port: TCP port; 0 picks a free one.
        udp_port: the same for the UDP port of a system with Ethernet.
        attached: ends when standard input closes.
        fault: what is broken around the engine (:mod:`jalsoc.sim.system_faults`).
    """

    preload: Path | None = None
    pty: bool = False
    cycles_per_byte: int = 0
    idle_exit_s: float = 0.0
    max_cycles: int = 0
    trace_file: Path | None = None
    trace_start: int = 0
    trace_cycles: int = 1_000_000
    port: int = 0
    udp_port: int = 0
    attached: bool = True
    fault: str = ""


def harness_command(build: SimulatorBuild, options: SimulatorOptions) -> list[str]:
    """The command that runs a simulator; its working folder must be ``build.system``.

    Raises:
        UsageError: there is no such fault.
    """
    description = json.loads(build.soc_json.read_text(encoding="utf-8"))
    fields: dict[str, Any] = {
        "csr_json": str(build.csr_json),
        "csr_csv": str(build.csr_csv),
        "soc_json": str(build.soc_json),
        "clock_hz": description["clock_hz"],
        "fingerprint": description["fingerprint"],
    }
    command = [str(build.binary), "--rom", str(build.firmware)]
    command += ["--clock-hz", str(description["clock_hz"])]
    if options.fault:
        command += _fault_options(build, options.fault, description, fields)
    command += ["--ready-fields", json.dumps(fields)[1:-1]]
    if options.preload is not None:
        preload = options.preload.absolute()
        command += ["--preload", f"{memory_map.IMAGE_OFFSET}:{preload}"]
    if options.trace_file is not None:
        command += ["--trace-file", str(options.trace_file.absolute())]
        command += ["--trace-start", str(options.trace_start)]
        command += ["--trace-cycles", str(options.trace_cycles)]
    numbers = {
        "cycles-per-byte": options.cycles_per_byte,
        "idle-exit": options.idle_exit_s,
        "max-cycles": options.max_cycles,
        "port": options.port,
        "udp-port": options.udp_port,
    }
    for name, value in numbers.items():
        command += [f"--{name}", str(value)]
    command += ["--pty"] if options.pty else []
    command += ["--attached"] if options.attached else []
    return command


def _fault_options(
    build: SimulatorBuild, text: str, description: dict[str, Any], fields: dict[str, Any]
) -> list[str]:
    """The harness's options for a fault; changes ``fields`` where it is in what those say."""
    dram = description["dram"]
    rows = dram["bytes"] // (dram["banks"] * dram["row_bytes"])
    fault = parse_system_fault(text, dram["data_bits"], rows.bit_length() - 1)
    fault.change(fields)
    registers = json.loads(build.csr_json.read_text(encoding="utf-8"))["csr_registers"]
    addresses = {name: int(item["addr"]) for name, item in registers.items()}
    return fault.options(description["clock_hz"], addresses)


class Simulator:
    """A simulator process, from ``start`` to ``stop``; also a context manager.

    It ends with this process, whatever that dies of. Not for use by several threads at a time.
    """

    def __init__(
        self,
        build: SimulatorBuild,
        preload: bytes | None = None,
        options: SimulatorOptions | None = None,
    ) -> None:
        self._build = build
        self._options = options or SimulatorOptions()
        self._preload = preload
        self._process: subprocess.Popen[str] | None = None
        self._events: Queue[dict[str, Any]] = Queue()
        self._ready: dict[str, Any] = {}

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    @property
    def tcp_address(self) -> tuple[str, int]:
        """Where the byte stream of the UARTBone can be reached."""
        host, port = self._ready["tcp"]
        return str(host), int(port)

    def link_address(self, link: str) -> tuple[str, int]:
        """Where the link that the system was built with can be reached."""
        host, port = self._ready[link]
        return str(host), int(port)

    @property
    def udp_address(self) -> tuple[str, int]:
        """Where the Etherbone port of a system with Ethernet can be reached."""
        host, port = self._ready["udp"]
        return str(host), int(port)

    @property
    def ready(self) -> dict[str, Any]:
        """All that it said when it was ready."""
        return self._ready

    @property
    def pty_path(self) -> str | None:
        """The pseudo terminal with the same stream, if one was asked for."""
        path: str | None = self._ready["pty"]
        return path

    @property
    def pid(self) -> int:
        """The harness's process id."""
        return int(self._ready["pid"])

    def start(self) -> None:
        """Starts the process and waits until the system runs.

        Raises:
            SimulatorError: it did not start.
        """
        if self._preload is None:
            self._launch(None)
            return
        with tempfile.NamedTemporaryFile(prefix="jalhost-preload-") as file:
            file.write(self._preload)
            file.flush()
            self._launch(Path(file.name))

    def _launch(self, preload: Path | None) -> None:
        options = self._options
        command = harness_command(self._build, options)
        if preload is not None:
            command += ["--preload", f"{memory_map.IMAGE_OFFSET}:{preload}"]
        self._process = subprocess.Popen(
            command,
            cwd=self._build.system,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        Thread(target=self._read_events, args=(self._process,), daemon=True).start()
        try:
            self._ready = self._wait("ready", START_TIMEOUT_S)
        except BaseException:
            self.stop()
            raise

    def _read_events(self, process: "subprocess.Popen[str]") -> None:
        """Passes events on until the process closes its output."""
        assert process.stdout is not None, "asked for"
        for line in process.stdout:
            self._events.put(json.loads(line))
        self._events.put({"event": "end"})

    def _wait(self, event: str, timeout_s: float) -> dict[str, Any]:
        """The next event of a kind.

        Raises:
            SimulatorError: an error was reported, the process ended, or nothing came in time.
        """
        while True:
            try:
                found = self._events.get(timeout=timeout_s)
            except Empty:
                raise SimulatorError(f"the simulator did not answer for {timeout_s:g} s") from None
            if found["event"] == event:
                return found
            if found["event"] == "error":
                raise SimulatorError(found["what"], found["hint"])
            if found["event"] == "end":
                self._events.put(found)
                raise SimulatorError("the simulator has ended")

    def _ask(self, command: str, event: str) -> dict[str, Any]:
        process = self._process
        if process is None or process.stdin is None:
            raise SimulatorError("the simulator has ended")
        try:
            process.stdin.write(f"{command}\n")
            process.stdin.flush()
        except BrokenPipeError:
            raise SimulatorError("the simulator has ended") from None
        return self._wait(event, ANSWER_TIMEOUT_S)

    def cycles(self) -> int:
        """Cycles since the reset.

        Raises:
            SimulatorError: the simulator has ended.
        """
        return self.time()[0]

    def time(self) -> tuple[int, float]:
        """Cycles since the reset, and the seconds of simulated time that they took.

        Raises:
            SimulatorError: the simulator has ended.
        """
        answer = self._ask("cycles", "cycles")
        return int(answer["cycles"]), float(answer["seconds"])

    def peek(self, offset: int, length: int) -> bytes:
        """Bytes of DRAM.

        Raises:
            SimulatorError: beyond the end of DRAM, or the simulator has ended.
        """
        return bytes.fromhex(self._ask(f"peek {offset} {length}", "peek")["data"])

    def poke(self, offset: int, data: bytes) -> None:
        """Overwrites bytes of DRAM behind the system's back.

        Raises:
            SimulatorError: beyond the end of DRAM, or the simulator has ended.
        """
        self._ask(f"poke {offset} {data.hex()}", "done")

    def wait(self, timeout_s: float) -> dict[str, Any]:
        """Waits for an end that comes by itself; returns the last event: reason, cycles, seconds.

        Raises:
            SimulatorError: it did not end in time.
        """
        return self._wait("stopped", timeout_s)

    def stop(self) -> None:
        """Ends the process; may be called twice."""
        process, self._process = self._process, None
        if process is None:
            return
        assert process.stdin is not None, "asked for"
        assert process.stdout is not None, "asked for"
        _quietly(process.stdin.close)
        try:
            process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        while self._events.get()["event"] != "end":
            continue
        process.stdout.close()


def _quietly(close: Callable[[], None]) -> None:
    """Closes a pipe whose other end may be gone."""
    try:
        close()
    except BrokenPipeError:
        return
