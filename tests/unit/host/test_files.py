"""Files that are written complete or not at all."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from jalhost.errors import UsageError
from jalhost.files import atomic_path, write_text

KILLED = """
import os, signal, sys
from pathlib import Path
from jalhost.files import atomic_path
with atomic_path(Path(sys.argv[1]), nameless=True) as path:
    path.write_text("half")
    os.kill(os.getpid(), signal.SIGKILL)
"""


Write = Callable[[Path, str], None]


def write_nameless(path: Path, text: str) -> None:
    with atomic_path(path, nameless=True) as temporary:
        temporary.write_text(text, encoding="utf-8")


@pytest.fixture(params=["named", "nameless", "without"])
def write(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Write:
    """Each way to write a file; the last one where the system has no files without a name."""
    if request.param == "without":
        monkeypatch.setattr(os, "O_TMPFILE", 0)
    return write_text if request.param == "named" else write_nameless


def test_the_whole_file_takes_its_place(tmp_path: Path, write: Write) -> None:
    for text in ("first", "second"):
        write(tmp_path / "x", text)
        assert [item.name for item in tmp_path.iterdir()] == ["x"]
        assert (tmp_path / "x").read_text() == text
    mask = os.umask(0)
    os.umask(mask)
    assert (tmp_path / "x").stat().st_mode & 0o777 == 0o666 & ~mask


def _end_early(path: Path, nameless: bool, error: type[BaseException]) -> None:
    with atomic_path(path, nameless) as temporary:
        temporary.write_text("half")
        raise error


@pytest.mark.parametrize("nameless", [False, True])
@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError, OSError])
def test_nothing_is_left_of_what_ended_early(
    tmp_path: Path, nameless: bool, error: type[BaseException]
) -> None:
    (tmp_path / "x").write_text("before")
    with pytest.raises(UsageError if error is OSError else error):
        _end_early(tmp_path / "x", nameless, error)
    assert [item.name for item in tmp_path.iterdir()] == ["x"]
    assert (tmp_path / "x").read_text() == "before"


def test_a_name_that_is_taken_leaves_nothing(tmp_path: Path, write: Write) -> None:
    (tmp_path / "x").mkdir()
    with pytest.raises(UsageError, match=r"cannot write .*x: "):
        write(tmp_path / "x", "text")
    assert [item.name for item in tmp_path.iterdir()] == ["x"]
    with pytest.raises(UsageError, match="No such file or directory"):
        write(tmp_path / "none" / "x", "text")


@pytest.mark.skipif(not hasattr(os, "O_TMPFILE"), reason="the system has no files without a name")
def test_nothing_is_left_of_a_killed_process(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path / "x")], check=False)
    assert done.returncode == -signal.SIGKILL
    assert list(tmp_path.iterdir()) == []
