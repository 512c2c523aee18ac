"""The build that a device should be: what its bundle, or its simulator, says of it."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jalhost.bundle import DESCRIPTION, Bundle
from jalhost.errors import BundleError
from jalhost.register_map import CSR_JSON, read_map


@dataclass(frozen=True)
class Geometry:
    """DRAM chips, side by side: data lines, banks, bytes of a row across all chips."""

    data_bits: int
    banks: int
    row_bytes: int


@dataclass(frozen=True)
class Build:
    """What is known of a build. ``registers``: addresses by name, empty where nobody told.

    ``registers_hash``: of the register map, 64 bits of SHA-256. ``geometry``: None where nobody
    told.
    """

    fingerprint: int
    clock_hz: int | None = None
    registers: Mapping[str, int] = field(default_factory=dict)
    registers_hash: str | None = None
    geometry: Geometry | None = None


def build_of_bundle(bundle: Bundle) -> Build:
    """Of a bundle's members.

    Raises:
        BundleError: they are no register map or description.
    """
    csr_json, soc_json = (bundle.members.get(name) for name in (CSR_JSON, DESCRIPTION))
    try:
        return _build(bundle.fingerprint, csr_json, soc_json, f"{bundle.path}, {CSR_JSON}")
    except (ValueError, KeyError, TypeError) as error:
        raise BundleError(f"{bundle.path} describes its build wrongly: {error}") from error


def build_of_files(fingerprint: int, csr_json: Path | None, soc_json: Path | None) -> Build:
    """Of a simulator's files, where it names some."""
    registers, description = (path.read_bytes() if path else None for path in (csr_json, soc_json))
    return _build(fingerprint, registers, description, str(csr_json))


def _build(fingerprint: int, csr_json: bytes | None, soc_json: bytes | None, source: str) -> Build:
    named = read_map(csr_json, source).registers if csr_json else {}
    description: dict[str, Any] = json.loads(soc_json) if soc_json else {}
    dram = description.get("dram", {})
    known = all(name in dram for name in ("data_bits", "banks", "row_bytes"))
    return Build(
        fingerprint=fingerprint,
        clock_hz=description.get("clock_hz"),
        registers={name: register.address for name, register in named.items()},
        registers_hash=hashlib.sha256(csr_json).hexdigest()[:16] if csr_json else None,
        geometry=Geometry(dram["data_bits"], dram["banks"], dram["row_bytes"]) if known else None,
    )
