"""LitePCIe's Linux driver for a build: its sources with the headers that belong to the build."""

import shutil
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from jalsoc.export import without_date

PARTS = ("kernel", "user")
"""Folders of LitePCIe's ``software``: the module, and programs that use it."""


def sources() -> Path:
    """Where LitePCIe keeps them.

    Its own generator is left alone: it needs ``distutils``, which Python 3.12 has no longer.
    """
    spec = find_spec("litepcie")
    assert spec
    assert spec.origin
    return Path(spec.origin).parent / "software"


def write_driver(soc: Any, folder: Path) -> None:
    """Writes the sources for a finalised system with PCIe; ``make`` in ``kernel`` builds them."""
    from litex.soc.integration import export

    for part in PARTS:
        shutil.copytree(
            sources() / part, folder / part, ignore=shutil.ignore_patterns("__pycache__")
        )
    headers = {
        "csr.h": export.get_csr_header(soc.csr_regions, soc.constants, with_access_functions=False),
        "soc.h": export.get_soc_header(soc.constants, with_access_functions=False),
        "mem.h": export.get_mem_header(soc.mem_regions),
    }
    for name, text in headers.items():
        (folder / "kernel" / name).write_text(without_date(text), encoding="utf-8")
