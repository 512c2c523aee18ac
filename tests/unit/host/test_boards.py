"""``jalhost boards`` and ``jalhost build``, with the real list and with a stand-in for builds."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from jalhost.cli.main import main
from jalhost.engine import boards
from jaltest.fake_boards import ARGUMENTS, EVENTS
from jaltest.models import REPOSITORY

BUILT = {
    "event": "built",
    "path": "/x/ecpix5.jalb",
    "ethernet": None,
    "sha256": "ab" * 32,
    "seed": 3,
    "tries": [{"seed": 2, "outcome": "clock sys is slow"}, {"seed": 3, "outcome": "good"}],
    "timing_met": False,
    "clocks": {"sys": [81.2, 75.0], "init": [20.0, 25.0]},
    "utilisation": {
        "TRELLIS_COMB": {"used": 30000, "available": 83640},
        "IOBUF": {"used": 32, "available": 0},
        "DUMMY": {"used": 7, "available": None},
    },
}


def stage(state: str, seconds: float = 0.0, cached: bool = False) -> dict[str, Any]:
    return {
        "event": "build", "step": "nextpnr", "state": state, "seconds": seconds, "cached": cached,
    }  # fmt: skip


Play = Callable[..., Path]


@pytest.fixture
def play(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Play:
    """Lets a build say events; returns the file of its arguments."""

    def start(*events: dict[str, Any] | str) -> Path:
        lines = [event if isinstance(event, str) else json.dumps(event) for event in events]
        (tmp_path / "events").write_text("\n".join(lines), encoding="utf-8")
        monkeypatch.setenv(EVENTS, str(tmp_path / "events"))
        monkeypatch.setenv(ARGUMENTS, str(tmp_path / "arguments"))
        script = REPOSITORY / "tests" / "jaltest" / "fake_boards.py"
        monkeypatch.setattr(boards, "COMMAND", (sys.executable, str(script)))
        monkeypatch.chdir(tmp_path)
        return tmp_path / "arguments"

    return start


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    """Runs the command line; returns its exit code."""
    monkeypatch.setattr(sys, "argv", ["jalhost", *arguments])
    with pytest.raises(SystemExit) as caught:
        main()
    return int(caught.value.code or 0)


def test_boards_are_listed_with_an_estimate(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "boards", "--json") == 0
    listed = {board["name"]: board for board in json.loads(capsys.readouterr().out)}
    ecpix5 = listed["ecpix5"]
    assert ecpix5["peak_bytes_per_s"] == 600_000_000
    # Bytes of the demo model's matrices, and of a token's own rows at position 0.
    assert ecpix5["estimated_tokens_per_s"]["demo"] == pytest.approx(600e6 / 1_023_684, rel=0.01)
    assert 30 < ecpix5["estimated_tokens_per_s"]["15M"] < 45
    assert listed["tang-nano-20k"]["estimated_tokens_per_s"]["15M"] is None


def test_the_table_says_what_its_figures_are(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "boards") == 0
    output = capsys.readouterr().out
    (row,) = [line for line in output.splitlines() if line.split()[:1] == ["ulx3s"]]
    assert "LFE5U-85F-6BG381C" in row
    assert "SDR x16, 32 MiB" in row
    assert "tokens/s: estimated" in output
    assert "does not fit" in output


def test_stages_and_figures_are_shown(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], play: Play
) -> None:
    note = stage("note") | {"step": "clock sys is slow; seed 3 is try 2 of 3"}
    again = stage("start"), stage("done", cached=True)
    play(stage("start"), stage("done", 61.26), note, *again, BUILT)
    assert run(monkeypatch, "build", "ecpix5") == 0
    shown = capsys.readouterr()
    assert shown.err.splitlines() == [
        "nextpnr    61.3 s",
        "clock sys is slow; seed 3 is try 2 of 3",
        "nextpnr    unchanged",
    ]
    assert shown.out.splitlines() == [
        f"/x/ecpix5.jalb  sha256 {'ab' * 32}",
        "seed 3, try 2",
        "clock sys: 81.2 MHz of 75 MHz, met",
        "clock init: 20 MHz of 25 MHz, MISSED",
        "TRELLIS_COMB: 30,000 of 83,640 (36%)",
        "IOBUF: 32",
        "DUMMY: 7",
    ]


def test_ethernet_is_shown_with_what_it_lets_in(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], play: Play
) -> None:
    arguments = play(BUILT | {"ethernet": "10.0.0.7"})
    assert run(monkeypatch, "build", "ecpix5", "--with-ethernet", "--ip", "10.0.0.7") == 0
    line = capsys.readouterr().out.splitlines()[1]
    assert line.startswith("Ethernet 10.0.0.7 (no authentication: whoever reaches it ")
    assert json.loads(arguments.read_text(encoding="utf-8"))[-3:] == [
        "--ip", "10.0.0.7", "--with-ethernet",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("option", "passed"),
    [
        ("--with-pcie", "--with-pcie"),
        ("--without-pcie", "--no-with-pcie"),
        ("--with-scope", "--with-scope"),
        ("--with-sensors", "--with-sensors"),
    ],
)
def test_parts_of_the_design_are_asked_for_or_refused(
    monkeypatch: pytest.MonkeyPatch, play: Play, option: str, passed: str
) -> None:
    arguments = play(BUILT)
    assert run(monkeypatch, "build", "acorn", option) == 0
    assert json.loads(arguments.read_text(encoding="utf-8"))[-1] == passed


def test_json_is_one_object(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], play: Play
) -> None:
    play(stage("start"), stage("done"), BUILT)
    assert run(monkeypatch, "build", "ecpix5", "--json") == 0
    built = json.loads(capsys.readouterr().out)
    assert built == {key: value for key, value in BUILT.items() if key != "event"}


def test_options_reach_the_build(monkeypatch: pytest.MonkeyPatch, play: Play) -> None:
    arguments = play(BUILT)
    options = (
        "--lanes 16 --tokens 2 --clock 62.5 --seed 7 --tries 2 --baud 9600 --gateware max_dim=256"
    )
    assert run(monkeypatch, "build", "ecpix5", *options.split(), "-o", "y.jalb",
               "--allow-timing-failure") == 0  # fmt: skip
    assert json.loads(arguments.read_text(encoding="utf-8")) == [
        "build", "ecpix5", "y.jalb",
        "--engine", '{"max_dim": 256, "lanes": 16, "tokens": 2}',
        "--clock-hz", "62500000", "--baud", "9600", "--seed", "7",
        "--tries", "2", "--allow-timing-failure",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("events", "code", "message"),
    [
        (
            [{"event": "error", "kind": "BuildError", "what": "clock sys is slow", "hint": "wait"}],
            7,
            "error: clock sys is slow (wait)",
        ),
        (
            [{"event": "error", "kind": "EnvironmentProblem", "what": "no yosys", "hint": ""}],
            6,
            "error: no yosys",
        ),
        ([stage("start"), "exit 1"], 7, "the boards cannot be used: Traceback: it is broken"),
        ([stage("start")], 7, "the build ended in the middle"),
    ],
)
def test_what_goes_wrong_is_one_line(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    play: Play,
    events: list[Any],
    code: int,
    message: str,
) -> None:
    play(*events)
    assert run(monkeypatch, "build", "ecpix5") == code
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "jalhost:" in line]
    assert message in line


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--gateware dram=sdr16", "a board decides on its dram"),
        ("--lanes 16 --gateware lanes=16", "--lanes and --gateware lanes are the same size"),
        ("-o nowhere/x.jalb", "there is no folder nowhere"),
    ],
)
def test_contradictions_are_refused(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    play: Play,
    options: str,
    message: str,
) -> None:
    play(BUILT)
    assert run(monkeypatch, "build", "ecpix5", *options.split()) == 2
    assert message in capsys.readouterr().err
