"""Bundles (``.jalb``): a built bitstream with all that belongs to it, in one file.

A zip file with ``manifest.json`` (:mod:`jalhost.bundle_manifest`) and the members that it lists,
each with its SHA-256: bitstream, firmware, register maps, timing, or a vendor project's sources.
Nothing is compressed and nothing depends on time or place, so the same build gives the same
bytes, and a reader can compare a file with what should have been written: a bundle that opens is
whole, to the last bit.
"""

import hashlib
import io
import json
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from jalhost.bundle_manifest import FORMAT, Manifest, is_member_name
from jalhost.errors import BundleError, UsageError
from jalhost.files import atomic_path

MANIFEST = "manifest.json"

DESCRIPTION = "soc.json"
"""Member that describes the system; what it says of the fingerprint must be the manifest's."""

MAX_BYTES = 256 << 20
"""Most that is read: several times the largest bitstream of the boards."""

_MAGIC = b"PK\x03\x04"
_TIMESTAMP = (1980, 1, 1, 0, 0, 0)
_PERMISSIONS = 0o100644 << 16
_UNIX = 3
_ZIP_VERSION = 20
_COPY_AGAIN = "copy it again or build it again"


@dataclass(frozen=True)
class Bundle:
    """A bundle that was found whole. ``members``: by name, ``manifest.json`` included."""

    path: Path
    manifest: Manifest
    members: Mapping[str, bytes]
    sha256: str

    @property
    def fingerprint(self) -> int:
        """Of the build, as devices report it."""
        return int(self.manifest.fingerprint, 16)

    @property
    def bitstream_name(self) -> str:
        """The member that goes into the FPGA.

        Raises:
            BundleError: the bundle has none.
        """
        name = self.manifest.bitstream
        if name is None:
            raise BundleError(
                f"{self.path} has no bitstream",
                f"{self.manifest.board} is built by its vendor's tools, from the sources inside",
            )
        return name

    def member(self, name: str) -> bytes:
        """A member's content.

        Raises:
            BundleError: there is no such member.
        """
        if name not in self.members:
            raise BundleError(
                f"{self.path} has no member {name!r}", f"members: {', '.join(self.members)}"
            )
        return self.members[name]

    def folder(self, name: str) -> dict[str, bytes]:
        """The members in a folder, by their names within it; empty where there is none."""
        prefix = f"{name.rstrip('/')}/"
        return {
            member.removeprefix(prefix): content
            for member, content in self.members.items()
            if member.startswith(prefix)
        }


def with_bitstream(bundle: Bundle, path: Path) -> Bundle:
    """A bundle of a vendor's project together with what the vendor's tools made of it.

    Raises:
        UsageError: the bundle has a bitstream, or the file cannot be read.
    """
    if bundle.manifest.bitstream is not None:
        raise UsageError(f"{bundle.path} has a bitstream", "leave out --bitstream")
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from error
    manifest = bundle.manifest.model_copy(update={"bitstream": path.name})
    return replace(bundle, manifest=manifest, members={**bundle.members, path.name: content})


def write_bundle(path: Path, manifest: Mapping[str, Any], files: Mapping[str, bytes]) -> str:
    """Writes a bundle, complete or not at all; the same arguments always give the same bytes.

    Args:
        manifest: as in :class:`Manifest`; its ``files`` are computed here.
        files: members by name.

    Returns:
        SHA-256 of the file.

    Raises:
        UsageError: the file cannot be written.
        ValueError: the manifest or a member's name is wrong.
    """
    digests = {name: _sha256(content) for name, content in files.items()}
    text = _manifest_bytes({**manifest, "files": digests})
    checked = Manifest.model_validate_json(text)
    _check_description(checked, files)
    # As read back, so that what pydantic makes of the numbers (40 -> 40.0) is in the file.
    content = _archive({MANIFEST: _manifest_bytes(checked.model_dump(mode="json")), **files})
    if len(content) > MAX_BYTES:
        raise ValueError(f"a bundle has at most {MAX_BYTES:,} bytes, not {len(content):,}")
    with atomic_path(path) as temporary:
        temporary.write_bytes(content)
    return _sha256(content)


def is_bundle(path: Path) -> bool:
    """Whether a file looks like a bundle (sound or not); False where it cannot be read."""
    try:
        with path.open("rb") as file:
            return file.read(len(_MAGIC)) == _MAGIC
    except OSError:
        return False


def open_bundle(path: Path) -> Bundle:
    """Reads a bundle and checks every byte of it.

    Raises:
        BundleError: it is missing, foreign, truncated, damaged, or of a newer format.
    """
    content = _read(path)
    members = _members(path, content)
    if MANIFEST not in members:
        raise _foreign(path)
    manifest = _manifest(path, members[MANIFEST])
    _check_files(path, manifest, {name: members[name] for name in members if name != MANIFEST})
    if _archive(members) != content:
        raise _damaged(path, "it has bytes that belong to no member")
    return Bundle(path, manifest, members, _sha256(content))


def read_fingerprint(path: Path) -> int:
    """Fingerprint of a build, from its bundle or its ``soc.json``.

    Raises:
        UsageError: the file is missing or no such description.
        BundleError: the bundle is damaged.
    """
    if is_bundle(path):
        return open_bundle(path).fingerprint
    try:
        description: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return int(description["fingerprint"], 16)
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise UsageError(f"{path} does not describe a build") from error


def _read(path: Path) -> bytes:
    try:
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise BundleError(f"{path} is not a bundle: it has {size:,} bytes", _BUILD)
        content = path.read_bytes()
    except OSError as error:
        raise BundleError(f"cannot read {path}: {error.strerror}", "name a .jalb file") from error
    if not content.startswith(_MAGIC):
        raise _foreign(path)
    return content


def _members(path: Path, content: bytes) -> dict[str, bytes]:
    """Members by name, in the file's order; their CRCs are right."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            return _read_members(path, archive)
    except (
        zipfile.BadZipFile,
        EOFError,
        NotImplementedError,
        OSError,
        OverflowError,
        RuntimeError,
        ValueError,
    ) as error:
        # The directory is at the end: a file without one was cut off.
        if not zipfile.is_zipfile(io.BytesIO(content)):
            raise BundleError(f"{path} is truncated: its end is missing", _COPY_AGAIN) from error
        raise _damaged(path, f"its directory is not sound ({error})") from error


def _read_members(path: Path, archive: zipfile.ZipFile) -> dict[str, bytes]:
    members: dict[str, bytes] = {}
    for info in archive.infolist():
        name = info.filename
        if not is_member_name(name):
            raise _damaged(path, f"{name!r} is no name for a member")
        if name in members:
            raise _damaged(path, f"member {name} is in it twice")
        if info.compress_type != zipfile.ZIP_STORED or info.flag_bits:
            raise _damaged(path, f"member {name} is packed in a way that bundles are not")
        try:
            members[name] = archive.read(info)
        except (zipfile.BadZipFile, EOFError, OSError, RuntimeError, ValueError) as error:
            raise _damaged(path, f"member {name} is not what was written") from error
    return members


def _manifest(path: Path, text: bytes) -> Manifest:
    try:
        content = json.loads(text)
    except ValueError as error:
        raise _damaged(path, f"{MANIFEST} is no JSON ({error})") from error
    form = content.get("format") if isinstance(content, dict) else None
    if type(form) is not int:
        raise _foreign(path)
    if form > FORMAT:
        raise BundleError(
            f"{path} has format {form}, this jalhost reads up to {FORMAT}", "update jalhost"
        )
    try:
        return Manifest.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        what = f"{place}: {first['msg']}" if place else first["msg"]
        raise _damaged(path, f"{MANIFEST}: {what}") from error


def _check_files(path: Path, manifest: Manifest, files: Mapping[str, bytes]) -> None:
    for name, digest in manifest.files.items():
        if name not in files:
            raise _damaged(path, f"member {name} is missing")
        if _sha256(files[name]) != digest:
            raise _damaged(path, f"member {name} does not match its SHA-256")
    if extra := sorted(set(files) - set(manifest.files)):
        raise _damaged(path, f"member {extra[0]} is not in its manifest")
    try:
        _check_description(manifest, files)
    except ValueError as error:
        raise _damaged(path, str(error)) from error


def _check_description(manifest: Manifest, files: Mapping[str, bytes]) -> None:
    """Raises ValueError where ``soc.json`` is of another build than the manifest."""
    if DESCRIPTION in files:
        described = json.loads(files[DESCRIPTION])
        found = described.get("fingerprint") if isinstance(described, dict) else None
        if found != manifest.fingerprint:
            raise ValueError(
                f"{DESCRIPTION} has the fingerprint {found}, the manifest {manifest.fingerprint}"
            )


def _archive(members: Mapping[str, bytes]) -> bytes:
    """The one zip file with these members: the manifest first, then by name."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name in sorted(members, key=lambda name: (name != MANIFEST, name)):
            info = zipfile.ZipInfo(name, _TIMESTAMP)
            info.compress_type = zipfile.ZIP_STORED
            info.create_system, info.external_attr = _UNIX, _PERMISSIONS
            info.create_version = info.extract_version = _ZIP_VERSION
            archive.writestr(info, members[name])
    return buffer.getvalue()


def _manifest_bytes(manifest: Mapping[str, Any]) -> bytes:
    text = json.dumps(manifest, indent=2, sort_keys=True, allow_nan=False)
    return (text + "\n").encode()


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


_BUILD = "bundles (.jalb) come from building a board"


def _foreign(path: Path) -> BundleError:
    return BundleError(f"{path} is not a bundle", _BUILD)


def _damaged(path: Path, reason: str) -> BundleError:
    return BundleError(f"{path} is damaged: {reason}", _COPY_AGAIN)
