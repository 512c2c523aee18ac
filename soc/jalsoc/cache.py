"""Build results by content: each is made once, completely or not at all.

A result is a folder ``<cache>/<stage>/<key>``. It is built in a temporary folder beside it and
renamed when it is complete; a lock keeps two processes from building the same one.
"""

import fcntl
import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path

from jalhost.errors import EnvironmentProblem

ENVIRONMENT = "JALHOST_CACHE"
"""Overrides where the cache is."""

KEPT = 8
"""Results kept per stage; older ones that no process uses go when a new one comes."""

_TEMPORARY = ".building-"


def cache_root() -> Path:
    """The cache's folder.

    Raises:
        EnvironmentProblem: it cannot be created.
    """
    from platformdirs import user_cache_path

    configured = os.environ.get(ENVIRONMENT)
    root = Path(configured).absolute() if configured else user_cache_path("jalhost")
    try:
        root.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise EnvironmentProblem(
            f"cannot create the cache {root}: {error.strerror}",
            f"set {ENVIRONMENT} to a folder that can be written to",
        ) from error
    return root


def cached(stage: str, key: str, make: Callable[[Path], None]) -> tuple[Path, bool]:
    """The result's folder, and whether it was there before; ``make`` fills an empty folder.

    Raises:
        EnvironmentProblem: the cache cannot be written to.
        Exception: whatever ``make`` raises; nothing is kept then.
    """
    folder = cache_root() / stage
    result = folder / key
    if _held(result):
        return _touched(result), True
    try:
        folder.mkdir(exist_ok=True)
        with _locked(folder / f"{key}.lock"):
            if _held(result):
                return _touched(result), True
            with _temporary_folder(folder) as temporary:
                make(temporary)
                temporary.rename(result)
            _held(result)
        _remove_old(folder)
    except PermissionError as error:
        raise EnvironmentProblem(
            f"cannot write to the cache {folder}: {error.strerror}",
            f"set {ENVIRONMENT} to a folder that can be written to",
        ) from error
    return result, False


_HELD: dict[Path, int] = {}
"""Folders that this process uses, and where they are open: nobody removes them until it ends."""


def _held(result: Path) -> bool:
    """Whether a result is there; it then stays as long as this process lives."""
    if result in _HELD:
        if result.is_dir():
            return True
        os.close(_HELD.pop(result))
    try:
        descriptor = os.open(result, os.O_RDONLY | os.O_DIRECTORY)
    except FileNotFoundError:
        return False
    fcntl.flock(descriptor, fcntl.LOCK_SH)
    if not result.is_dir():  # somebody was about to remove it
        os.close(descriptor)
        return False
    _HELD[result] = descriptor
    return True


def _touched(result: Path) -> Path:
    """Marks a result as used."""
    try:
        os.utime(result)
    except OSError:
        return result  # a cache that cannot be written to still serves
    return result


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Holds a lock; a process that dies gives it back."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@contextmanager
def _temporary_folder(folder: Path) -> Iterator[Path]:
    """A new folder named after this process; removed unless it has been renamed."""
    _remove_abandoned(folder)
    temporary = Path(tempfile.mkdtemp(prefix=f"{_TEMPORARY}{os.getpid()}-", dir=folder))
    temporary.chmod(0o755)
    try:
        yield temporary
    finally:
        if temporary.is_dir():
            shutil.rmtree(temporary, ignore_errors=True)


def _remove_abandoned(folder: Path) -> None:
    """Removes temporary folders of processes that were killed."""
    for path in folder.glob(f"{_TEMPORARY}*"):
        owner = path.name.removeprefix(_TEMPORARY).split("-")[0]
        if not Path(f"/proc/{owner}").exists():
            shutil.rmtree(path, ignore_errors=True)


def _remove_old(folder: Path) -> None:
    """Removes the results that have not been used for longest."""
    results = [path for path in folder.iterdir() if path.is_dir() and path.name[0] != "."]
    for path in sorted(results, key=_used, reverse=True)[KEPT:]:
        _remove_unused(path)


def _remove_unused(result: Path) -> None:
    """Removes a result, unless a process uses it."""
    try:
        descriptor = os.open(result, os.O_RDONLY | os.O_DIRECTORY)
    except FileNotFoundError:
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return
    else:
        shutil.rmtree(result, ignore_errors=True)
        result.with_name(f"{result.name}.lock").unlink(missing_ok=True)
    finally:
        os.close(descriptor)


def _used(path: Path) -> float:
    """When a result was used last; long ago if another process has just removed it."""
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0


def digest(*parts: str) -> str:
    """A key from any texts."""
    total = hashlib.sha256()
    for part in parts:
        total.update(f"{len(part)}:{part}".encode())
    return total.hexdigest()[:32]


def digest_files(paths: Iterable[Path]) -> str:
    """A key from files' names and contents; independent of the order and of where they lie."""
    entries = sorted(
        f"{path.name} {hashlib.sha256(path.read_bytes()).hexdigest()}" for path in paths
    )
    return digest(*entries)


def program_identity(name: str) -> str:
    """Tells versions of an installed program apart without running it.

    Raises:
        EnvironmentProblem: it is not installed.
    """
    found = shutil.which(name)
    if found is None:
        raise EnvironmentProblem(f"{name} is not installed", f"apt-get install {debian(name)}")
    path = Path(found).resolve()
    stat = path.stat()
    return f"{path} {stat.st_size} {stat.st_mtime_ns}"


def debian(program: str) -> str:
    """The Debian package that brings a program."""
    return {"riscv64-unknown-elf-gcc": "gcc-riscv64-unknown-elf"}.get(program, program)


def require_headers(what: str, packages: Mapping[str, str]) -> None:
    """Checks that the C++ compiler finds the headers that something is compiled with.

    Args:
        what: for the message.
        packages: the Debian package of each header.

    Raises:
        EnvironmentProblem: it does not; the hint names the packages that are missing.
    """
    compiler = ["g++", "-E", "-x", "c++", os.devnull, "-include"]
    missing = [
        package
        for header, package in packages.items()
        if subprocess.run([*compiler, header], capture_output=True, check=False).returncode
    ]
    if missing:
        raise EnvironmentProblem(
            f"{what} cannot be compiled", f"sudo apt-get install -y {' '.join(missing)}"
        )


def distribution_versions(*names: str, extras: str = "sim") -> str:
    """Versions of installed Python distributions; ``extras`` of jalhost bring them.

    Raises:
        EnvironmentProblem: one is not installed.
    """
    try:
        return " ".join(f"{name}={version(name)}" for name in names)
    except ModuleNotFoundError as error:
        raise EnvironmentProblem(
            f"the Python package {error.name} is not installed", f"pip install 'jalhost[{extras}]'"
        ) from error
