"""Waiting for a flashed board: the port may be gone for a while, and another build is none."""

import os
import socket
import subprocess
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest

from jalgateware.contract.mailbox import Field, State
from jalhost.bundle import open_bundle, write_bundle
from jalhost.errors import DeviceError, LinkError, UsageError
from jalhost.flash import ready
from jalhost.flash.ready import wait_until_ready, way_to
from jalhost.links import open as links
from jalhost.links import pcie_bar
from jalhost.links.bar0 import Bar0Link
from jalhost.links.link import Link
from jalhost.links.pcie_tlp import PacketBar
from jalhost.links.root_complex import RootComplex
from jalhost.links.uartbone import UartBone
from jaltest.bridge import BridgeStream, serve
from jaltest.bundles import manifest, members
from jaltest.device import FINGERPRINT, FakeDevice
from jaltest.etherbone import EtherboneBridge, serve_etherbone
from jaltest.loader import StandIn
from jaltest.pcie import FakeEndpoint, FakeSysfs
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
    path = built(tmp_path)
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


def test_a_board_on_a_network(tmp_path: Path) -> None:
    path = built(tmp_path, links=["uart", "eth"], ethernet="10.0.0.7")
    (tmp_path / "loader").mkdir()
    server, (host, port) = serve_etherbone(EtherboneBridge(FakeDevice()))
    with server:
        run = subprocess.run(
            [*JALHOST, "flash", str(path), "--target", f"eth:{host}:{port}"],
            capture_output=True,
            text=True,
            env=os.environ | {"PATH": StandIn(tmp_path / "loader").path},
            check=False,
        )
    assert run.returncode == 0, run.stderr
    assert run.stdout.splitlines()[-1].startswith(f"READY   ok: fingerprint {FINGERPRINT:016x}, ")


def test_a_boards_address_is_the_bundles(tmp_path: Path) -> None:
    bundle = open_bundle(built(tmp_path, links=["uart", "eth"], ethernet="10.0.0.7"))
    assert way_to("eth", bundle.manifest, print).target == "eth:10.0.0.7"
    assert way_to("eth:board:99", bundle.manifest, print).target == "eth:board:99"


class Slot:
    """A PCIe slot whose board answers only once the kernel has looked for it again."""

    def __init__(self, tree: FakeSysfs) -> None:
        self.tree = tree
        self.opened: list[str] = []

    def open(self, name: str, _timeout_s: float) -> Link:
        self.opened.append(name)
        if (self.tree.root / "rescan").read_text() != "1":
            raise LinkError("BAR 0 has no address")
        return Bar0Link(PacketBar(RootComplex(FakeEndpoint(FakeDevice()), 1.0)))


@pytest.fixture
def slot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Slot:
    found = Slot(FakeSysfs(tmp_path / "pci"))
    monkeypatch.setattr(pcie_bar, "SYSFS", found.tree.root)
    monkeypatch.setitem(links.LINKS, "pcie", found.open)
    return found


@pytest.mark.parametrize("address", ["", "0000:03:00.0"])
@pytest.mark.parametrize("present", [False, True])
def test_a_board_in_a_slot_is_looked_for(
    tmp_path: Path, slot: Slot, address: str, present: bool
) -> None:
    board = slot.tree.add("0000:03:00.0") if present else None
    manifest = open_bundle(built(tmp_path, links=["uart", "pcie"])).manifest
    way = way_to(f"pcie:{address}" if address else "pcie", manifest, print)
    identity = wait_until_ready(way.open, FINGERPRINT, revive=way.revive, hint=way.hint)
    assert identity.fingerprint == FINGERPRINT
    assert slot.opened == [address, address]
    if board:
        assert (board / "remove").read_text() == "1"


def test_other_boards_in_slots_are_left_alone(tmp_path: Path, slot: Slot) -> None:
    other = slot.tree.add("0000:04:00.0")
    manifest = open_bundle(built(tmp_path, links=["pcie"])).manifest
    way_to("pcie:03:00.0", manifest, print).revive()
    assert (other / "remove").read_text() == ""
    assert (slot.tree.root / "rescan").read_text() == "1"
    slot.tree.add("0000:05:00.0")
    said: list[str] = []
    way_to("pcie", manifest, said.append).revive()
    assert "there are 2 PCIe devices" in said[0]
    assert (other / "remove").read_text() == ""


def test_who_may_not_look_for_boards_is_told_once(
    tmp_path: Path, slot: Slot, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest = open_bundle(built(tmp_path, links=["pcie"])).manifest
    monkeypatch.setattr(Path, "write_text", Mock(side_effect=PermissionError(13, "no")))
    said: list[str] = []
    way = way_to("pcie", manifest, said.append)
    way.revive()
    way.revive()
    (line,) = said
    assert line == (
        "the kernel must look for the board again: only root may rescan the PCIe bus "
        "(sudo jalhost pcie rescan)"
    )
    with pytest.raises(LinkError, match=r"BAR 0 has no address .sudo jalhost pcie rescan"):
        wait_until_ready(way.open, FINGERPRINT, 0.0, revive=way.revive, hint=way.hint)


@pytest.mark.parametrize("target", ["eth", "eth:10.0.0.7", "pcie"])
def test_a_link_that_the_build_has_not_is_refused(tmp_path: Path, target: str) -> None:
    manifest = open_bundle(built(tmp_path)).manifest
    kind = target.partition(":")[0]
    with pytest.raises(UsageError, match=f"cannot be reached by {kind} .its links: uart"):
        way_to(target, manifest, print)


def test_what_vivado_made_is_flashed(tmp_path: Path) -> None:
    path, bits = built(tmp_path, bitstream=None), tmp_path / "top.bit"
    bits.write_bytes(b"made by Vivado")
    (tmp_path / "loader").mkdir()
    loader = StandIn(tmp_path / "loader")

    def flash(*options: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*JALHOST, "flash", str(path), "--no-wait", *options],
            capture_output=True,
            text=True,
            env=os.environ | {"PATH": loader.path},
            check=False,
        )

    run = flash("--bitstream", str(bits))
    assert run.returncode == 0, run.stderr
    assert loader.written == b"made by Vivado"
    assert flash("--bitstream", str(bits), "--dry-run").stdout.startswith(f"cd {tmp_path}\n")
    run = flash("--bitstream", str(tmp_path / "none.bit"))
    assert (run.returncode, run.stdout) == (2, "")
    path = built(tmp_path)
    run = flash("--bitstream", str(bits))
    assert (run.returncode, run.stdout) == (2, "")
    assert "has a bitstream (leave out --bitstream)" in run.stderr


def built(folder: Path, **changes: Any) -> Path:
    """A bundle of the stand-in's build."""
    path = folder / "x.jalb"
    files = members(soc_json=b'{"fingerprint": "%016x"}' % FINGERPRINT)
    if "bitstream" in changes:
        del files["bitstream.bit"]
    write_bundle(path, manifest(fingerprint=f"{FINGERPRINT:016x}", **changes), files)
    return path


@pytest.mark.parametrize(
    "target", ["sim", "uart:", "emu", "/dev/ttyUSB0", "uart", "eth:", "pcie:", "sim:eth"]
)
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
    where = "(--target uart:PORT, eth[:HOST] or pcie[:ADDRESS])"
    assert f"is not a board on a port {where}" in run.stderr
