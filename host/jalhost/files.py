"""Reading text files, and writing files so that nobody ever meets a half-written one."""

import os
import secrets
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from jalhost.errors import UsageError

_HANDLES = Path("/proc/self/fd")
"""Linux's paths of a process's open files."""


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
def atomic_path(path: Path, nameless: bool = False) -> Iterator[Path]:
    """Yields a path whose file takes the place of ``path`` when the block succeeds.

    Whatever ends the block early leaves ``path`` as it was and nothing beside it; with
    ``nameless``, where the system has files without a name (Linux's O_TMPFILE), even when the
    process is killed. The path is then one of this process alone, and tells nothing of ``path``.

    Raises:
        UsageError: the folder is missing or cannot be written to.
    """
    try:
        with (nameless and _nameless(path)) or _named(path) as (temporary, give_name):
            yield temporary
            temporary.chmod(0o666 & ~_umask())
            give_name()
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror or error}") from error


Temporary = tuple[Path, Callable[[], object]]
"""A temporary file, and what puts it into its place."""


def _nameless(path: Path) -> AbstractContextManager[Temporary] | None:
    """A file that is gone with its last handle; None where there are none.

    open(2) has the flag, and how such a file gets a name: through /proc.
    """
    flag = getattr(os, "O_TMPFILE", 0)
    if not flag or not _HANDLES.is_dir():
        return None
    try:
        handle = os.open(path.parent, flag | os.O_RDWR | os.O_CLOEXEC, 0o600)
    except OSError:  # not all file systems can; what else is wrong, the other way meets as well
        return None
    return _kept_open(handle, path)


@contextmanager
def _kept_open(handle: int, path: Path) -> Iterator[Temporary]:
    temporary = _HANDLES / str(handle)

    def give_name() -> None:
        # No system call replaces a name by a file that has none.
        name = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
        # The path is absolute, so any handle will do; with one, Python follows symbolic links.
        try:
            os.link(temporary, name, src_dir_fd=handle, follow_symlinks=True)
            name.replace(path)
        except BaseException:
            name.unlink(missing_ok=True)
            raise

    try:
        yield temporary, give_name
    finally:
        os.close(handle)


@contextmanager
def _named(path: Path) -> Iterator[Temporary]:
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary, lambda: temporary.replace(path)
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
