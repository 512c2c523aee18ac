"""Bundles: written the same each time, and opened only when every bit is right."""

import hashlib
import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jalgateware.contract.config import STANDARD
from jalhost.bundle import (
    MANIFEST,
    MAX_BYTES,
    is_bundle,
    open_bundle,
    read_fingerprint,
    write_bundle,
)
from jalhost.bundle_manifest import Manifest
from jalhost.errors import BundleError, UsageError
from jaltest.bundles import FINGERPRINT, IDCODE, bundle, manifest, members

PINNED = "455d2e9bffd13b2db77b98b196bad0ae96011a0394b9a18ff0396e3a27f6a6c4"
"""Of the tests' bundle: readers compare, so no version of Python may write it otherwise."""


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A sound bundle's bytes."""
    return bundle(tmp_path_factory.mktemp("whole")).read_bytes()


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where a bundle under test is written."""
    return tmp_path_factory.mktemp("place") / "x.jalb"


def rejected(path: Path, content: bytes) -> str:
    """The one line with which a file is refused."""
    path.write_bytes(content)
    with pytest.raises(BundleError) as caught:
        open_bundle(path)
    message = str(caught.value)
    assert message.count(str(path)) == 1
    assert "\n" not in message
    assert caught.value.hint
    return message


def packed(
    entries: list[tuple[str, bytes]], compression: int = zipfile.ZIP_STORED, comment: bytes = b""
) -> bytes:
    """A zip file, as any program may write it; but its time of day is always the same."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in entries:
            archive.writestr(zipfile.ZipInfo(name), content, compression)
        archive.comment = comment
    return buffer.getvalue()


def described(files: dict[str, bytes], **changes: Any) -> bytes:
    """A manifest of just these files."""
    digests = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
    return json.dumps(manifest(files=digests) | changes).encode()


def test_what_is_written_is_read(tmp_path: Path) -> None:
    path = tmp_path / "x.jalb"
    digest = write_bundle(path, manifest(), members())
    read = open_bundle(path)
    assert read.sha256 == digest == hashlib.sha256(path.read_bytes()).hexdigest()
    assert {name: read.member(name) for name in members()} == members()
    assert read.bitstream_name == "bitstream.bit"
    assert read.fingerprint == int(FINGERPRINT, 16)
    assert read.manifest.idcode == IDCODE
    assert read.manifest.engine_config == STANDARD
    assert read.manifest.clocks["sys"].constraint_mhz == 50
    assert json.loads(read.member(MANIFEST))["files"] == read.manifest.files


def test_a_manifest_of_the_first_format_is_read() -> None:
    old = manifest(format=1, files={"bitstream.bit": "0" * 64})
    del old["ethernet"], old["seed"]
    read = Manifest.model_validate_json(json.dumps(old))
    assert (read.format, read.links, read.ethernet, read.seed) == (1, ("uart",), None, None)


def test_a_bundle_says_which_build_a_board_should_have(tmp_path: Path, whole: bytes) -> None:
    path = bundle(tmp_path)
    assert read_fingerprint(path) == int(FINGERPRINT, 16)
    description = tmp_path / "soc.json"
    description.write_bytes(open_bundle(path).member("soc.json"))
    assert read_fingerprint(description) == int(FINGERPRINT, 16)
    path.write_bytes(whole[:-1])
    with pytest.raises(BundleError, match="truncated"):
        read_fingerprint(path)


def test_the_same_build_gives_the_same_bytes(tmp_path: Path) -> None:
    backwards = dict(reversed(members().items()))
    one = write_bundle(tmp_path / "1.jalb", manifest(), members())
    two = write_bundle(tmp_path / "2.jalb", dict(reversed(manifest().items())), backwards)
    assert one == two == PINNED
    assert write_bundle(tmp_path / "3.jalb", manifest(board="ecpix5"), members()) != one


def test_any_program_can_unpack_it(tmp_path: Path) -> None:
    with zipfile.ZipFile(bundle(tmp_path)) as archive:
        assert archive.testzip() is None
        assert archive.namelist() == [MANIFEST, *sorted(members())]
        assert {oct(info.external_attr >> 16) for info in archive.infolist()} == {"0o100644"}


@given(
    flips=st.lists(
        st.tuples(st.integers(0), st.integers(0, 7)), min_size=1, max_size=4, unique=True
    )
)
def test_flipped_bits_are_one_clear_error(
    whole: bytes, place: Path, flips: list[tuple[int, int]]
) -> None:
    damaged = bytearray(whole)
    for byte, bit in flips:
        damaged[byte % len(whole)] ^= 1 << bit
    if bytes(damaged) == whole:  # two flips of one bit
        damaged[0] ^= 1
    assert any(
        word in rejected(place, bytes(damaged)) for word in ("damaged", "not a bundle", "trunc")
    )


@given(length=st.integers(0))
def test_cut_off_files_are_one_clear_error(whole: bytes, place: Path, length: int) -> None:
    cut = whole[: length % len(whole)]
    expected = "truncated: its end is missing" if len(cut) >= 4 else "is not a bundle"
    assert expected in rejected(place, cut)


@given(content=st.binary(max_size=64))
def test_other_files_are_no_bundles(place: Path, content: bytes) -> None:
    message = rejected(place, content)
    assert "is not a bundle" in message or content.startswith(b"PK\x03\x04")


@given(where=st.integers(0), extra=st.binary(min_size=1, max_size=16))
def test_inserted_bytes_are_one_clear_error(
    whole: bytes, place: Path, where: int, extra: bytes
) -> None:
    cut = where % (len(whole) + 1)
    rejected(place, whole[:cut] + extra + whole[cut:])


def test_each_member_that_is_damaged_is_named(whole: bytes, tmp_path: Path) -> None:
    for name, content in members().items():
        damaged = whole.replace(content, bytes(len(content)), 1)
        message = rejected(tmp_path / "x.jalb", damaged)
        assert f"damaged: member {name} is not what was written" in message


WHOLE = members()
LESS = {name: content for name, content in WHOLE.items() if name != "csr.csv"}
MORE = WHOLE | {"more.txt": b"more"}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (packed([("readme.txt", b"")]), "is not a bundle"),
        (packed([(MANIFEST, b"[]")]), "is not a bundle"),
        (packed([(MANIFEST, b'{"format": true}')]), "is not a bundle"),
        (packed([(MANIFEST, b"{")]), "manifest.json is no JSON"),
        (packed([(MANIFEST, b'{"format": 1}')]), "manifest.json: board: Field required"),
        (packed([(MANIFEST, b'{"format": 4}')]), "has format 4, this jalhost reads up to 3"),
        (packed([(MANIFEST, described(WHOLE)), *LESS.items()]), "member csr.csv is missing"),
        (packed([(MANIFEST, described(WHOLE)), *MORE.items()]), "more.txt is not in its manifest"),
        (
            packed([(MANIFEST, described(WHOLE)), *(WHOLE | {"csr.csv": b"other"}).items()]),
            "member csr.csv does not match its SHA-256",
        ),
        (packed([(MANIFEST, b""), ("../../.bashrc", b"")]), "'../../.bashrc' is no name"),
        (packed([(MANIFEST, b""), ("/etc/passwd", b"")]), "'/etc/passwd' is no name"),
        (packed([(MANIFEST, b""), ("a/../b", b"")]), "'a/../b' is no name"),
        (packed([(MANIFEST, b""), ("C:\\b", b"")]), "is no name"),
        (packed([(MANIFEST, b"x" * 99)], zipfile.ZIP_DEFLATED), "packed in a way that"),
        (packed([(MANIFEST, described(WHOLE)), *WHOLE.items()], comment=b"?"), "to no member"),
        (
            packed([(MANIFEST, described(WHOLE, fingerprint="0" * 16)), *WHOLE.items()]),
            "soc.json has the fingerprint 00112233445566ff, the manifest 0000000000000000",
        ),
        (
            packed([(MANIFEST, described(WHOLE, engine={"lanes": 3})), *WHOLE.items()]),
            "lanes is a power of two",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_foreign_files_are_refused(tmp_path: Path, content: bytes, message: str) -> None:
    assert message in rejected(tmp_path / "x.jalb", content)


def test_a_member_that_is_in_it_twice_is_refused(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="Duplicate name"):
        content = packed([(MANIFEST, b""), ("csr.csv", b"1"), ("csr.csv", b"2")])
    assert "member csr.csv is in it twice" in rejected(tmp_path / "x.jalb", content)


def test_no_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    for path, reason in ((tmp_path / "no", "No such file"), (tmp_path, "Is a directory")):
        with pytest.raises(BundleError, match=reason):
            open_bundle(path)


def test_a_huge_file_is_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "x.jalb"
    with path.open("wb") as file:
        file.truncate(MAX_BYTES + 1)
    with pytest.raises(BundleError, match=r"is not a bundle: it has 268,435,457 bytes"):
        open_bundle(path)


@pytest.mark.parametrize(
    "changes",
    [
        {"idcode": "41113043"},
        {"fingerprint": "0"},
        {"bitstream": "other.bit"},
        {"board": "ulx3s --help"},
        {"engine": {"wings": 2}},
        {"clocks": {"sys": {"achieved_mhz": float("nan"), "constraint_mhz": 50.0}}},
        {"surprise": 1},
        {"format": 0},
        {"format": 4},
        {"flash": {"openfpgaloader_board": "-x y", "cable": None, "usb": []}},
        {"flash": {"openfpgaloader_board": None, "cable": None, "usb": ["403:6015"]}},
    ],
)
def test_a_wrong_manifest_is_not_written(tmp_path: Path, changes: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"."):
        write_bundle(tmp_path / "x.jalb", manifest(**changes), members())
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["../x", "", "a//b", ".hidden", MANIFEST, "é", "a\nb"])
def test_a_wrong_name_is_not_written(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match="cannot be a member's name"):
        write_bundle(tmp_path / "x.jalb", manifest(), members() | {name: b""})
    assert not list(tmp_path.iterdir())


def test_sources_without_a_bitstream(tmp_path: Path) -> None:
    path = tmp_path / "x.jalb"
    write_bundle(path, manifest(bitstream=None), {"vivado/top.v": b"module top; endmodule\n"})
    read = open_bundle(path)
    assert read.member("vivado/top.v").startswith(b"module")
    with pytest.raises(BundleError, match="has no bitstream"):
        _ = read.bitstream_name
    with pytest.raises(
        BundleError, match=r"no member 'x' \(members: manifest.json, vivado/top.v\)"
    ):
        read.member("x")


def test_a_folder_that_is_missing(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot write"):
        write_bundle(tmp_path / "no" / "x.jalb", manifest(), members())


Change = Callable[[bytes], bytes]


@pytest.mark.parametrize("change", [bytes, lambda data: data[:9], lambda data: data[1:]])
def test_bundles_are_told_from_other_files(tmp_path: Path, whole: bytes, change: Change) -> None:
    path = tmp_path / "x.jalb"
    path.write_bytes(change(whole))
    assert is_bundle(path) == path.read_bytes().startswith(b"PK")
    assert not is_bundle(tmp_path / "no")
