"""``jalhost bundle``: what is in a bundle, whether it is whole, and getting files out of it."""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from jalhost.cli.options import OPEN_NETWORK, Debug, Json, say, show_help_alone

if TYPE_CHECKING:
    from rich.table import Table

    from jalhost.bundle import Bundle

app = typer.Typer(
    help="Look into bundles: a built bitstream and all that belongs to it.",
    rich_markup_mode=None,
    invoke_without_command=True,
    callback=show_help_alone,
)

BundleFile = Annotated[Path, typer.Argument(metavar="BUNDLE", help="A .jalb file.")]


@app.command()
def info(bundle: BundleFile, as_json: Json = False, debug: Debug = False) -> None:
    """Check a bundle and show what is in it."""
    from jalhost.bundle import open_bundle

    opened = open_bundle(bundle)
    if as_json:
        print(json.dumps(_facts(opened), indent=2))
        return
    from rich.console import Console

    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = max(console.width, 100)
    for table in _tables(opened):
        console.print(table)


@app.command()
def verify(bundle: BundleFile, debug: Debug = False) -> None:
    """Check every byte of a bundle."""
    from jalhost.bundle import open_bundle

    opened = open_bundle(bundle)
    print(f"{bundle}: whole, {len(opened.members)} members, SHA-256 {opened.sha256}")


@app.command()
def extract(
    bundle: BundleFile,
    name: Annotated[str, typer.Argument(help="The member, for example csr.csv, or a folder.")],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Where to write it.", show_default="standard output"),
    ] = None,
    debug: Debug = False,
) -> None:
    """Get a file out of a bundle, or a folder with all that is in it."""
    from jalhost.bundle import open_bundle
    from jalhost.files import atomic_path

    opened = open_bundle(bundle)
    if members := opened.folder(name):
        _extract_folder(members, output)
        return
    content = opened.member(name)
    if output is None:
        sys.stdout.buffer.write(content)
        return
    with atomic_path(output) as temporary:
        temporary.write_bytes(content)
    say(f"{output}: {len(content):,} bytes")


def _extract_folder(members: dict[str, bytes], output: Path | None) -> None:
    from jalhost.errors import UsageError

    if output is None:
        raise UsageError("a folder does not go to standard output", "name one by -o")
    try:
        for name, content in members.items():
            path = output / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
    except OSError as error:
        raise UsageError(f"cannot write {error.filename}: {error.strerror}") from error
    say(f"{output}: {len(members)} files")


def _facts(bundle: "Bundle") -> dict[str, Any]:
    return {
        "file": str(bundle.path),
        "sha256": bundle.sha256,
        **bundle.manifest.model_dump(mode="json"),
        "sizes": {name: len(content) for name, content in bundle.members.items()},
    }


def _tables(bundle: "Bundle") -> "list[Table]":
    """What people want to know, in the order in which they do."""
    m = bundle.manifest
    flash = m.flash
    facts = [
        ("bundle", str(bundle.path)),
        ("SHA-256", bundle.sha256),
        ("board", m.board),
        ("part", f"{m.part} (IDCODE {m.idcode})"),
        ("fingerprint", m.fingerprint),
        ("git revision", m.git_revision),
        *([("seed", str(m.seed))] if m.seed is not None else []),
        ("bitstream", m.bitstream or "none: build it with the vendor's tools"),
        ("links", ", ".join(m.links)),
        *([("Ethernet", f"{m.ethernet} {OPEN_NETWORK}")] if m.ethernet else []),
        ("openFPGALoader", f"board {flash.openfpgaloader_board}, cable {flash.cable or 'its own'}"),
        ("cable on USB", ", ".join(flash.usb)),
        ("engine", ", ".join(f"{name}={value}" for name, value in m.engine.items())),
    ]
    clocks = [
        (name, _mhz(clock.achieved_mhz), _mhz(clock.constraint_mhz))
        for name, clock in m.clocks.items()
    ]
    used = [
        (name, f"{item.used:,}", *_share(item.used, item.available))
        for name, item in m.utilisation.items()
    ]
    members = [(name, f"{len(bundle.members[name]):,}", digest) for name, digest in m.files.items()]
    return [
        _table(["", ""], facts),
        _table(["clock", "achieved MHz", "asked for MHz"], clocks, numbers=2),
        _table(["resource", "used", "available", "%"], used, numbers=3),
        _table(["tool", "version"], list(m.tools.items())),
        _table(["member", "bytes", "SHA-256"], members, numbers=1),
    ]


def _mhz(value: float | None) -> str:
    return "not placed" if value is None else f"{value:.2f}"


def _share(used: int, available: int | None) -> tuple[str, str]:
    """What is available, and the part of it that is used."""
    if available is None:
        return "unknown", ""
    return f"{available:,}", f"{used / available:.1%}" if available else ""


def _table(head: list[str], rows: list[Any], numbers: int = 0) -> "Table":
    """A table whose columns from the second on are so many numbers."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, show_header=any(head), pad_edge=False)
    for i, name in enumerate(head):
        number = 1 <= i <= numbers
        table.add_column(name, justify="right" if number else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    return table
