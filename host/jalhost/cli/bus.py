"""``jalhost csr`` and ``jalhost console``: registers by name, and the firmware's console."""

import select
import sys
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from jalhost.cli.options import (
    Debug,
    GatewareText,
    Json,
    TargetName,
    default_target,
    say,
    show_help_alone,
)
from jalhost.errors import UsageError

if TYPE_CHECKING:
    from jalhost.engine.access import Access
    from jalhost.engine.console import Console
    from jalhost.engine.records import Record, RegisterRecord
    from jalhost.register_map import Register

LOOK_S = 0.05
"""Between two looks at a console that a person talks to."""

BundleFile = Annotated[
    Path | None,
    typer.Option("--bundle", help="Bundle of the board's build, which names its registers."),
]


csr = typer.Typer(
    help="Read, write and list registers by name.",
    rich_markup_mode=None,
    invoke_without_command=True,
    callback=show_help_alone,
)


def open_bus(
    target: str | None, bundle: Path | None, gateware: str | None
) -> "AbstractContextManager[Access]":
    """The bus of a target that an option names, or of the default one."""
    from jalhost.engine.access import open_access

    return open_access(target or default_target(), say, bundle, gateware)


def show(record: "Record", lines: list[str], as_json: bool) -> None:
    """Prints a result: as JSON, or for people."""
    print(record.model_dump_json(indent=2) if as_json else "\n".join(lines))


@csr.command("list")
def csr_list(
    text: Annotated[str, typer.Argument(help="Only names with this in them.")] = "",
    target: TargetName = None,
    bundle: BundleFile = None,
    gateware: GatewareText = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """List registers; with --bundle no device is needed. For example: jalhost csr list engine."""
    from jalhost.engine.access import bundle_maps
    from jalhost.engine.records import CsrRecord

    if bundle and target is None:
        name, registers = str(bundle), bundle_maps(bundle).registers.matching(text)
    else:
        with open_bus(target, bundle, gateware) as access:
            name, registers = access.name, access.named.matching(text)
    if not registers:
        raise UsageError(f"no register's name has {text!r} in it", "leave it out to see all")
    record = CsrRecord(target=name, registers=[_register(item) for item in registers])
    lines = [f"{item.address:#010x}  {_access(item)}  {item.name}" for item in registers]
    show(record, lines, as_json)


@csr.command("read")
def csr_read(
    names: Annotated[list[str], typer.Argument(help="Names of registers.")],
    target: TargetName = None,
    bundle: BundleFile = None,
    gateware: GatewareText = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Read registers. For example: jalhost csr read engine_status ctrl_bus_errors."""
    from jalhost.engine.records import CsrRecord

    with open_bus(target, bundle, gateware) as access:
        registers = [access.named.find(name) for name in names]
        values = [access.read_register(register) for register in registers]
        name = access.name
    pairs = list(zip(registers, values, strict=True))
    record = CsrRecord(target=name, registers=[_register(item, value) for item, value in pairs])
    lines = [f"{item.name} = {value:#0{2 + item.bits // 4}x} ({value})" for item, value in pairs]
    show(record, lines, as_json)


@csr.command("write")
def csr_write(
    name: Annotated[str, typer.Argument(help="Name of a register.")],
    value: Annotated[str, typer.Argument(help="Decimal, or with 0x or 0b.")],
    target: TargetName = None,
    bundle: BundleFile = None,
    gateware: GatewareText = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Write a register. For example: jalhost csr write ctrl_scratch 0x1234."""
    from jalhost.engine.records import CsrRecord
    from jalhost.register_map import parse_number

    number = parse_number(value)
    with open_bus(target, bundle, gateware) as access:
        register = access.named.find(name)
        access.write_register(register, number)
        # Whatever was written has arrived when something behind it has been read.
        access.read_register(access.named.find("ctrl_scratch"))
        where = access.name
    record = CsrRecord(target=where, registers=[_register(register, number)])
    show(record, [f"{register.name} <- {number:#x}"], as_json)


def _register(item: "Register", value: int | None = None) -> "RegisterRecord":
    from jalhost.engine.records import RegisterRecord

    return RegisterRecord(
        name=item.name,
        address=item.address,
        words=item.words,
        access="rw" if item.writable else "ro",
        value=value,
    )


def _access(item: "Register") -> str:
    return "rw" if item.writable else "ro"


def console(
    command: Annotated[
        list[str] | None,
        typer.Option("--command", "-c", help="Run this and end; may be given several times."),
    ] = None,
    target: TargetName = None,
    bundle: BundleFile = None,
    gateware: GatewareText = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Talk to the firmware. For example: jalhost console --command ident --target sim."""
    from jalhost.engine.console import Console
    from jalhost.engine.records import AnswerRecord, ConsoleRecord

    if as_json and not command:
        raise UsageError("--json is for --command", "name a command, for example --command ident")
    with open_bus(target, bundle, gateware) as access:
        terminal = Console(access)
        if not command:
            _talk(terminal)
            return
        answers = []
        for line in command:
            answers.append(AnswerRecord(command=line, lines=terminal.ask(line)))
            if not as_json:
                print("\n".join(answers[-1].lines), flush=True)
        record = ConsoleRecord(target=access.name, answers=answers)
    if as_json:
        print(record.model_dump_json(indent=2))


def _talk(terminal: "Console") -> None:
    """Passes lines on as a person types them, or a file's, each with its answer."""
    if not sys.stdin.isatty():
        for line in sys.stdin:
            print("\n".join(terminal.ask(line.rstrip("\n"))), flush=True)
        return
    say("the firmware's console; help lists its commands, Ctrl-D ends")
    while True:
        print(terminal.read(), end="", flush=True)
        if select.select([sys.stdin], [], [], LOOK_S)[0]:
            line = sys.stdin.readline()
            if not line:
                return
            terminal.type(line)
