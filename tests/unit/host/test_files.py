"""Files that are written complete or not at all."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from jalhost.errors import UsageError
from jalhost.files import atomic_path, write_text

KILLED = """
import os, signal, sys
from pathlib import Path
from jalhost.files import atomic_path
with atomic_path(Path(sys.argv[1])) as path:
    path.write_text("half")
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture(params=["nameless", "named"])
def folder(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder in which files are written in one of both ways."""
    if request.param == "named":
        monkeypatch.setattr(os, "O_TMPFILE", 0)
    return tmp_path


def test_the_whole_file_takes_its_place(folder: Path) -> None:
    for text in ("first", "second"):
        write_text(folder / "x", text)
        assert [item.name for item in folder.iterdir()] == ["x"]
        assert (folder / "x").read_text() == text
    mask = os.umask(0)
    os.umask(mask)
    assert (folder / "x").stat().st_mode & 0o777 == 0o666 & ~mask


def _end_early(path: Path, error: type[BaseException]) -> None:
    with atomic_path(path) as temporary:
        temporary.write_text("half")
        raise error


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError, OSError])
def test_nothing_is_left_of_what_ended_early(folder: Path, error: type[BaseException]) -> None:
    (folder / "x").write_text("before")
    with pytest.raises(UsageError if error is OSError else error):
        _end_early(folder / "x", error)
    assert [item.name for item in folder.iterdir()] == ["x"]
    assert (folder / "x").read_text() == "before"


def test_a_name_that_is_taken_leaves_nothing(folder: Path) -> None:
    (folder / "x").mkdir()
    with pytest.raises(UsageError, match=r"cannot write .*x: "):
        write_text(folder / "x", "text")
    assert [item.name for item in folder.iterdir()] == ["x"]
    with pytest.raises(UsageError, match="No such file or directory"):
        write_text(folder / "none" / "x", "text")


@pytest.mark.skipif(not hasattr(os, "O_TMPFILE"), reason="the system has no files without a name")
def test_nothing_is_left_of_a_killed_process(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path / "x")], check=False)
    assert done.returncode == -signal.SIGKILL
    assert list(tmp_path.iterdir()) == []
