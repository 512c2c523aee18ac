"""Waiting for a flashed board: the port may be gone for a while, and another build is none."""

import os
import socket
import subprocess
from pathlib import Path

import pytest

from jalgateware.contract.mailbox import Field, State
from jalhost.bundle import write_bundle
from jalhost.errors import DeviceError, LinkError
from jalhost.flash import ready
from jalhost.flash.ready import wait_until_ready
from jalhost.links.link import Link
from jalhost.links.uartbone import UartBone
from jaltest.bridge import BridgeStream, serve
from jaltest.bundles import manifest, members
from jaltest.device import FINGERPRINT, FakeDevice
from jaltest.loader import StandIn
from jaltest.texts import JALHOST


class Port:
    """A port with a device behind it; the first times it is opened, something is wrong."""

    def __init__(self, *faults: str) -> None:
        self.faults = list(faults)
        self.streams: list[BridgeStream] = []

    def open(self) -> Link:
        fault = self.faults.pop(0) if self.faults else ""
        if fault == "gone":
            raise LinkError("there is no port")
        device = FakeDevice()
        if fault == "booting":
            device.put(Field.STATE, State.FAULT)
        stream = BridgeStream(device)
        if fault == "silent":
            stream.lose_answer = [1 << 20] * 99
        self.streams.append(stream)
        return UartBone(stream, 0.01)

    @property
    def all_closed(self) -> bool:
        return all(stream.closed for stream in self.streams)


@pytest.fixture(autouse=True)
def _in_a_hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ready, "LOOK_S", 0.0)


@pytest.mark.parametrize("fault", ["gone", "silent", "booting"])
def test_a_board_that_needs_a_while(fault: str) -> None:
    port = Port(fault, fault)
    identity = wait_until_ready(port.open, FINGERPRINT)
    assert (identity.fingerprint, identity.firmware) == (FINGERPRINT, "0.1.2")
    assert not port.faults
    assert port.all_closed


@pytest.mark.parametrize("fault", ["gone", "silent"])
def test_a_board_that_does_not_answer(fault: str) -> None:
    port = Port(*[fault] * 9)
    with pytest.raises(LinkError, match=r"does not answer after flashing: .*--no-wait"):
        wait_until_ready(port.open, FINGERPRINT, patience_s=0.0)
    assert port.all_closed


def test_another_build_is_not_the_one() -> None:
    port = Port()
    with pytest.raises(DeviceError, match="is another build: its fingerprint is 0123456789abcdef"):
        wait_until_ready(port.open, FINGERPRINT + 1, patience_s=0.0)
    assert port.all_closed


@pytest.mark.parametrize(
    ("fingerprint", "code", "verdict"),
    [
        (FINGERPRINT, 0, f"READY   ok: fingerprint {FINGERPRINT:016x}, firmware 0.1.2, 100 MHz"),
        (None, 4, "READY   failed"),
    ],
)
def test_the_command_waits(
    tmp_path: Path, fingerprint: int | None, code: int, verdict: str
) -> None:
    path = tmp_path / "x.jalb"
    files = members(soc_json=b'{"fingerprint": "%016x"}' % FINGERPRINT)
    write_bundle(path, manifest(fingerprint=f"{FINGERPRINT:016x}"), files)
    (tmp_path / "loader").mkdir()
    loader = StandIn(tmp_path / "loader")
    with socket.create_server(("127.0.0.1", 0)) as server:
        target = f"uart:tcp://127.0.0.1:{server.getsockname()[1]}"
        if fingerprint is None:
            server.close()
        run = _flash_and_answer(server, loader, "flash", str(path), "--target", target)
    assert (run.returncode, run.stdout.splitlines()[-1]) == (code, verdict), run.stderr


def _flash_and_answer(
    server: socket.socket, loader: StandIn, *arguments: str
) -> subprocess.CompletedProcess[str]:
    """Runs a command with a device behind a server, if that listens."""
    hurry = "from jalhost.flash import ready; ready.wait_until_ready.__defaults__ = (1.0,); "
    process = subprocess.Popen(
        [*JALHOST[:-1], hurry + JALHOST[-1], *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PATH": loader.path},
    )
    if server.fileno() >= 0:
        server.settimeout(60)
        connection, _ = server.accept()
        with connection:
            serve(FakeDevice(), lambda: connection.recv(4096), connection.sendall)
            out, err = process.communicate(timeout=60)
    else:
        out, err = process.communicate(timeout=60)
    return subprocess.CompletedProcess(arguments, process.returncode, out, err)


@pytest.mark.parametrize("target", ["sim", "uart:", "emu", "/dev/ttyUSB0"])
def test_a_target_that_is_no_port_is_refused_before_anything_is_written(
    tmp_path: Path, target: str
) -> None:
    path = tmp_path / "x.jalb"
    write_bundle(path, manifest(), members())
    run = subprocess.run(
        [*JALHOST, "flash", str(path), "--target", target],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (run.returncode, run.stdout) == (2, "")
    assert "is not a board on a port (--target uart:/dev/ttyUSB0)" in run.stderr
