"""Bundles for tests: small, whole, and of no real build."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from jalgateware.contract.config import STANDARD
from jalhost.bundle import write_bundle
from jalhost.bundle_manifest import FORMAT

FINGERPRINT = "00112233445566ff"

IDCODE = "0x41113043"
"""Of the LFE5U-85F."""


def manifest(**changes: Any) -> dict[str, Any]:
    """A manifest of the ULX3S, but for ``files``."""
    content = {
        "format": FORMAT,
        "board": "ulx3s",
        "part": "LFE5U-85F",
        "idcode": IDCODE,
        "bitstream": "bitstream.bit",
        "fingerprint": FINGERPRINT,
        "git_revision": "0123456789abcdef",
        "tools": {"yosys": "0.70", "nextpnr-ecp5": "0.11"},
        "seed": 1,
        "clocks": {"sys": {"achieved_mhz": 61.5, "constraint_mhz": 50}},
        "utilisation": {"TRELLIS_COMB": {"used": 31234, "available": 83640}},
        "engine": asdict(STANDARD),
        "links": ["uart"],
        "ethernet": None,
        "flash": {"openfpgaloader_board": "ulx3s", "cable": None, "usb": ["0403:6015"]},
    }
    return content | changes


def members(**changes: bytes) -> dict[str, bytes]:
    """What a bundle of :func:`manifest` holds."""
    soc = {"fingerprint": FINGERPRINT}
    return {
        "bitstream.bit": bytes(range(256)) * 2,
        "firmware.bin": b"\x13\x00\x00\x00" * 4,
        "csr.csv": b"csr_base,ctrl,0xf0000000,,\n",
        "soc.json": json.dumps(soc).encode(),
    } | {name.replace("_", "."): content for name, content in changes.items()}


def bundle(folder: Path, **changes: Any) -> Path:
    """Writes a bundle, with changes to its manifest."""
    path = folder / "x.jalb"
    write_bundle(path, manifest(**changes), members())
    return path
