"""`jalhost bundle` as users meet it."""

import json
import subprocess
from pathlib import Path

import pytest

from jalhost.bundle import open_bundle, write_bundle
from jaltest.bundles import FINGERPRINT, bundle, manifest, members
from jaltest.texts import JALHOST


def run(*arguments: object) -> subprocess.CompletedProcess[bytes]:
    command = [*JALHOST, "bundle", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, check=False)


def test_info_shows_what_is_in_it(tmp_path: Path) -> None:
    path = bundle(tmp_path)
    digest = open_bundle(path).sha256
    shown = run("info", path).stdout.decode()
    for text in (
        digest,
        "LFE5U-85F (IDCODE 0x41113043)",
        FINGERPRINT,
        "61.50",
        "31,234      83,640   37.3%",
        "nextpnr-ecp5   0.11",
        "0403:6015",
        "tokens=4",
        *open_bundle(path).manifest.files.values(),
    ):
        assert text in shown
    facts = json.loads(run("info", path, "--json").stdout)
    assert facts["sha256"] == digest
    assert facts["sizes"]["bitstream.bit"] == 512
    assert facts["clocks"] == {"sys": {"achieved_mhz": 61.5, "constraint_mhz": 50.0}}
    assert set(manifest()) <= set(facts)


def test_info_of_sources_without_figures(tmp_path: Path) -> None:
    path = bundle(
        tmp_path,
        bitstream=None,
        clocks={"sys": {"achieved_mhz": None, "constraint_mhz": 100}},
        utilisation={"DSP48E1": {"used": 7, "available": None}},
        flash={"openfpgaloader_board": "arty", "cable": "digilent_hs2", "usb": []},
    )
    shown = run("info", path).stdout.decode()
    for text in ("none: build it with the vendor's tools", "not placed", "unknown", "digilent_hs2"):
        assert text in shown


def test_verify_says_that_it_is_whole(tmp_path: Path) -> None:
    path = bundle(tmp_path)
    line = f"{path}: whole, 5 members, SHA-256 {open_bundle(path).sha256}\n"
    assert run("verify", path).stdout.decode() == line


@pytest.mark.parametrize("command", ["info", "verify", "extract"])
def test_a_damaged_bundle_is_one_line(tmp_path: Path, command: str) -> None:
    path = bundle(tmp_path)
    path.write_bytes(path.read_bytes().replace(b"csr_base", b"csr_case"))
    ended = run(command, path, *(["csr.csv"] if command == "extract" else []))
    assert (ended.returncode, ended.stdout) == (8, b"")
    assert ended.stderr.decode() == (
        f"jalhost: error: {path} is damaged: member csr.csv is not what was written "
        "(copy it again or build it again)\n"
    )


def test_extract_gives_a_folder(tmp_path: Path) -> None:
    path = tmp_path / "x.jalb"
    files = {"driver/kernel/main.c": b"module", "driver/user/test.c": b"test", "drivers.txt": b""}
    write_bundle(path, manifest(), members() | files)
    ended = run("extract", path, "driver", "-o", tmp_path / "driver")
    assert ended.returncode == 0
    assert ended.stderr.decode() == f"{tmp_path / 'driver'}: 2 files\n"
    found = {item.name: item.read_bytes() for item in (tmp_path / "driver").rglob("*.c")}
    assert found == {"main.c": b"module", "test.c": b"test"}
    ended = run("extract", path, "driver")
    assert (ended.returncode, ended.stdout) == (2, b"")
    assert b"a folder does not go to standard output" in ended.stderr
    ended = run("extract", path, "driver", "-o", path)
    assert ended.returncode == 2
    assert b"cannot write" in ended.stderr


def test_extract_gives_the_members_bytes(tmp_path: Path) -> None:
    path = bundle(tmp_path)
    output = tmp_path / "x.bit"
    ended = run("extract", path, "bitstream.bit", "--output", output)
    assert (ended.returncode, ended.stdout) == (0, b"")
    assert output.read_bytes() == members()["bitstream.bit"]
    assert run("extract", path, "bitstream.bit").stdout == members()["bitstream.bit"]
    failed = run("extract", path, "bitstream", "-o", tmp_path / "y")
    assert failed.returncode == 8
    assert b"has no member 'bitstream' (members: manifest.json, bitstream.bit" in failed.stderr
    assert not (tmp_path / "y").exists()
