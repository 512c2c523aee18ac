"""Reading text files, and writing files so that nobody ever meets a half-written one."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from jalhost.errors import UsageError


def read_text(path: Path) -> str:
    """A text file's content.

    Raises:
        UsageError: it cannot be read, or is not UTF-8.
    """
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{path} is not UTF-8 text: {error.reason}") from error


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yields a temporary path beside ``path`` that takes its place when the block succeeds.

    Whatever ends the block early, Ctrl-C included, leaves ``path`` as it was and the temporary file
    gone.

    Raises:
        UsageError: the folder is missing or cannot be written to.
    """
    try:
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror}") from error
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        temporary.chmod(0o666 & ~_umask())
        temporary.replace(path)
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror or error}") from error
    finally:
        temporary.unlink(missing_ok=True)


def check_writable(path: Path) -> None:
    """Looks whether a file can be written, before the work that it shall hold the results of.

    Raises:
        UsageError: the folder is missing or cannot be written to.
    """
    if path.is_dir():
        raise UsageError(f"cannot write {path}: it is a folder")
    if not os.access(path.parent, os.W_OK | os.X_OK):
        missing = "its folder does not exist" if not path.parent.is_dir() else "no permission"
        raise UsageError(f"cannot write {path}: {missing}")


def _umask() -> int:
    """The process's umask, which mkstemp does not follow."""
    current = os.umask(0o077)
    os.umask(current)
    return current


def write_text(path: Path, text: str) -> None:
    """Writes a text file, complete or not at all.

    Raises:
        UsageError: it cannot be written.
    """
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
