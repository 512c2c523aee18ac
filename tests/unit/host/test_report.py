"""A support bundle has what helps, and nothing of what was planted."""

import json
import os
import socket
import tty
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from jalgateware.contract.mailbox import Command as Ask
from jalgateware.contract.mailbox import Result
from jalhost.bundle import write_bundle
from jalhost.engine.records import ReportRecord
from jalhost.engine.redact import Redactor
from jalhost.links.ports import Port
from jaltest.bridge import serve
from jaltest.bundles import manifest, members
from jaltest.command import Command
from jaltest.device import FINGERPRINT, FakeDevice
from jaltest.register_maps import csr_json

PLANTED = [
    "zaphod",
    "Zoë",
    "heart-of-gold",
    "/home/arthur",
    "192.168.77.13",
    "10.20.30.40",
    "2001:db8::77:1",
    "de:ad:be:ef:00:42",
    "DE-AD-BE-EF-00-43",
    "dead.beef.0044",
    "deadbeef0045",
    "FT9XK31Q",
    "D00987",
    "210319B0C238",
    "ford.prefect@guide.example",
]

LOG = """\
/home/arthur/fpga/build: opened /dev/serial/by-id/usb-FTDI_Cable_FT9XK31Q-if00
connected to 192.168.77.13. Then to 10.20.30.40:1234, [2001:db8::77:1], 127.0.0.1:5555
ether DE:AD:BE:EF:00:42 and DE-AD-BE-EF-00-43, dead.beef.0044, deadbeef0045
openFPGALoader --serial D00987 {"serial": "210319B0C238"} iSerial=D00987
192.168.77.13
2001:db8::77:1
serial=D00987
/home/arthur
FT9XK31Q
zaphod@heart-of-gold, ZAPHOD, Zo\\u00eb, Zoë, ford.prefect@guide.example; heart-of-gold.local
jalhost 0.1.0 at 18:26:46, yosys 0.70.0.0.post1259, serial port 0403:6015, std::vector, 0000:03:00.0
"""

KEPT = [
    "18:26:46",
    "0.70.0.0.post1259",
    "0403:6015",
    "std::vector",
    "0000:03:00.0",
    "127.0.0.1:5555",
]


@pytest.fixture
def jalhost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Command:
    """The command, of somebody on a computer with a name."""
    cache = tmp_path / "cache" / "jalhost" / "logs"
    cache.mkdir(parents=True)
    (cache / "simulator.log").write_text(LOG)
    for name, value in {
        "USER": "zaphod", "LOGNAME": "zaphod", "SUDO_USER": "Zoë", "HOME": "/home/arthur",
        "XDG_CACHE_HOME": str(tmp_path / "cache"),
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("socket.gethostname", lambda: "heart-of-gold.local")
    port = Port("/dev/ttyUSB0", 0x0403, 0x6015, "FT9XK31Q", "ULX3S")
    monkeypatch.setattr("jalhost.links.ports.list_ports", lambda: [port])
    monkeypatch.setattr("jalhost.engine.redact._macs", lambda: ["de:ad:be:ef:00:45"])
    return Command(monkeypatch, capsys)


@pytest.fixture
def board() -> Iterator[tuple[FakeDevice, str]]:
    master, slave = os.openpty()
    tty.setraw(slave)
    fake = FakeDevice(refuse={Ask.SELF_TEST: Result.FAILED})
    serve(fake, lambda: os.read(master, 4096), lambda data: os.write(master, data))
    yield fake, f"uart:{os.ttyname(slave)}"
    os.close(slave)
    os.close(master)


def read(path: Path) -> dict[str, str]:
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name).decode() for name in archive.namelist()}


def test_nothing_personal_is_in_it(
    jalhost: Command, board: tuple[FakeDevice, str], tmp_path: Path
) -> None:
    (tmp_path / "given.log").write_text(LOG)
    (tmp_path / "bringup.json").write_text(json.dumps({"log": LOG, "operator": "Zoë"}))
    value = f"{FINGERPRINT:016x}"
    soc = json.dumps({"fingerprint": value}).encode()
    bundle = tmp_path / "x.jalb"
    facts = {"fingerprint": value, "ethernet": "192.168.77.13", "links": ["uart", "eth"]}
    write_bundle(bundle, manifest(**facts), members(csr_json=csr_json(), soc_json=soc))
    output = tmp_path / "r.zip"
    run = jalhost(
        "report", "-o", str(output), "--target", board[1], "--bundle", str(bundle), "--json",
        "--bringup", str(tmp_path / "bringup.json"), "--log", str(tmp_path / "given.log"),
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    record = ReportRecord.model_validate_json(run.stdout)
    texts = read(output)
    assert set(record.members) == set(texts)
    # The stand-in has no console: its registers always say that there is more.
    assert [line for line in record.problems if line.startswith("console.txt: ")]
    for name, text in texts.items():
        found = [item for item in PLANTED if item.lower() in text.lower() or item in name]
        assert not found, (name, found)
    for name in ("logs/given-1.txt", "logs/build-1.txt", "bringup.json"):
        assert not [item for item in KEPT if item not in texts[name]], name
    assert {"user", "host", "home", "serial", "ip", "mac", "email"} <= set(record.replaced)


def test_what_helps_is_in_it(
    jalhost: Command, board: tuple[FakeDevice, str], tmp_path: Path
) -> None:
    output = tmp_path / "r.zip"
    run = jalhost("report", "-o", str(output), "--target", board[1])
    assert run.returncode == 0, run.stderr
    assert "look through it before you send it" in run.stdout
    texts = read(output)
    assert json.loads(texts["identity.json"])["fingerprint"] == FINGERPRINT
    assert json.loads(texts["counters.json"])["tokens"] == 0
    assert json.loads(texts["self-test.json"])["result"] == "FAILED"
    assert "SELF_TEST() -> FAILED" in texts["log.txt"]
    versions = json.loads(texts["versions.json"])
    assert versions["packages"]["jalhost"]
    assert [item["purpose"] for item in json.loads(texts["doctor.json"])]
    assert texts["problems.txt"] == "none\n"


def test_what_cannot_be_had_leaves_the_rest(jalhost: Command, tmp_path: Path) -> None:
    output = tmp_path / "r.zip"
    run = jalhost("report", "-o", str(output), "--target", "uart:/dev/no-such-port")
    assert run.returncode == 0
    assert "not in it: device: there is no port /dev/no-such-port" in run.stdout
    texts = read(output)
    assert "no such port" in texts["problems.txt"].replace("-", " ")
    assert "versions.json" in texts
    assert "identity.json" not in texts
    run = jalhost("report", "-o", str(output), "--target", "emu")
    assert "the emulator has no bus" in run.stdout
    line = jalhost.fails(2, "report", "-o", str(output), "--log", str(tmp_path / "nothing"))
    assert "cannot read" in line


def test_a_device_that_says_nothing_is_asked_once(
    jalhost: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jalhost.links.open.SERVER_TIMEOUT_S", 0.05)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        target = f"uart:tcp://127.0.0.1:{silent.getsockname()[1]}"
        run = jalhost("report", "-o", str(tmp_path / "r.zip"), "--target", target)
    assert run.stdout.count("not in it: ") == 1, run
    assert "not in it: device: no answer from 127.0.0.1:" in run.stdout


def test_equal_things_keep_equal_names() -> None:
    redact = Redactor(users=["ford"], hosts=["guide"])
    text = "1.2.3.4 asks 5.6.7.8, and ford@guide (fordson, misguided) asks 1.2.3.4"
    assert redact(text) == (
        "<ip-1> asks <ip-2>, and <user>@<host> (fordson, misguided) asks <ip-1>"
    )
    assert redact.counts == {"ip": 3, "user": 1, "host": 1}
