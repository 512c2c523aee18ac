"""LiteX's own tools reach a simulated system like a board, with the register map of a bundle."""

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from jalgateware.contract import mailbox
from jalgateware.contract.mailbox import Field
from jalgateware.contract.memory_map import MAILBOX
from jalhost.bundle import read_fingerprint, write_bundle
from jaltest.bundles import manifest
from jaltest.litex_server import litex_server
from jaltest.system import PATIENCE_S, System
from jaltest.texts import JALHOST

IDENTIFIER = "jalhost simulation"


CLIENT = """
import sys, time
from litex.tools.litex_client import RemoteClient

port, csr_csv, mailbox_magic, patience = int(sys.argv[1]), *sys.argv[2:5]
client = RemoteClient(port=port, csr_csv=csr_csv)
deadline = time.monotonic() + float(patience)
while True:
    try:
        client.open()
        break
    except ConnectionRefusedError:
        assert time.monotonic() < deadline
        time.sleep(0.05)
client.socket.settimeout(float(patience))
text = "".join(chr(client.read(client.bases.identifier_mem + 4 * i)) for i in range(64))
print(text.partition("\\0")[0])
print(hex(client.regs.ctrl_scratch.read()))
print(client.read(int(mailbox_magic)))
"""
"""In a process of its own, as LiteX leaves files and sockets open."""


@pytest.mark.parametrize("way", ["pty", "tcp"])
def test_litex_server_reads_the_identifier(start: Any, way: str) -> None:
    system: System = start(pty=True)
    host, tcp_port = system.simulator.tcp_address
    # Waits until the firmware is ready, and hangs up: the server needs the line for itself.
    assert system.field(Field.BOOTS) == 1
    system.mailbox.link.close()
    port = system.simulator.pty_path if way == "pty" else f"socket://{host}:{tcp_port}"
    assert port
    check(system, "--uart", "--uart-port", port)


@pytest.mark.slow
def test_litex_server_reads_the_identifier_over_ethernet(ethernet_build: object) -> None:
    system = System(ethernet_build)
    assert system.field(Field.BOOTS) == 1
    host, port = system.simulator.udp_address
    check(system, "--udp", "--udp-ip", host, "--udp-port", str(port))
    system.close()


def check(system: System, *options: str) -> None:
    """LiteX's client reads what it should by a server with these options."""
    with litex_server(*options) as bind_port:
        arguments = [bind_port, system.build.csr_csv, MAILBOX.origin + Field.MAGIC, PATIENCE_S]
        client = subprocess.run(
            [sys.executable, "-c", CLIENT, *map(str, arguments)],
            capture_output=True,
            text=True,
            check=False,
        )
    assert client.stdout.splitlines() == [IDENTIFIER, "0x12345678", str(mailbox.MAGIC)], client


@pytest.fixture(scope="module")
def bundle(simulator_build: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle of the simulated system, which has no bitstream."""
    path = tmp_path_factory.mktemp("bundle") / "sim.jalb"
    build = simulator_build
    description = json.loads(build.soc_json.read_text())
    facts = {
        "bitstream": None,
        "fingerprint": description["fingerprint"],
        "engine": description["engine"],
    }
    files = {
        "csr.csv": build.csr_csv.read_bytes(),
        "csr.json": build.csr_json.read_bytes(),
        "firmware.bin": build.firmware.read_bytes(),
        "soc.json": build.soc_json.read_bytes(),
    }
    write_bundle(path, manifest(**facts), files)
    return path


@pytest.fixture
def served(start: Any, bundle: Path, tmp_path: Path) -> Iterator[tuple[int, Path]]:
    """A system behind ``litex_server``: the server's port, and the register map of the bundle."""
    csr_csv = tmp_path / "csr.csv"
    extract = ["bundle", "extract", str(bundle), "csr.csv", "-o", str(csr_csv)]
    subprocess.run([*JALHOST, *extract], check=True)
    system: System = start(pty=True)
    assert system.field(Field.BOOTS) == 1
    system.mailbox.link.close()
    with litex_server("--uart", "--uart-port", system.simulator.pty_path or "") as port:
        deadline = time.monotonic() + PATIENCE_S
        while True:
            try:
                socket.create_connection(("127.0.0.1", port)).close()
                break
            except ConnectionRefusedError:
                assert time.monotonic() < deadline
                time.sleep(0.05)
        yield port, csr_csv


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


def tool(name: str, port: int, *arguments: str) -> list[str]:
    """A command line."""
    options = [f"litex.tools.{name}", str(port), str(PATIENCE_S)]
    return [sys.executable, "-W", "ignore", "-c", TOOL, *options, *arguments]


def test_litex_cli_works_with_a_bundles_register_map(served: tuple[int, Path]) -> None:
    port, csr_csv = served

    def litex_cli(*arguments: str) -> str:
        command = tool("litex_client", port, "--csr-csv", str(csr_csv), *arguments)
        run = subprocess.run(command, capture_output=True, text=True, check=False)
        assert run.returncode == 0, run.stderr
        return run.stdout

    assert litex_cli("--ident").rstrip("\0\n") == IDENTIFIER
    assert "0x12345678 ctrl_scratch" in litex_cli("--regs", "--filter", "ctrl_scratch")
    litex_cli("--write", "ctrl_scratch", "0xcafe")
    assert "0x0000cafe" in litex_cli("--read", "ctrl_scratch")


def test_litex_term_reaches_the_firmwares_console(served: tuple[int, Path], bundle: Path) -> None:
    port, csr_csv = served
    master, slave = os.openpty()
    term = subprocess.Popen(
        tool("litex_term", port, "crossover", "--csr-csv", str(csr_csv)),
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
    assert f"build {read_fingerprint(bundle):016x}" in shown
