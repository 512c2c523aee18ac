"""docs/registers.md describes the gateware as it is."""

import subprocess
import sys
from pathlib import Path

from jaltest.models import REPOSITORY


def test_page_is_up_to_date(tmp_path: Path) -> None:
    # In a process of its own: LiteX configures logging as a whole.
    path = tmp_path / "registers.md"
    command = [sys.executable, "-m", "jalsoc.registers_page", str(path)]
    subprocess.run(command, check=True, capture_output=True)
    generated = path.read_text(encoding="utf-8")
    page = (REPOSITORY / "docs" / "registers.md").read_text(encoding="utf-8")
    assert page == generated, "python -m jalsoc.registers_page docs/registers.md"
    for register in ("tape_base", "max_dim", "stall_weights_low", "fingerprint"):
        assert register in page
