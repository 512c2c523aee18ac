"""The Makefile explains itself."""

import re
import subprocess

from jaltest.models import REPOSITORY


def test_help_lists_every_target() -> None:
    makefile = (REPOSITORY / "Makefile").read_text(encoding="utf-8")
    targets = re.findall(r"^([a-z][\w-]*):", makefile, flags=re.MULTILINE)
    phony = re.findall(r"^\.PHONY: (.*)$", makefile, flags=re.MULTILINE)
    assert sorted(targets) == sorted(" ".join(phony).split())

    # Without a target: `make` alone is help, and needs no set-up.
    run = subprocess.run(["make"], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    documented = re.findall(r"^  make ([\w-]+) +\S", run.stdout, flags=re.MULTILINE)
    assert sorted(documented) == sorted(targets)
