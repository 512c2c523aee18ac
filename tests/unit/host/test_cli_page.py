"""docs/cli.md says what the command line does."""

import re
from typing import Any

import pytest
import typer

from jalhost import errors
from jalhost.cli.main import INTERNAL_ERROR, app
from jalhost.engine import records
from jalhost.engine.summary import FinishReason, StreamSummary, Summary
from jalhost.engine.target import Provenance, TargetInfo
from jaltest.models import REPOSITORY

PAGE = (REPOSITORY / "docs" / "cli.md").read_text(encoding="utf-8")


def test_every_exit_code_is_listed() -> None:
    listed = {int(code) for code in re.findall(r"^\| (\d+) \|", PAGE, flags=re.MULTILINE)}
    named = [item for item in vars(errors).values() if isinstance(item, type)]
    families = [item for item in named if issubclass(item, errors.JalError)]
    classes = [item for item in families if "exit_code" in vars(item)]  # not special cases of them
    classes.remove(errors.JalError)
    assert len(classes) == len({item.exit_code for item in classes})
    assert listed == {0, INTERNAL_ERROR, errors.INTERRUPTED, *(item.exit_code for item in classes)}


@pytest.mark.parametrize(
    "name",
    [
        "generate",
        "chat",
        "bench",
        "verify",
        "soak",
        "model convert",
        "model info",
        "model eval",
        "model list",
        "model pull",
        "model rm",
        "model fit",
        "build",
        "flash",
        "power",
        "bringup",
    ],
)
def test_every_option_is_listed(name: str) -> None:
    usage = PAGE.partition(f"```\njalhost {name}")[2].partition("```")[0]
    listed = set(re.findall(r"--[\w-]+", usage))
    command: Any = typer.main.get_command(app)
    for part in name.split():
        command = command.commands[part]
    names = [option for item in command.params for option in (*item.opts, *item.secondary_opts)]
    options = {option for option in names if option.startswith("--")}
    assert listed == options


def test_every_option_of_bundles_is_listed() -> None:
    usage = PAGE.partition("## jalhost bundle")[2].partition("```\n")[2].partition("```")[0]
    group: Any = typer.main.get_command(app)
    lines = dict(line.removeprefix("jalhost bundle ").split(" ", 1) for line in usage.splitlines())
    for name, command in group.commands["bundle"].commands.items():
        names = {option for item in command.params for option in item.opts}
        options = {option for option in names if option.startswith("--")}
        assert set(re.findall(r"--[\w-]+", lines.pop(name))) == options
    assert not lines


def test_every_option_of_debugging_is_listed() -> None:
    section = PAGE.partition("## jalhost csr, mem, console")[2].partition("```\n")[2]
    usage = section.partition("```")[0].replace("\n   ", " ")
    lines = [line.removeprefix("jalhost ").split() for line in usage.splitlines()]
    listed = {
        " ".join(word for word in line[:2] if word.isalpha() and word.islower()): line
        for line in lines
    }
    group: Any = typer.main.get_command(app)
    commands: dict[str, Any] = {}
    for name in ("csr", "mem", "console", "capture", "report", "labgrid"):
        command = group.commands[name]
        subcommands = getattr(command, "commands", {})
        commands |= {f"{name} {key}": item for key, item in subcommands.items()}
        commands |= {} if subcommands else {name: command}
    assert set(listed) == set(commands)
    for name, command in commands.items():
        options = {option for item in command.params for option in item.opts}
        found = set(re.findall(r"--[\w-]+", " ".join(listed[name])))
        assert found == {option for option in options if option.startswith("--")}, name


def test_every_key_of_debugging_is_described() -> None:
    page = (REPOSITORY / "docs" / "debug.md").read_text(encoding="utf-8")
    kinds = [
        item
        for item in vars(records).values()
        if isinstance(item, type) and issubclass(item, records.Record)
    ]
    for kind in kinds:
        assert kind.model_json_schema()["additionalProperties"] is False or not kind.model_fields
        for field in kind.model_fields:
            assert f"`{field}`" in page, (kind, field)


def test_every_key_of_json_is_listed() -> None:
    section = PAGE.partition("### Figures")[2].partition("## jalhost bench")[0]
    cells = re.findall(r"^\| (`.*?`) \|", section, flags=re.MULTILINE)
    listed = {name for cell in cells for name in re.findall(r"`(\w+)`", cell)}
    info = TargetInfo("emu", Provenance.EMULATED)
    stream = StreamSummary("", 0, "", [], [], FinishReason.STOP, None)
    one, two = (
        Summary((stream,) * number, None, None, None, None, None, None, info).as_dict()
        for number in (1, 2)
    )
    assert set(one) <= set(two) | set(two["streams"][0])
    assert listed == set(two) | set(two["streams"][0])
