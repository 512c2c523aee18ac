"""What scripts/setup.sh does on machines that lack something, played with stand-in programs."""

import shutil
import subprocess
from pathlib import Path

import pytest

from jaltest.models import REPOSITORY

BASICS = ["bash", "cat", "dirname", "env", "head", "mkdir", "sha256sum", "tail", "touch"]
DEBIAN_TOOLS = ["verilator", "g++", "make", "riscv64-unknown-elf-gcc"]

PYTHON = """
case "$*" in
  "-m venv"*) mkdir -p .venv/bin; cat "$0" >.venv/bin/python; chmod +x .venv/bin/python ;;
esac
"""
"""A python3 that has the modules asked for, and whose `-m venv` installs itself."""

APT = """
for package in "$@"; do
  case "$package" in
    g++) echo 'exit 0' >"$TOOLS/g++"; chmod +x "$TOOLS/g++" ;;
  esac
done
"""
"""An apt-get whose package g++ holds a g++."""


class Machine:
    """A copy of the set-up, on a machine with just the programs that a test gives it."""

    def __init__(self, folder: Path) -> None:
        self.tools = folder / "tools"
        self.project = folder / "project"
        self.calls = folder / "calls"
        self.libraries = folder / "lib"
        self.tools.mkdir()
        (self.project / "scripts").mkdir(parents=True)
        for name in ("pyproject.toml", "constraints.txt", "scripts/setup.sh"):
            shutil.copy(REPOSITORY / name, self.project / name)
        for name in (*BASICS, "chmod"):
            program = shutil.which(name)
            assert program
            (self.tools / name).symlink_to(program)
        self.add("python3", PYTHON)
        for name in DEBIAN_TOOLS:
            self.add(name)
        self.library = self.libraries / "x86_64-linux-gnu" / "libftdi1.so.2"
        self.library.parent.mkdir(parents=True)
        self.library.touch()

    def add(self, name: str, body: str = "") -> None:
        """Adds a program that notes its call and then runs the body."""
        program = self.tools / name
        program.write_text(f'#!{self.tools}/bash\necho "{name} $*" >>"$CALLS"\n{body}\n')
        program.chmod(0o755)

    def remove(self, name: str) -> None:
        (self.tools / name).unlink()

    def set_up(self) -> subprocess.CompletedProcess[str]:
        self.calls.write_text("")
        return subprocess.run(
            [str(self.project / "scripts" / "setup.sh")],
            env={
                "PATH": str(self.tools),
                "CALLS": str(self.calls),
                "TOOLS": str(self.tools),
                "LIBRARIES": str(self.libraries),
            },
            capture_output=True,
            text=True,
            check=False,
        )

    def called(self, what: str) -> bool:
        return what in self.calls.read_text()


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_installs_python_packages_once(machine: Machine) -> None:
    first = machine.set_up()
    assert first.returncode == 0, first.stderr
    assert machine.called("-m venv")
    assert machine.called("-m pip install")

    second = machine.set_up()
    assert (second.returncode, second.stderr) == (0, "")
    assert not machine.called("python3")


@pytest.mark.parametrize("name", ["pyproject.toml", "constraints.txt", "scripts/setup.sh"])
def test_installs_again_when_requirements_change(machine: Machine, name: str) -> None:
    machine.set_up()
    with (machine.project / name).open("a") as file:
        file.write("# a change\n")
    machine.set_up()
    assert machine.called("-m pip install")


def test_failed_install_is_repeated(machine: Machine) -> None:
    machine.add(
        "python3", PYTHON + 'case "$*" in *"pip install"*) echo "no network"; exit 1 ;; esac'
    )
    run = machine.set_up()
    assert run.returncode == 1
    assert "no network" in run.stderr
    assert "error: pip failed" in run.stderr

    machine.add("python3", PYTHON)
    shutil.rmtree(machine.project / ".venv")
    assert machine.set_up().returncode == 0
    assert machine.called("-m pip install")


def test_without_root_names_the_command_to_run(machine: Machine) -> None:
    machine.remove("verilator")
    machine.remove("g++")
    machine.add("apt-get")
    machine.add("id", "echo 1000")
    run = machine.set_up()
    assert run.returncode == 1
    assert "missing Debian packages: verilator g++" in run.stderr
    assert run.stderr.endswith("sudo apt-get update && sudo apt-get install -y verilator g++\n")
    assert not machine.called("apt-get")
    assert not machine.called("python3 -m venv")


def test_without_apt_names_the_packages(machine: Machine) -> None:
    machine.remove("riscv64-unknown-elf-gcc")
    run = machine.set_up()
    assert run.returncode == 1
    assert "no apt-get; install the equivalents of: gcc-riscv64-unknown-elf" in run.stderr


def test_a_missing_header_is_a_missing_package(machine: Machine) -> None:
    machine.add("g++", "exit 1")
    run = machine.set_up()
    assert run.returncode == 1
    assert "no apt-get; install the equivalents of: zlib1g-dev" in run.stderr


@pytest.mark.parametrize("place", [None, "lib64/libftdi1.so.2", "lib/libftdi1.so.2"])
def test_a_missing_library_is_a_missing_package(machine: Machine, place: str | None) -> None:
    machine.library.unlink()
    if place:
        path = machine.libraries.parent / place
        path.parent.mkdir(exist_ok=True)
        path.touch()
    run = machine.set_up()
    assert run.returncode == (0 if place else 1)
    assert ("install the equivalents of: libftdi1-2" in run.stderr) == (place is None)


@pytest.mark.parametrize("user", ["root", "sudo"])
def test_installs_debian_packages(machine: Machine, user: str) -> None:
    machine.remove("g++")
    machine.add("apt-get", APT)
    machine.add("apt-cache")
    machine.add("id", "echo 0" if user == "root" else "echo 1000")
    if user == "sudo":
        machine.add("sudo", 'shift; "$@"')
    run = machine.set_up()
    assert run.returncode == 0, run.stderr
    assert machine.called("apt-get -q install -y --no-install-recommends g++")
    assert not machine.called("apt-get -q update")
    assert machine.called("-m pip install")


def test_fetches_package_lists_when_there_are_none(machine: Machine) -> None:
    machine.remove("g++")
    machine.add("apt-get", APT)
    machine.add("apt-cache", "exit 100")
    machine.add("id", "echo 0")
    assert machine.set_up().returncode == 0
    assert machine.called("apt-get -q update\napt-get -q install")


def test_old_python_is_asked_to_be_replaced(machine: Machine) -> None:
    machine.add("python3", 'case "$*" in -c*) exit 1 ;; esac')
    machine.add("apt-get")
    machine.add("apt-cache")
    machine.add("id", "echo 0")
    run = machine.set_up()
    assert run.returncode == 1
    assert machine.called("install -y --no-install-recommends python3-venv")
    assert run.stderr.endswith(
        "no Python 3.11 or newer: Debian 12, Ubuntu 24.04 and later have one\n"
    )
