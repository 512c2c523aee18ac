"""`jalhost flash` as users meet it, with a stand-in for openFPGALoader."""

import os
import signal
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from jaltest.bundles import bundle, members
from jaltest.desk import Desk, assert_failed
from jaltest.loader import (
    ANOTHER,
    ARTY,
    LFE5U_45,
    LFE5U_85,
    LFE5UM_85,
    NOT_FOUND,
    SRAM_START,
    ULX3S,
    XC7A35,
    Answer,
    bar,
    detected,
    scan,
)
from jaltest.processes import PATIENCE_S, alive
from jaltest.texts import JALHOST

BITSTREAM = members()["bitstream.bit"]

DENIED = Answer(
    scan(),
    "Error: can't open device with vid:vid = 0x0403:0x6015. "
    "Error code -3 Access denied (insufficient permissions)\n",
)

RULE = (
    'SUBSYSTEM=="usb|hidraw", ATTRS{idVendor}=="0403", ATTRS{idProduct}=="6015", '
    'MODE="0660", GROUP="plugdev", TAG+="uaccess"'
)


def test_a_bundle_goes_into_sram(loader: Desk, tmp_path: Path) -> None:
    run = loader.flash(tmp_path)
    assert run.returncode == 0, run.stderr
    assert run.stdout.splitlines() == [
        f"TOOL    ok: openFPGALoader v1.1.1 ({loader.folder}/openFPGALoader)",
        "CABLE   ok: ft231X (0403:6015 D00123 ULX3S FPGA 85K v3.0.8)",
        "DETECT  ok: LFE5U-85 (IDCODE 0x41113043)",
        "PART    ok: 0x41113043 is the bundle's LFE5U-85F",
        "WRITE   ok: 512 bytes into SRAM",
        "VERIFY  ok: the FPGA says that it is configured; SRAM cannot be read back",
    ]
    assert run.stderr.splitlines() == [f"Loading: {percent} %" for percent in (0, 31, 52, 94, 100)]
    (call,) = loader.writes
    assert call[:-1] == ["--board", "ulx3s", "--write-sram"]
    assert loader.written == BITSTREAM
    # The file for openFPGALoader is gone again.
    assert sorted(path.name for path in tmp_path.iterdir()) == ["loader", "x.jalb"]


def test_permanently_is_read_back(loader: Desk, tmp_path: Path) -> None:
    run = loader.flash(tmp_path, "--permanent")
    assert run.returncode == 0, run.stderr
    assert "WRITE   ok: 512 bytes into flash memory\nVERIFY  ok: read back" in run.stdout
    assert run.stderr.splitlines()[-3:] == [f"Read flash: {part} %" for part in (40, 80, 100)]
    (call,) = loader.writes
    assert call[:-1] == ["--board", "ulx3s", "--write-flash", "--verify"]


def test_cable_and_serial_number_are_passed_on(loader: Desk, tmp_path: Path) -> None:
    loader.set({"--scan-usb": Answer(scan(ULX3S, ARTY, ANOTHER))})
    run = loader.flash(tmp_path, "--serial", "D00456")
    assert "CABLE   ok: ft231X (0403:6015 D00456" in run.stdout
    assert loader.writes[0][:-2] == ["--board", "ulx3s", "--ftdi-serial", "D00456"]
    run = loader.flash(tmp_path, "--cable", "ft2232")
    assert "CABLE   ok: ft2232 (0403:6010 210319B0C238" in run.stdout
    assert loader.writes[1][:-2] == ["--board", "ulx3s", "--cable", "ft2232"]
    run = loader.flash(tmp_path, "--cable", "xvc-client")
    assert "CABLE   ok: xvc-client (not on USB)" in run.stdout


def test_the_fpga_is_found_in_a_longer_chain(loader: Desk, tmp_path: Path) -> None:
    loader.set({"--detect": Answer(detected(LFE5U_45, LFE5U_85))})
    run = loader.flash(tmp_path)
    assert run.returncode == 0, run.stderr
    assert "--index-chain 1 --write-sram" in " ".join(loader.writes[0])
    loader.set({"--detect": Answer(detected(LFE5U_85, LFE5U_85))})
    assert_failed(loader.flash(tmp_path), 2, "PART", "there are 2 FPGAs LFE5U-85F")


def test_xilinx_idcodes_are_printed_without_their_version(loader: Desk, tmp_path: Path) -> None:
    loader.set({"--detect": Answer(detected(XC7A35)), "--scan-usb": Answer(scan(ARTY))})
    settings = {"openfpgaloader_board": "arty", "cable": None, "usb": ["0403:6010"]}
    run = loader.flash(tmp_path, part="XC7A35T", idcode="0x1362d093", flash=settings)
    assert run.returncode == 0, run.stderr


@pytest.mark.parametrize("found", [LFE5U_45, LFE5UM_85, XC7A35])
def test_a_wrong_part_is_refused_before_anything_is_written(
    loader: Desk, tmp_path: Path, found: tuple[int, str, str, str]
) -> None:
    loader.set({"--detect": Answer(detected(found))})
    run = loader.flash(tmp_path)
    name = f"the board has {found[3]} (IDCODE {found[0]:#010x})"
    wanted = "the bundle is for LFE5U-85F (IDCODE 0x41113043)"
    assert_failed(run, 5, "PART", name, wanted, "nothing was written")
    assert not loader.writes
    assert loader.written is None


def test_an_unknown_part_is_a_wrong_part(loader: Desk, tmp_path: Path) -> None:
    error = (
        "JTAG init failed with: Unknown device with IDCODE: 0x0badc0de "
        "(manufacturer: 0x06f (Nobody), part: 0x5b vers: 0x0\n"
    )
    loader.set({"--detect": Answer("empty\n", error, code=1)})
    assert_failed(loader.flash(tmp_path), 5, "PART", "unknown device (IDCODE 0x0badc0de)")


FAILED_SCANS = {
    "no permission": (DENIED, (), 4, ("no permission to use the cable 0403:6015", RULE)),
    "no cable": (Answer(scan()), (), 4, ("no cable found: ft231X (0403:6015)", "no cable at all")),
    "other cables": (Answer(scan(ARTY)), (), 4, ("there is FTDI2232 0403:6010 210319B0C238",)),
    "several": (Answer(scan(ULX3S, ANOTHER)), (), 2, ("2 cables", "--serial: D00123, D00456")),
    "other serial": (
        Answer(scan(ULX3S)),
        ("--serial", "X"),
        4,
        ("no cable found: ft231X (serial number X)", "D00123"),
    ),
    "unknown cable": (Answer(scan()), ("--cable", "ft2322"), 2, ("did you mean ft2", "'ft2322'")),
    "broken": (
        Answer(scan(), DENIED.err.replace("-3 Access denied", "-4 No such device")),
        (),
        4,
        ("the cable 0403:6015 cannot be opened: No such device",),
    ),
}


@pytest.mark.parametrize("case", FAILED_SCANS)
def test_cables_that_cannot_be_used(loader: Desk, tmp_path: Path, case: str) -> None:
    answer, arguments, code, parts = FAILED_SCANS[case]
    loader.set({"--scan-usb": answer})
    assert_failed(loader.flash(tmp_path, *arguments), code, "CABLE", *parts)
    assert not loader.writes


UNKNOWN_BOARD: dict[str, Any] = {"openfpgaloader_board": None, "cable": None, "usb": []}


@pytest.mark.parametrize(
    ("settings", "code", "message"),
    [
        (UNKNOWN_BOARD, 2, "openFPGALoader does not know this board"),
        (
            UNKNOWN_BOARD | {"openfpgaloader_board": "moon"},
            6,
            "v1.1.1 does not know the board moon",
        ),
        (
            UNKNOWN_BOARD | {"openfpgaloader_board": "acornCle215"},
            2,
            "the board acornCle215 has no cable of its own",
        ),
    ],
)
def test_boards_without_a_cable(
    loader: Desk, tmp_path: Path, settings: Mapping[str, Any], code: int, message: str
) -> None:
    assert_failed(loader.flash(tmp_path, flash=settings), code, "CABLE", message, "")
    if code == 2:  # with a cable it works
        run = loader.flash(tmp_path, "--cable", "ft231X", flash=settings)
        assert run.returncode == 0, run.stderr


def detect_error(*lines: str) -> Answer:
    return Answer("empty\n", "\n".join(lines) + "\n", code=1)


FAILED_DETECTS = {
    "gone": (NOT_FOUND, 4, ("no cable found: ft231X",)),
    "permission": (
        detect_error("unable to open ftdi device: -4 (usb_open() failed)"),
        4,
        ("no permission", RULE),
    ),
    "in use": (
        detect_error(
            "unable to open ftdi device: -5 (unable to claim usb device. "
            "Make sure the default FTDI driver is not in use)"
        ),
        4,
        ("another program uses the cable ft231X",),
    ),
    "not built in": (
        detect_error("Jtag: support for cmsisdap was not enabled at compile time"),
        6,
        ("was built without support for the cable",),
    ),
    "not FTDI": (detect_error("Error: FTDI serial param is for FTDI cables."), 2, ("--serial",)),
    "no power": (
        detect_error("JTAG init failed with: TDO is stuck at 0"),
        4,
        ("nothing answers on JTAG: JTAG init failed with: TDO is stuck at 0", "switched on"),
    ),
    "empty chain": (Answer(detected()), 4, ("nothing answers on JTAG (is the board",)),
}


@pytest.mark.parametrize("case", FAILED_DETECTS)
def test_boards_that_do_not_answer(loader: Desk, tmp_path: Path, case: str) -> None:
    answer, code, parts = FAILED_DETECTS[case]
    loader.set({"--detect": answer})
    assert_failed(loader.flash(tmp_path), code, "DETECT", *parts)
    assert not loader.writes


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("call", ["--detect", "--write-sram"])
def test_an_interrupt_leaves_nothing_running(
    loader: Desk, tmp_path: Path, number: signal.Signals, call: str
) -> None:
    loader.set({call: Answer(SRAM_START + bar("Loading", 10), hang=True)})
    process = subprocess.Popen(
        [*JALHOST, "flash", str(bundle(tmp_path)), "--no-wait"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PATH": loader.path, "TMPDIR": str(tmp_path)},
    )
    deadline = time.monotonic() + PATIENCE_S
    while (pid := loader.pid) is None:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(number)
    out, err = process.communicate(timeout=PATIENCE_S)
    assert not alive(pid)
    stage = "DETECT" if call == "--detect" else "WRITE"
    assert out.splitlines()[-1] == f"{stage:<7} failed"
    if number == signal.SIGINT:
        assert (process.returncode, err.splitlines()[-1]) == (130, "jalhost: interrupted")
    else:
        assert process.returncode == 128 + signal.SIGTERM
    assert sorted(path.name for path in tmp_path.iterdir()) == ["loader", "x.jalb"]


def test_a_cable_that_the_board_may_have_is_suggested(loader: Desk, tmp_path: Path) -> None:
    settings = {"openfpgaloader_board": "arty", "cable": None, "usb": ["0403:6010", "0403:6015"]}
    loader.set({"--scan-usb": Answer(scan(ULX3S))})
    run = loader.flash(tmp_path, flash=settings)
    parts = ("no cable found: digilent (0403:6010)", "there is 0403:6015", "--cable ft231X")
    assert_failed(run, 4, "CABLE", *parts)


def test_gowins_bitstreams_are_called_as_openfpgaloader_wants(loader: Desk, tmp_path: Path) -> None:
    settings = {"openfpgaloader_board": "tangnano20k", "cable": None, "usb": ["0403:6010"]}
    facts = {"flash": settings, "idcode": "0x0000081b", "part": "GW2AR-18"}
    model = (0x81B, "Gowin", "GW2A", "GW2A(R)-18(C)")
    loader.set({"--detect": Answer(detected(model)), "--scan-usb": Answer(scan(ARTY))})
    run = loader.flash(tmp_path, **facts)
    assert run.returncode == 0, run.stderr
    assert loader.writes[0][-1].endswith("/bitstream.fs")
    lines = loader.flash(tmp_path, "--dry-run", **facts).stdout.splitlines()
    assert lines[0].endswith(" bitstream.bit -o bitstream.fs")
    assert lines[2].endswith(" --board tangnano20k --write-sram bitstream.fs")


def test_a_dry_run_prints_what_it_would_call(loader: Desk, tmp_path: Path) -> None:
    run = loader.flash(tmp_path, "--dry-run", "--permanent", "--cable", "my cable")
    assert run.returncode == 0, run.stderr
    program = loader.folder / "openFPGALoader"
    assert run.stdout.splitlines() == [
        f"jalhost bundle extract {tmp_path}/x.jalb bitstream.bit -o bitstream.bit",
        f"{program} --board ulx3s --cable 'my cable' --detect",
        f"{program} --board ulx3s --cable 'my cable' --write-flash --verify bitstream.bit",
    ]
    assert not (loader.folder / "calls").exists()


def test_a_bundle_without_a_bitstream_is_refused_at_once(loader: Desk, tmp_path: Path) -> None:
    run = loader.flash(tmp_path, bitstream=None)
    assert (run.returncode, run.stdout) == (8, "")
    assert "x.jalb has no bitstream (ulx3s is built by its vendor's tools" in run.stderr
    assert not (loader.folder / "calls").exists()


def test_it_must_be_said_how_the_board_is_reached(loader: Desk, tmp_path: Path) -> None:
    run = loader.flash(tmp_path, "--target", "uart:/dev/ttyUSB0")
    assert run.returncode == 2
    assert "either --target uart:PORT, eth or pcie, or --no-wait" in run.stderr
    assert not (loader.folder / "calls").exists()
