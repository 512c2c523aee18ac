"""docs/registers.md describes the gateware as it is."""

import subprocess
import sys

from jaltest.models import REPOSITORY


def test_page_is_up_to_date() -> None:
    # In a process of its own: LiteX configures logging as a whole.
    run = subprocess.run(
        [sys.executable, "-m", "jalsoc.registers_page"], check=True, capture_output=True, text=True
    )
    page = (REPOSITORY / "docs" / "registers.md").read_text(encoding="utf-8")
    assert page == run.stdout, "python -m jalsoc.registers_page > docs/registers.md"
    for register in ("tape_base", "max_dim", "stall_weights_low", "fingerprint"):
        assert register in page
