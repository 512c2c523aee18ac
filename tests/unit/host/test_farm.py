"""What labgrid's client says, and what becomes of it."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from jalhost.engine.farm import FarmBoard, board_of, find_client, parse_resources, reserved
from jalhost.errors import EnvironmentProblem, LinkError, UsageError
from jaltest.bundles import bundle
from jaltest.desk import Desk

SHOW = """\
Place 'bench':
  matches:
    lab/group/*
  acquired: vm/ford
Acquired resource 'board' (lab/group/JalhostBoard/JalhostBoard):
  {'acquired': 'bench',
   'avail': True,
   'cls': 'JalhostBoard',
   'params': {'address': 'eth:192.168.1.50',
              'cable_serial': 'D00123',
              'extra': {'proxy': 'lab', 'proxy_required': False}}}
Acquired resource 'NetworkSerialPort' (lab/group/NetworkSerialPort/RawSerialPort):
  {'acquired': 'bench',
   'avail': True,
   'cls': 'NetworkSerialPort',
   'params': {'extra': {'path': '/dev/ttyUSB0', 'proxy_required': False},
              'host': 'lab',
              'port': 4001,
              'speed': 115200}}
"""

CLIENT = """#!{python} -IS
import os, pathlib, sys, time
folder = pathlib.Path({folder!r})
command = sys.argv[-1]
with (folder / "calls").open("a") as file:
    print(command, file=file)
name = folder / command
if name.exists():
    exec(name.read_text())
"""
"""Runs the file that is called like its command."""


@pytest.fixture
def client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A stand-in for labgrid's client; returns its folder."""
    program = tmp_path / "labgrid-client"
    program.write_text(CLIENT.format(python=sys.executable, folder=str(tmp_path)))
    program.chmod(0o755)
    monkeypatch.setattr("jalhost.engine.farm.find_client", lambda: str(program))
    (tmp_path / "show").write_text(f"print({SHOW!r})")
    return tmp_path


def calls(folder: Path) -> list[str]:
    return (folder / "calls").read_text().split()


def refuse(folder: Path, command: str, message: str) -> None:
    (folder / command).write_text(f"sys.exit({message!r})")


COMMANDS = {
    "generate": ["x"],
    "chat": ["--chat-template", "TEMPLATE"],
    "bench": [],
    "verify": [],
    "soak": ["--time", "1s"],
    "power": [],
    "csr": ["read", "0xf0000000"],
    "mem": ["read", "mailbox"],
    "console": ["--command", "ident"],
    "capture": ["-o", "x.vcd"],
    "bringup": [],
    "flash": ["BUNDLE"],
}


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_takes_a_place(client: Path, loader: Desk, command: str) -> None:
    refuse(client, "acquire", "Error: Place bench is already acquired by heart/zaphod.")
    template = client / "x.jinja"
    template.write_text("{{ messages }}")
    named = {"BUNDLE": str(bundle(client)), "TEMPLATE": str(template)}
    arguments = [named.get(item, item) for item in COMMANDS[command]]
    run = loader.run(command, *arguments, "--target", "labgrid:bench")
    assert run.returncode == 4, run.stderr
    assert "place bench is taken: heart/zaphod has it" in run.stderr
    assert calls(client) == ["acquire"]


def test_a_report_tells_why_a_place_has_no_board(client: Path, loader: Desk) -> None:
    refuse(client, "acquire", "Error: Place bench is already acquired by heart/zaphod.")
    path = client / "report.zip"
    run = loader.run("report", "--output", str(path), "--target", "labgrid:bench")
    assert "heart/zaphod" in run.stdout + run.stderr
    assert path.is_file()


def test_bring_up_uses_the_cable_that_the_farm_names(
    client: Path, loader: Desk, tmp_path: Path
) -> None:
    stages = ["--stage", "cable", "--stage", "idcode"]
    options = ["--bundle", str(bundle(tmp_path)), "--target", "labgrid:bench"]
    run = loader.run("bringup", *stages, *options)
    assert run.returncode == 0, run
    assert "ft231X (0403:6015 D00123)" in run.stdout
    assert ["--board", "ulx3s", "--ftdi-serial", "D00123", "--detect"] in loader.calls
    assert calls(client) == ["acquire", "show", "release"]


def test_what_a_board_cannot_have_is_refused_before_its_place_is_acquired(
    client: Path, loader: Desk
) -> None:
    run = loader.run("bringup", "--fault", "link", "--target", "labgrid:bench")
    assert run.returncode == 2
    assert "--fault is for simulators" in run.stderr
    assert not (client / "calls").exists()


def test_a_client_that_says_nothing_is_ended(client: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jalhost.engine.farm.ANSWER_TIMEOUT_S", 2.0)
    (client / "show").write_text("time.sleep(60)")
    with pytest.raises(LinkError, match="no labgrid coordinator answers"), reserved("bench", print):
        pytest.fail("there is no board")
    assert calls(client) == ["acquire", "show", "release"]


def test_resources_become_a_board() -> None:
    board, port = parse_resources(SHOW)
    expected = FarmBoard("bench", "eth:192.168.1.50", None, "D00123")
    assert board_of("bench", [port, board]) == expected
    assert board_of("bench", [port]) == FarmBoard("bench", "uart:rfc2217://lab:4001")
    raw = port | {"params": port["params"] | {"protocol": "raw"}}
    assert board_of("bench", [raw]) == FarmBoard("bench", "uart:tcp://lab:4001")
    # Not served yet, or unplugged.
    assert board_of("bench", [port | {"params": port["params"] | {"port": None}}]) is None
    assert board_of("bench", [port | {"avail": False}]) is None
    behind = port | {"params": port["params"] | {"extra": {"proxy_required": True}}}
    with pytest.raises(LinkError, match="is behind a proxy"):
        board_of("bench", [behind])
    with pytest.raises(LinkError, match="cannot be read"):
        parse_resources("Acquired resource 'x' (lab/x/y/z):\n  {'a': object()}\n")


def test_a_place_is_given_back_whatever_happens(client: Path) -> None:
    said: list[str] = []
    with reserved("bench", said.append) as board:
        assert board.address == "eth:192.168.1.50"
        assert calls(client) == ["acquire", "show"]
    assert calls(client)[2:] == ["release"]
    assert said == ["acquired bench", "released bench"]
    with pytest.raises(KeyError), reserved("bench", said.append):
        raise KeyError
    refuse(client, "show", "labgrid-client: Error: something else")
    with (
        pytest.raises(LinkError, match="cannot be used: something else"),
        reserved("bench", said.append),
    ):
        raise AssertionError
    assert calls(client).count("release") == calls(client).count("acquire") == 3
    refuse(client, "release", "labgrid-client: Error: gone")
    (client / "show").write_text(f"print({SHOW!r})")
    with reserved("bench", said.append):
        pass
    assert said[-1] == "releasing bench failed: gone"


@pytest.mark.parametrize(
    ("message", "problem"),
    [
        (
            "labgrid-client: Error: Place bench is already acquired by vm/bob. To work",
            r"place bench is taken: vm/bob has it \(wait, or ask them",
        ),
        ("labgrid-client: Error: place pattern bench matches nothing", "has no place bench"),
        (
            "ERROR root: gRPC\nServer error: Error: Could not connect to coordinator",
            r"no labgrid coordinator answers at .*LG_COORDINATOR",
        ),
        ("", "cannot be used: it says nothing"),
    ],
)
def test_refusals_are_one_line(client: Path, message: str, problem: str) -> None:
    (client / "acquire").write_text(f"print({message!r}, file=sys.stderr)\nsys.exit(1)")
    with pytest.raises(LinkError, match=problem), reserved("bench", print):
        raise AssertionError
    assert calls(client) == ["acquire"]


def test_what_was_acquired_before_is_not_released(client: Path) -> None:
    refuse(client, "acquire", "labgrid-client: Error: You have already acquired place bench.")
    with reserved("bench", print):
        pass
    assert calls(client) == ["acquire", "show"]


def test_ctrl_c_while_it_is_acquired_waits_and_releases(client: Path) -> None:
    slow = "(folder / 'begun').touch()\ntime.sleep(0.5)"
    (client / "acquire").write_text(slow)
    script = (
        "import jalhost.engine.farm as farm\n"
        f"farm.find_client = lambda: {str(client / 'labgrid-client')!r}\n"
        "with farm.reserved('bench', print): raise SystemExit(9)"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", script],
        stderr=subprocess.DEVNULL,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
    )
    while not (client / "begun").exists():
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    assert process.wait() not in (0, 9)
    assert calls(client) == ["acquire", "release"]


def test_names_and_the_client_are_needed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="which place"), reserved("", print):
        raise AssertionError
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(EnvironmentProblem, match="pipx install labgrid"):
        find_client()
    below = tmp_path / "labgrid" / "bin"
    below.mkdir(parents=True)
    (below / "labgrid-client").touch()
    assert find_client() == str(below / "labgrid-client")
