"""Writes the figures of bundles into ``docs/boards.md``: ``python -m jalboards.page BUNDLE...``.

Rows of boards that no bundle is named of stay as they are.
"""

import re
import sys
from collections.abc import Sequence
from pathlib import Path

from jalboards.catalogue import all_boards, find_board
from jalhost.bundle import open_bundle
from jalhost.bundle_manifest import Manifest
from jalhost.errors import JalError, UsageError

PAGE = Path("docs/boards.md")

BEGIN, END = "<!-- figures -->\n", "<!-- end of figures -->\n"

HEADER = (
    "| board | FPGA | lanes x T | clock | reached | LUTs | multipliers | block RAMs |\n"
    "|---|---|---|---|---|---|---|---|\n"
)

COLUMNS = (
    ("TRELLIS_COMB", "LUT4", "LUT"),
    ("MULT18X18D", "MULT18X18", "DSP48E1"),
    ("DP16KD", "BSRAM", "RAMB36"),
)
"""Names of the resources in the last three columns, by maker."""


def row(manifest: Manifest) -> str:
    """A board's line of the table."""
    board = find_board(manifest.board)
    clock = manifest.clocks["sys"]
    reached = f"{clock.achieved_mhz:.1f} MHz" if clock.achieved_mhz else "not placed"
    engine = manifest.engine_config
    cells = [
        board.name,
        board.part,
        f"{engine.lanes} x {engine.tokens}",
        f"{clock.constraint_mhz:g} MHz",
        reached,
        *(_share(manifest, names) for names in COLUMNS),
    ]
    return "| " + " | ".join(cells) + " |\n"


def _share(manifest: Manifest, names: tuple[str, ...]) -> str:
    for name in names:
        found = manifest.utilisation.get(name)
        if found and found.available:
            return f"{found.used:,} ({found.used / found.available:.0%})"
    return "0"


def updated(text: str, rows: dict[str, str]) -> str:
    """The page with these rows in place of what it said of these boards.

    Raises:
        UsageError: it has no table of figures.
    """
    found = re.search(f"{BEGIN}(.*?){END}", text, re.DOTALL)
    if not found:
        raise UsageError(f"{PAGE} has no table of figures", f"put {BEGIN.strip()} where it goes")
    old = {
        line.split(" | ")[0].removeprefix("| "): line + "\n"
        for line in found.group(1).splitlines()[2:]
    }
    merged = old | rows
    table = HEADER + "".join(merged[board.name] for board in all_boards() if board.name in merged)
    return text[: found.start()] + BEGIN + table + END + text[found.end() :]


def main(arguments: Sequence[str]) -> int:
    """Updates the page; returns the process's exit code."""
    try:
        manifests = [open_bundle(Path(name)).manifest for name in arguments]
        text = PAGE.read_text(encoding="utf-8")
        rows = {manifest.board: row(manifest) for manifest in manifests}
        PAGE.write_text(updated(text, rows), encoding="utf-8")
    except JalError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
