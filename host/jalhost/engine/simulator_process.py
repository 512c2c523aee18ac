"""The simulator as a child process: ``python -m jalsoc.sim``, JSON lines on its standard output."""

import contextlib
import json
import logging
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from jalgateware.contract.config import STANDARD, EngineConfig
from jalhost.device import Report
from jalhost.engine.gateware import Gateware, engine_config
from jalhost.errors import BuildError, DeviceError, JalError, UsageError

READY_TIMEOUT_S = 900.0
"""Longest silence of the simulator while it is built: the longest step takes a minute or two."""

LOOK_S = 0.25
"""How often a wait looks whether there was a signal."""

REPORT_AFTER_S = 0.5
"""Build steps that are done sooner are not worth a line."""

ANSWER_TIMEOUT_S = 30.0

QUIT_TIMEOUT_S = 5.0

BOOT_TIMEOUT_S = 120.0
"""The simulated CPU initialises its DRAM first, on a computer that may be busy."""

PATIENCE_S = 60.0
"""A simulator that is starved of CPU time still lives."""

MIN_DRAM_MIB = 32

NO_OPTIONS: Mapping[str, str | int] = {}

COMMAND = (sys.executable, "-m", "jalsoc.sim")
"""How simulators are described and started."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Ready:
    """Where a running simulator can be reached, by names of links, and what it simulates."""

    tcp: str
    pty: str | None
    udp: str | None
    fingerprint: int
    pcie: str | None = None
    """HOST:PORT of its PCIe packets."""
    csr_json: Path | None = None
    """Register map of its build."""
    soc_json: Path | None = None
    """Description of its build."""
    sensors: tuple[str, ...] = ()
    """Sensors that the simulated board names."""


class SimulatorProcess:
    """A simulator from its start to its end; it dies with this process in any case.

    The constructor starts it and returns at once, so that an interrupt while it is built finds it
    in its owner's hands.

    Args:
        config: the engine to simulate.
        preload: file to place in DRAM; read before it is ready.
        way: how it shall be reached besides by TCP: ``uart`` (its UART gets a pseudo terminal),
            ``eth`` or ``pcie`` (it gets that), or empty.
        memory_bytes: what the image needs; decides the size of the simulated DRAM.
        system: the system around the engine, where it is not the default one.
    """

    def __init__(
        self,
        config: EngineConfig,
        preload: Path | None,
        way: str,
        memory_bytes: int,
        system: Mapping[str, str | int] = NO_OPTIONS,
    ) -> None:
        command = [*COMMAND, "run", "--attached", *_system_options(asdict(config), system)]
        command += ["--dram-mib", str(dram_mib(memory_bytes))]
        command += ["--preload", str(preload)] if preload else []
        command += {"": [], "uart": ["--pty"]}.get(way, ["--link", way])
        # A session of its own: Ctrl-C is for this process, which then ends the simulator in order.
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        _log.debug("process %d is %s", self._process.pid, command)
        self._events: queue.Queue[dict[str, Any] | None] = queue.Queue()
        self._errors: list[str] = []
        self._ready: Ready | None = None
        for work in (self._read_events, self._read_errors):
            threading.Thread(target=work, daemon=True).start()

    def wait_until_ready(self, report: Report) -> None:
        """Waits until it runs.

        Args:
            report: takes lines of progress while the simulator is built.

        Raises:
            BuildError: the simulator cannot be built or does not start.
        """
        self._ready = self._wait(report)

    @property
    def ready(self) -> Ready:
        """What it said when it was ready."""
        assert self._ready, "wait for it first"
        return self._ready

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def time(self) -> tuple[int, float]:
        """Cycles since its start, and the seconds of simulated time that they took.

        Raises:
            DeviceError: it does not answer.
        """
        with contextlib.suppress(OSError, ValueError):
            assert self._process.stdin
            self._process.stdin.write("cycles\n")
            self._process.stdin.flush()
        deadline = time.monotonic() + ANSWER_TIMEOUT_S
        while time.monotonic() < deadline:
            with contextlib.suppress(queue.Empty):
                event = self._events.get(timeout=LOOK_S)
                if event is None:
                    self._events.put(None)  # for whoever asks next
                    break
                if event.get("event") == "cycles":
                    return int(event["cycles"]), float(event["seconds"])
        raise self.ended() or DeviceError("the simulator does not answer", "run with --debug")

    def ended(self) -> DeviceError | None:
        """The error that says how the simulator ended, if it did."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            code = self._process.wait(1)
            how = f"killed by signal {-code}" if code < 0 else f"exit code {code}"
            last = f": {self._errors[-1]}" if self._errors else ""
            return DeviceError(f"the simulator ended in the middle ({how}{last})", "try again")
        return None

    def close(self) -> None:
        """Ends the simulator, or its build: asked first, then forced."""
        if self._process.poll() is None:
            if self._ready:
                with contextlib.suppress(OSError):
                    assert self._process.stdin
                    self._process.stdin.write("quit\n")
                    self._process.stdin.close()
            else:
                self._process.terminate()
            try:
                self._process.wait(QUIT_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout, self._process.stderr):
            if pipe:
                with contextlib.suppress(OSError):
                    pipe.close()

    def _read_events(self) -> None:
        assert self._process.stdout
        with contextlib.suppress(ValueError):  # closed meanwhile
            for line in self._process.stdout:
                _log.debug("simulator: %s", line.rstrip())
                with contextlib.suppress(json.JSONDecodeError):
                    self._events.put(json.loads(line))
        self._events.put(None)

    def _read_errors(self) -> None:
        assert self._process.stderr
        with contextlib.suppress(ValueError):
            for line in self._process.stderr:
                _log.debug("simulator stderr: %s", line.rstrip())
                self._errors += [line.strip()] if line.strip() else []

    def _wait(self, report: Report) -> Ready:
        step = ""
        while True:
            event = self._next_event(step, report)
            if event is None:
                last = f": {self._errors[-1]}" if self._errors else ""
                raise BuildError(f"the simulator did not start{last}", "run with --debug")
            match event.get("event"):
                case "build":
                    step = event["step"] if event["state"] == "start" else ""
                case "error":
                    raise _error(event)
                case "ready":
                    return _ready(event)

    def _next_event(self, step: str, report: Report) -> dict[str, Any] | None:
        """The next event; a build step that takes longer than a moment is reported."""
        if step:
            with contextlib.suppress(queue.Empty):
                return self._events.get(timeout=REPORT_AFTER_S)
            report(f"building the simulator, which is then kept: {step} ...")
        # Not one long wait: a signal that another thread took ends it only when it is over.
        for _ in range(round(READY_TIMEOUT_S / LOOK_S)):
            with contextlib.suppress(queue.Empty):
                return self._events.get(timeout=LOOK_S)
        raise BuildError("building the simulator takes forever", "see --debug")


def simulated_engine(gateware: Gateware) -> EngineConfig:
    """The engine of a simulated system that differs from the default one in this.

    Raises:
        UsageError: there is no such engine or system.
        BuildError: nobody answers.
    """
    config = engine_config(gateware.engine, STANDARD)
    return complete_engine(gateware.engine, gateware.system) if gateware.text else config


def complete_engine(engine: Mapping[str, Any], system: Mapping[str, str | int]) -> EngineConfig:
    """The engine that a simulated system has, with what the system decides on where not given.

    Raises:
        UsageError: there is no such system.
        BuildError: nobody answers.
    """
    command = [*COMMAND, "describe", *_system_options(engine, system)]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    try:
        event = json.loads(run.stdout)
    except json.JSONDecodeError:
        last = run.stderr.strip().rpartition("\n")[2]
        raise BuildError(f"the simulator did not start: {last}", "run with --debug") from None
    if event["event"] == "error":
        raise _error(event)
    return EngineConfig(**event["engine"])


def _system_options(engine: Mapping[str, Any], system: Mapping[str, str | int]) -> list[str]:
    options = ["--engine", json.dumps(dict(engine))]
    for name, value in system.items():
        option = f"--{name.replace('_', '-')}"
        if isinstance(value, bool):
            options += [option] * value
        else:
            options += [option, str(value)]
    return options


def _ready(event: dict[str, Any]) -> Ready:
    """What the event says that reports a simulator to run."""
    host, port = event["tcp"]
    pty, udp = event["pty"], event.get("udp")
    return Ready(
        tcp=f"uart:tcp://{host}:{port}",
        pty=f"uart:{pty}" if pty else None,
        udp=f"eth:{udp[0]}:{udp[1]}" if udp else None,
        pcie=":".join(map(str, event["pcie"])) if "pcie" in event else None,
        fingerprint=int(event["fingerprint"], 16),
        csr_json=_path(event.get("csr_json")),
        soc_json=_path(event.get("soc_json")),
        sensors=tuple(event.get("sensors", ())),
    )


def _path(name: str | None) -> Path | None:
    return Path(name) if name else None


def _error(event: dict[str, Any]) -> JalError:
    """What an event of an error stands for."""
    if event.get("kind") == UsageError.__name__:
        return UsageError(str(event["what"]), event.get("hint") or "")
    log = f"; the log is in {event['log']}" if event.get("log") else ""
    return BuildError(str(event["what"]), f"{event.get('hint') or 'see'}{log}")


def dram_mib(memory_bytes: int) -> int:
    """Size of the simulated DRAM: a power of two that holds the image behind its offset."""
    size = MIN_DRAM_MIB
    while size << 20 < memory_bytes:
        size *= 2
    return size
