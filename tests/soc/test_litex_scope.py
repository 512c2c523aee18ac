"""LiteX's own tools on each link, with the maps of a bundle: registers, console and LiteScope."""

import csv
import json
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from jalgateware.contract.mailbox import Field
from jalhost.bundle import read_fingerprint, write_bundle
from jaltest.bundles import manifest
from jaltest.litex_server import litex_server
from jaltest.little import LITTLE
from jaltest.pcie import FakeSysfs
from jaltest.system import PATIENCE_S, System
from jaltest.texts import JALHOST

pytestmark = [pytest.mark.sim, pytest.mark.long]

IDENTIFIER = "jalhost simulation"

WAYS = {"uart": "eth", "eth": "eth", "pcie": "pcie"}
"""Links, and what the simulator has besides its UART."""

MEMBERS = ("csr.csv", "csr.json", "soc.json", "analyzer.csv")


@pytest.fixture(scope="module")
def build() -> Callable[[str], Any]:
    """Builds simulators with a scope, by their link."""
    from jalsoc.sim.build import build as build_simulator
    from jalsoc.sim.config import SimulatorConfig

    return lambda link: build_simulator(SimulatorConfig(LITTLE, link=link, scope=True))


@dataclass
class Served:
    """A system behind ``litex_server``.

    ``port``: the server's; ``maps``: folder with what was extracted from the bundle.
    """

    port: int
    maps: Path
    bundle: Path

    def command(self, tool: str, *arguments: str) -> list[str]:
        """A command line of one of LiteX's tools."""
        options = [tool, str(self.port), str(PATIENCE_S)]
        return [sys.executable, "-u", "-W", "ignore", "-c", TOOL, *options, *arguments]

    def litex_cli(self, *arguments: str) -> str:
        """Runs ``litex_cli``; returns its output."""
        options = ["--csr-csv", str(self.maps / "csr.csv"), *arguments]
        run = subprocess.run(
            self.command("litex.tools.litex_client", *options),
            capture_output=True,
            text=True,
            check=False,
        )
        assert run.returncode == 0, run.stderr
        return run.stdout

    def litescope_cli(self, *arguments: str) -> list[str]:
        """Command line of ``litescope_cli``."""
        maps = ["--csv", str(self.maps / "analyzer.csv"), "--csr-csv", str(self.maps / "csr.csv")]
        return self.command("litescope.software.litescope_cli", *maps, *arguments)


TOOL = """
import sys
from importlib import import_module
from litex import RemoteClient

tool, port, patience = sys.argv.pop(1), int(sys.argv.pop(1)), float(sys.argv.pop(1))
open_at_once = RemoteClient.open

def open_patiently(client):
    client.port = port
    open_at_once(client)
    client.socket.settimeout(patience)

RemoteClient.open = open_patiently
import_module(tool).main()
"""
"""Runs a tool of LiteX's that waits for slow simulators, and finds the server where it is."""


def make_bundle(folder: Path, build: Any) -> Path:
    """A bundle of a simulated system, which has no bitstream."""
    description = json.loads(build.soc_json.read_text())
    facts = {
        "bitstream": None,
        "fingerprint": description["fingerprint"],
        "engine": description["engine"],
    }
    files = {name: (build.system / name).read_bytes() for name in MEMBERS}
    path = folder / "sim.jalb"
    write_bundle(path, manifest(**facts), files)
    return path


@contextmanager
def server(link: str, system: System, folder: Path) -> Iterator[int]:
    """``litex_server`` at the end of a link."""
    simulator = system.simulator
    if link == "uart":
        with litex_server("--uart", "--uart-port", simulator.pty_path or "") as port:
            yield port
    elif link == "eth":
        host, udp_port = simulator.udp_address
        with litex_server("--udp", "--udp-ip", host, "--udp-port", str(udp_port)) as port:
            yield port
    else:
        device = FakeSysfs(folder / "sys" / "bus" / "pci").add("0000:03:00.0")
        (device / "enable").write_text("0\n")
        host, tcp_port = simulator.link_address("pcie")
        bar = str(device / "resource0")
        with litex_server("--pcie", "--pcie-bar", bar, pcie=f"{host}:{tcp_port}") as port:
            yield port
        assert (device / "enable").read_text() == "1\n"


@pytest.fixture(scope="module", params=list(WAYS))
def served(
    request: pytest.FixtureRequest,
    build: Callable[[str], Any],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Served]:
    """A system that runs, and the tools' way to it."""
    link = request.param
    folder = tmp_path_factory.mktemp(link)
    system = System(build(WAYS[link]), pty=True)
    bundle = make_bundle(folder, system.build)
    for name in MEMBERS:
        extract = ["bundle", "extract", str(bundle), name, "-o", str(folder / name)]
        subprocess.run([*JALHOST, *extract], check=True)
    assert system.field(Field.BOOTS) == 1
    system.mailbox.link.close()
    with server(link, system, folder) as port:
        deadline = time.monotonic() + PATIENCE_S
        while True:
            try:
                socket.create_connection(("127.0.0.1", port)).close()
                break
            except ConnectionRefusedError:
                assert time.monotonic() < deadline
                time.sleep(0.05)
        yield Served(port, folder, bundle)
    system.close()


def test_litex_cli_reads_and_writes_registers(served: Served) -> None:
    assert served.litex_cli("--ident").rstrip("\0\n") == IDENTIFIER
    assert "0x12345678 ctrl_scratch" in served.litex_cli("--regs", "--filter", "ctrl_scratch")
    served.litex_cli("--write", "ctrl_scratch", "0xcafe")
    assert "0x0000cafe" in served.litex_cli("--read", "ctrl_scratch")


def test_litex_term_reaches_the_firmwares_console(served: Served) -> None:
    master, slave = os.openpty()
    maps = ["--csr-csv", str(served.maps / "csr.csv")]
    term = subprocess.Popen(
        served.command("litex.tools.litex_term", "crossover", *maps),
        stdin=slave,
        stdout=slave,
        stderr=subprocess.STDOUT,
    )
    os.close(slave)
    shown = ""
    try:
        # What it printed when it started waits in the console's FIFO.
        while "ready after" not in shown:
            shown += os.read(master, 1024).decode(errors="replace")
        os.write(master, b"ident\r")
        while "mailbox protocol" not in shown or not shown.endswith("\n"):
            shown += os.read(master, 1024).decode(errors="replace")
    except OSError:
        pytest.fail(f"litex_term ended: {shown}")
    finally:
        term.kill()
        term.wait()
        os.close(master)
    assert f"build {read_fingerprint(served.bundle):016x}" in shown


def test_litescope_cli_knows_the_signals(served: Served) -> None:
    listed = subprocess.run(
        served.litescope_cli("--list"), capture_output=True, text=True, check=True
    )
    names = listed.stdout.split()
    assert {"scope_loop_idle", "scope_execute_matvec", "scope_stall_weights"} <= set(names)
    handshakes = {f"scope_{port}_{end}" for port in ("read0", "read1", "write")
                  for end in ("cmd_valid", "cmd_ready", "data_valid", "data_ready")}  # fmt: skip
    assert handshakes <= set(names)
    assert len(names) == len(set(names))


def test_litescope_cli_catches_the_start_of_a_run(served: Served, tmp_path: Path) -> None:
    """A run without a prompt: the token loop leaves its rest and waits for the host."""
    dump = tmp_path / "dump.csv"
    options = ["-r", "scope_stall_host", "--offset", "8", "--length", "32", "--dump", str(dump)]
    scope = subprocess.Popen(served.litescope_cli(*options), stdout=subprocess.PIPE, text=True)
    assert scope.stdout
    shown = ""
    with scope.stdout:
        while "[running]" not in shown:
            shown += scope.stdout.readline()
            assert scope.poll() is None, shown
        # It says so just before it is armed: what it has missed comes again.
        deadline = time.monotonic() + PATIENCE_S
        while scope.poll() is None:
            assert time.monotonic() < deadline
            served.litex_cli("--write", "engine_control", "1")
            served.litex_cli("--write", "engine_control", "2")
            time.sleep(0.2)
    assert scope.returncode == 0
    assert re.search("Rising edge: scope_stall_host", shown)
    # Behind the names there is a line of widths.
    rows = list(csv.DictReader(dump.read_text().splitlines()))[1:]
    caught = {name: [int(row[name], 2) for row in rows] for name in rows[0] if name}
    stalled = caught["scope_stall_host"]
    first = stalled.index(1)
    # The loop's state as it was in each cycle: at rest, then looking for a prompt in vain.
    assert caught["scope_loop_idle"][:first] == [1] * first
    assert caught["scope_loop_next"] == stalled
    assert caught["scope_loop_idle"] == [1 - bit for bit in stalled]
    assert set(caught["scope_read0_cmd_valid"]) == {0}
