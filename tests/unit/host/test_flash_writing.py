"""Writing a bitstream, and how that fails, with a stand-in for openFPGALoader."""

import signal
from pathlib import Path

import pytest

from jaltest.desk import Desk, assert_failed
from jaltest.loader import (
    ARTY,
    DEFAULTS,
    FLASH_START,
    FLASH_WRITTEN,
    JTAG,
    SRAM_START,
    Answer,
    bar,
    scan,
)

ENDED = f"{JTAG}Open file DONE\nParse file DONE\n"

FAILED_WRITES = {
    # What ends with exit code 0 all the same.
    "not configured": (
        f"{ENDED}load program\n{bar('Load SRAM', 50, 100)}\nDone\nShift IR 11\n"
        "ir: 1 isc_done 0 isc_ena 0 init 1 done 0\n",
        "",
        0,
        "writing failed: ir: 1 isc_done 0 isc_ena 0 init 1 done 0",
    ),
    "FAIL": (f"{ENDED}Load SRAM {bar('Load SRAM', 100)}\nDone\nFAIL\n", "", 0, "failed: FAIL"),
    "checksum": (f"{ENDED}DONE\n", "CRC check : FAIL\n", 0, "failed: CRC check : FAIL"),
    "bits lost": (
        SRAM_START
        + bar("Loading", 37.99)
        + "problem -1 written\n"
        + bar("Loading", 100)
        + "\nDone\n",
        "",
        0,
        "writing failed: problem -1 written",
    ),
    "silent": (f"empty\nwrite to ram\n{JTAG}", "", 0, "writing failed: empty"),
    # What does not.
    "erase": ("Enable configuration: DONE\nSRAM erase: ", "FAIL\n", 1, "SRAM erase: FAIL"),
    "status": (SRAM_START + bar("Loading", 100), "\nFail\n", 1, "writing failed: Fail"),
    "another part": (
        "Open file: DONE\nParse file: DONE\n",
        "mismatch between target's idcode and bitstream idcode\n"
        "\tbitstream has 0x41112043 hardware requires 0x41113043\n"
        "Error: Failed to program FPGA: std::exception\n",
        1,
        "the bitstream is for another FPGA than the bundle says",
    ),
    "protected": (
        FLASH_START + "unlock blocks\n",
        "Error: block protection is set\n       can't unlock without --unprotect-flash\n",
        1,
        "flash memory is write-protected (openFPGALoader --board ulx3s --unprotect-flash",
    ),
    "verify": (
        FLASH_WRITTEN + bar("Read flash ", 100),
        "\nFail\nVerification failed at 2097152\n",
        1,
        "does not hold what was written: Verification failed at 2097152",
    ),
}


@pytest.mark.parametrize("case", FAILED_WRITES)
def test_writing_that_fails(loader: Desk, tmp_path: Path, case: str) -> None:
    out, err, code, message = FAILED_WRITES[case]
    loader.set({"--write-flash": Answer(out, err, code)})
    assert_failed(loader.flash(tmp_path, "--permanent"), 5, "WRITE", message)


def test_a_status_before_writing_is_no_failure(loader: Desk, tmp_path: Path) -> None:
    status = "after program flash: displayReadReg 00004421\n\tCRC Error\n\tID Verify Failed\n"
    good = DEFAULTS["--write-flash"].out
    loader.set({"--write-flash": Answer(status + good)})
    assert loader.flash(tmp_path, "--permanent").returncode == 0


@pytest.mark.parametrize(
    ("permanent", "consequence"), [(True, "holds half a bitstream"), (False, "nothing runs")]
)
def test_a_cable_that_is_lost_half_way(
    loader: Desk, tmp_path: Path, permanent: bool, consequence: str
) -> None:
    lost = Answer(
        SRAM_START + bar("Loading", 37.99) + "problem -666 written\n",
        "unable to flush -666 (USB device unavailable)\n",
        code=0,
    )
    scans = [DEFAULTS["--scan-usb"], Answer(scan(ARTY))]
    loader.set({"--write-sram": lost, "--write-flash": lost, "--scan-usb": scans})
    run = loader.flash(tmp_path, *(["--permanent"] if permanent else []))
    what = "the cable ft231X was lost while it wrote: problem -666 written"
    assert_failed(run, 4, "WRITE", what, consequence)


def test_openfpgaloader_that_is_killed(loader: Desk, tmp_path: Path) -> None:
    killed = Answer(SRAM_START + bar("Loading", 10), signal=signal.SIGKILL)
    loader.set({"--write-sram": killed})
    run = loader.flash(tmp_path)
    assert_failed(run, 6, "WRITE", "from outside or crashed (SIGKILL)", "flash again")


def test_openfpgaloader_that_lacks_a_library(loader: Desk, tmp_path: Path) -> None:
    error = (
        "openFPGALoader: error while loading shared libraries: libftdi1.so.2: "
        "cannot open shared object file: No such file or directory\n"
    )
    loader.set({"--Version": Answer(err=error, code=127)})
    run = loader.flash(tmp_path)
    assert_failed(run, 6, "TOOL", "libftdi1.so.2 is missing", "apt-get install -y libftdi1-2")


def test_openfpgaloader_that_is_for_another_machine(loader: Desk, tmp_path: Path) -> None:
    (loader.folder / "openFPGALoader").write_bytes(b"\x7fELF nothing")
    assert_failed(loader.flash(tmp_path), 6, "TOOL", "does not start: Exec format error")
