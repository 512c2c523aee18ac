"""The command line in this process."""

import sys
from dataclasses import dataclass

import pytest

from jalhost.cli.main import main


@dataclass(frozen=True)
class Run:
    """How a command ended."""

    returncode: int
    stdout: str
    stderr: str


@dataclass(frozen=True)
class Command:
    """Runs ``jalhost`` with arguments; what it prints is captured."""

    monkeypatch: pytest.MonkeyPatch
    capture: pytest.CaptureFixture[str]

    def __call__(self, *arguments: str) -> Run:
        self.monkeypatch.setattr(sys, "argv", ["jalhost", *arguments])
        with pytest.raises(SystemExit) as end:
            main()
        out, err = self.capture.readouterr()
        assert isinstance(end.value.code, int | None)
        return Run(end.value.code or 0, out, err)

    def fails(self, code: int, *arguments: str) -> str:
        """The one line of an error with this exit code."""
        run = self(*arguments)
        errors = [line for line in run.stderr.splitlines() if line.startswith("jalhost: error: ")]
        assert run.returncode == code, run
        assert len(errors) == 1, run
        assert "Traceback" not in run.stderr
        return errors[0]
