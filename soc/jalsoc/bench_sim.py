"""Cycles per second of our simulator and of LiteX's own: ``python -m jalsoc.bench_sim``.

Both simulate one system with one firmware, and the engine in it runs one model. They generate the
same tokens in turn, so that both meet the same conditions; the one that waits is halted. Seconds
are those that a simulator's process had a processor: what else the computer does hardly matters.
"""

import argparse
import os
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from jalgateware.contract.mailbox import Field
from jalgateware.contract.memory_map import MAILBOX
from jalgateware.golden.sampler import Sampling
from jalhost.device import Device
from jalhost.errors import DeviceError, JalError, LinkError
from jalhost.links.link import Link
from jalhost.links.open import open_uart
from jalhost.models.blob import Blob, build_blob
from jalsoc.cache import (
    cache_root,
    cached,
    digest,
    distribution_versions,
    program_identity,
    require_headers,
)
from jalsoc.guard import run_guarded
from jalsoc.sim import litex_runtime
from jalsoc.sim.build import SimulatorBuild, build
from jalsoc.sim.config import SimulatorConfig
from jalsoc.sim.process import Simulator

BAR = 2.0
"""Our simulator has to be faster than LiteX's by this factor."""

LIBRARIES = {"event2/event.h": "libevent-dev", "json-c/json.h": "libjson-c-dev"}
"""Headers that LiteX's runtime is compiled with, and Debian's packages with them."""

PATIENCE_S = 120.0
"""Longest time until a simulated system answers."""

PART_WORDS = 255
"""What LiteX's runtime may be sent at a time: its buffer of 2048 bytes overflows unnoticed."""


def build_litex(ours: SimulatorBuild) -> Path:
    """LiteX's simulator of the system; returns its folder.

    Raises:
        BuildError: building failed.
    """
    config = ours.config.to_json()
    tools = [program_identity(name) for name in ("verilator", "gcc", "g++", "make")]
    versions = distribution_versions("litex", "pythondata-misc-tapcfg")
    key = digest(config, str(ours.system), str(ours.firmware), versions, *tools)

    def make(folder: Path) -> None:
        logs = cache_root() / "logs"
        logs.mkdir(exist_ok=True)
        log = logs / f"litex-{key}.log"
        log.write_text("", encoding="utf-8")
        module = "jalsoc.sim.litex_runtime"
        command = [sys.executable, "-m", module, config, str(folder), str(ours.firmware)]
        run_guarded(command, folder, log)

    return cached("litex", key, make)[0]


class PacedLink:
    """A link that waits, every so many words, until what it wrote has arrived."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self.description = link.description
        self.read = link.read
        self.close = link.close

    def write(self, address: int, values: Sequence[int]) -> None:
        """Writes consecutive words."""
        for start in range(0, len(values), PART_WORDS):
            self._link.write(address + 4 * start, values[start : start + PART_WORDS])
            self._link.read(MAILBOX.origin + Field.MAGIC)


class Contender:
    """A simulator process that can be halted, with a model loaded.

    Args:
        name: for the report.
        pid: of the process.
        port: of its UARTBone.
        blob: the model.
    """

    def __init__(self, name: str, pid: int, port: int, blob: Blob) -> None:
        self.name = name
        self._pid = pid
        self._device = Device(PacedLink(connect(port)), None, PATIENCE_S, PATIENCE_S)
        self._device.transfer_image(blob, lambda line: print(f"{name}: {line}", file=sys.stderr))
        self._device.load()
        self.rates: list[float] = []
        self._halt()

    def _halt(self) -> None:
        os.kill(self._pid, signal.SIGSTOP)

    def generate(self, count: int) -> list[int]:
        """Generates tokens, notes the cycles per second from the first to the last, and halts."""
        os.kill(self._pid, signal.SIGCONT)
        tokens, cycles, seconds = [], [], []
        for entry in self._device.run(((1,),), count, Sampling()):
            tokens.append(entry.token)
            cycles.append(entry.cycles)
            seconds.append(processor_seconds(self._pid))
        self.rates.append((cycles[-1] - cycles[0]) / (seconds[-1] - seconds[0]))
        self._halt()
        return tokens

    def close(self) -> None:
        """Lets the process go on, so that it can end."""
        os.kill(self._pid, signal.SIGCONT)
        self._device.close()

    def __str__(self) -> str:
        low, middle, high = min(self.rates), statistics.median(self.rates), max(self.rates)
        return f"{self.name:<8} {low / 1e6:8.3f} {middle / 1e6:8.3f} {high / 1e6:8.3f}"


def processor_seconds(pid: int) -> float:
    """How long a process has had a processor, in steps of 10 ms."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    return sum(map(int, fields[11:13])) / os.sysconf("SC_CLK_TCK")


def connect(port: int) -> Link:
    """A link to a simulator that may still be starting.

    Raises:
        LinkError: nobody listens in time.
    """
    deadline = time.monotonic() + PATIENCE_S
    while True:
        try:
            return open_uart(f"tcp://127.0.0.1:{port}", PATIENCE_S)
        except LinkError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)


@contextmanager
def litex_process(folder: Path) -> Iterator[tuple[int, int]]:
    """Runs LiteX's simulator; yields process id and port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    with tempfile.TemporaryDirectory(prefix="jalhost-bench-") as scratch:
        # Modules and memory contents are found relative to the working folder.
        run = Path(scratch) / "litex"
        shutil.copytree(folder, run)
        config = run / litex_runtime.RUNTIME_CONFIG
        placeholder = str(litex_runtime.PORT_PLACEHOLDER)
        config.write_text(config.read_text().replace(placeholder, str(port)))
        command = [str(run / litex_runtime.BINARY)]
        with subprocess.Popen(command, cwd=run, stdout=subprocess.DEVNULL) as process:
            try:
                yield process.pid, port
            finally:
                process.kill()


@dataclass(frozen=True)
class Comparison:
    """Both contenders after their rounds."""

    ours: Contender
    litex: Contender

    @property
    def ratios(self) -> list[float]:
        """Ours to LiteX's, round by round, sorted."""
        return sorted(a / b for a, b in zip(self.ours.rates, self.litex.rates, strict=True))


def compare(model: Path | None, rounds: int, count: int) -> Comparison:
    """Measures both in turn.

    Raises:
        JalError: one of them cannot be built, does not run, or generates other tokens.
    """
    from jalhost.cli.options import open_model

    require_headers("LiteX's simulator, which ours is compared with,", LIBRARIES)
    ours = build(SimulatorConfig())
    blob = build_blob(open_model(model, None), ours.config.engine)
    folder = build_litex(ours)
    with Simulator(ours, blob.data) as simulator, litex_process(folder) as (litex_pid, port):
        contenders = [
            Contender("ours", simulator.pid, simulator.tcp_address[1], blob),
            Contender("litex", litex_pid, port, blob),
        ]
        try:
            for _ in range(rounds):
                first, second = (item.generate(count) for item in contenders)
                if first != second:
                    raise DeviceError(f"the simulators disagree: {first} and {second}")
        finally:
            for item in contenders:
                item.close()
    return Comparison(*contenders)


def main() -> int:
    """Prints minimum, median, maximum and the ratio; returns 1 if the bar is missed."""
    parser = argparse.ArgumentParser(prog="python -m jalsoc.bench_sim", description=__doc__)
    parser.add_argument("--model", type=Path, help="a .jal image instead of the demo model")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--tokens", type=int, default=48, help="generated in each round")
    arguments = parser.parse_args()
    if arguments.rounds < 1 or arguments.tokens < 2:
        parser.error("at least one round of two tokens")
    try:
        result = compare(arguments.model, arguments.rounds, arguments.tokens)
    except JalError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    print("simulated cycles per second of processor time, in millions (of this computer)")
    print(f"{'':8} {'min':>8} {'median':>8} {'max':>8}")
    print(result.ours)
    print(result.litex)
    low, middle, high = (f(result.ratios) for f in (min, statistics.median, max))
    print(f"ratio    {low:8.2f} {middle:8.2f} {high:8.2f}   (bar: {BAR:g})")
    return 0 if middle >= BAR else 1


if __name__ == "__main__":
    sys.exit(main())
