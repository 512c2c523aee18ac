"""What a start of the command line may load."""

import subprocess
import sys

HEAVY = {"litedram", "litex", "migen", "numpy", "pydantic", "rich", "safetensors", "serial"}
"""Each costs more start-up time than the command line itself; commands load what they use."""


def test_command_line_starts_light() -> None:
    script = "import sys, jalhost.cli.main; print(*sys.modules)"
    run = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    loaded = set(run.stdout.split())
    assert "jalhost.cli.main" in loaded
    assert not loaded & HEAVY
