"""The build cache: complete results or none, whoever interrupts."""

import multiprocessing
import os
import shutil
import signal
import time
from pathlib import Path

import pytest

from jalhost.errors import EnvironmentProblem
from jalsoc import cache


@pytest.fixture(autouse=True)
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(cache.ENVIRONMENT, str(tmp_path / "cache"))
    return tmp_path / "cache"


def write_result(folder: Path) -> None:
    (folder / "result").write_text("done")


def test_a_result_is_made_once() -> None:
    made: list[Path] = []

    def make(folder: Path) -> None:
        made.append(folder)
        write_result(folder)

    first, was_cached = cache.cached("stage", "key", make)
    assert not was_cached
    assert cache.cached("stage", "key", make) == (first, True)
    assert len(made) == 1
    assert (first / "result").read_text() == "done"
    assert cache.cached("stage", "other", make)[1] is False


def test_a_failure_leaves_nothing_behind(root: Path) -> None:
    def fail(folder: Path) -> None:
        write_result(folder)
        raise RuntimeError("compiler")

    with pytest.raises(RuntimeError, match="compiler"):
        cache.cached("stage", "key", fail)
    assert [path.name for path in (root / "stage").iterdir()] == ["key.lock"]
    assert cache.cached("stage", "key", write_result)[1] is False


def build_slowly(folder: Path) -> None:
    (folder / "half").write_text("")
    time.sleep(0.3)
    write_result(folder)


def compete(number: int) -> bool:
    return cache.cached("stage", "key", build_slowly)[1]


def test_two_processes_build_one_result() -> None:
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        results = pool.map(compete, range(2), chunksize=1)
    assert sorted(results) == [False, True]


def hang(folder: Path) -> None:
    (folder / "half").write_text("")
    time.sleep(60)


def build_forever() -> None:
    cache.cached("stage", "key", hang)


def test_a_killed_build_is_swept_up(root: Path) -> None:
    process = multiprocessing.get_context("spawn").Process(target=build_forever)
    process.start()
    deadline = time.monotonic() + 30
    while not list(root.glob("stage/*/half")) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert process.pid
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    assert list(root.glob("stage/*/half"))
    folder, was_cached = cache.cached("stage", "key", write_result)
    assert not was_cached
    assert [path.name for path in root.glob("stage/*/*")] == ["result"]
    assert folder.name == "key"


def fill() -> None:
    """As many results as are kept, the first ones used longest ago."""
    for number in range(cache.KEPT):
        folder, _ = cache.cached("stage", str(number), write_result)
        os.utime(folder, (number, number))


def names(root: Path) -> set[str]:
    return {path.name for path in (root / "stage").iterdir() if path.is_dir()}


def test_the_least_used_results_go(root: Path) -> None:
    process = multiprocessing.get_context("spawn").Process(target=fill)
    process.start()
    process.join()
    assert len(names(root)) == cache.KEPT
    os.utime(root / "stage" / "0")
    cache.cached("stage", "new", write_result)
    assert names(root) == {"new", "0", *(str(number) for number in range(2, cache.KEPT))}
    assert not (root / "stage" / "1.lock").exists()


def test_results_in_use_stay(root: Path) -> None:
    """However long their user takes, and whatever others build meanwhile."""
    used, _ = cache.cached("stage", "used", write_result)
    os.utime(used, (0, 0))
    fill()
    assert (used / "result").is_file()
    shutil.rmtree(used)  # but nobody is kept from removing the cache
    assert cache.cached("stage", "used", write_result) == (used, False)


def test_a_folder_that_cannot_be_written_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv(cache.ENVIRONMENT, str(tmp_path / "file" / "cache"))
    with pytest.raises(EnvironmentProblem, match=r"cannot create the cache .*file/cache"):
        cache.cached("stage", "key", write_result)


def test_keys_depend_on_everything(tmp_path: Path) -> None:
    assert cache.digest("ab", "c") != cache.digest("a", "bc")
    one, two = tmp_path / "one", tmp_path / "two"
    one.write_text("1")
    two.write_text("2")
    key = cache.digest_files([one, two])
    assert cache.digest_files([two, one]) == key
    two.write_text("3")
    assert cache.digest_files([one, two]) != key


def test_missing_headers_come_with_a_command() -> None:
    cache.require_headers("it", {"stdlib.h": "libc6-dev"})
    with pytest.raises(EnvironmentProblem, match=r"it cannot .*apt-get install -y no-such-dev"):
        cache.require_headers("it", {"stdlib.h": "libc6-dev", "no_such.h": "no-such-dev"})


def test_missing_programs_come_with_a_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(EnvironmentProblem, match="apt-get install gcc-riscv64-unknown-elf"):
        cache.program_identity("riscv64-unknown-elf-gcc")
    with pytest.raises(EnvironmentProblem, match=r"jalhost\[sim\]"):
        cache.distribution_versions("pip", "no-such-distribution")
