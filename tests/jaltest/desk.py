"""`jalhost flash` in this process, at a desk with a stand-in for openFPGALoader."""

import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from jalhost.cli.main import main
from jaltest.bundles import bundle
from jaltest.loader import StandIn


@dataclass(frozen=True)
class Run:
    """How a command ended."""

    returncode: int
    stdout: str
    stderr: str


@dataclass
class Desk(StandIn):
    """A stand-in on PATH, and the command line in this process."""

    folder: Path
    monkeypatch: pytest.MonkeyPatch = field(kw_only=True)
    capture: pytest.CaptureFixture[str] = field(kw_only=True)

    def flash(self, folder: Path, *arguments: str, **manifest: Any) -> Run:
        """Runs `jalhost flash` on a bundle with this manifest."""
        return self.run("flash", str(bundle(folder, **manifest)), "--no-wait", *arguments)

    def run(self, *arguments: str) -> Run:
        """Runs `jalhost` with these arguments."""
        self.monkeypatch.setattr(sys, "argv", ["jalhost", *arguments])
        with pytest.raises(SystemExit) as end:
            main()
        out, err = self.capture.readouterr()
        assert isinstance(end.value.code, int | None)
        return Run(end.value.code or 0, out, err)

    @property
    def writes(self) -> list[list[str]]:
        """Arguments of the calls that write."""
        return [call for call in self.calls if "--write-sram" in call or "--write-flash" in call]


def assert_failed(run: Run, code: int, stage: str, *parts: str) -> None:
    """The stage's verdict on stdout, one line of error on stderr."""
    assert run.returncode == code, run
    assert run.stdout.splitlines()[-1] == f"{stage:<7} failed"
    errors = [line for line in run.stderr.splitlines() if not line.endswith(" %")]
    assert len(errors) == 1, run.stderr
    assert errors[0].startswith("jalhost: error: ")
    for part in parts:
        assert part in errors[0]
