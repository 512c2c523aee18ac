"""``jalhost model list``, ``pull``, ``rm``, ``fit``: models that are kept, and where they fit."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from jalhost.cli.options import Debug, GatewareText, Json, MatrixFormat, say
from jalhost.cli.render import table
from jalhost.errors import ModelError, UsageError

if TYPE_CHECKING:
    from jalhost.engine.fit import Fit
    from jalhost.models.plan import Plan


def list_models(as_json: Json = False, debug: Debug = False) -> None:
    """List the models that are kept, and those that can be pulled by name."""
    from jalhost.models.store import KNOWN, store_folder, stored

    models = stored()
    found = {name: sum(item.stat().st_size for item in files) for name, files in models.items()}
    if as_json:
        facts = {"folder": str(store_folder()), "stored": found, "known": list(KNOWN)}
        print(json.dumps(facts, indent=2))
        return
    rows = [
        (name, f"{size:,} bytes" if models[name] else "not complete: pull it again, or remove it")
        for name, size in found.items()
    ]
    rows += [(name, "can be pulled") for name in KNOWN if name not in found]
    print(table(rows))
    say(f"kept in {store_folder()}")


def pull(
    model: Annotated[str, typer.Argument(help="A name that `list` shows, or an https address.")],
    sha256: Annotated[
        str | None, typer.Option("--sha256", help="SHA-256 that the file must have.")
    ] = None,
    name: Annotated[
        str | None, typer.Option(help="Name to keep it by.", show_default="the file's name")
    ] = None,
    debug: Debug = False,
) -> None:
    """Fetch a model, or what is missing of it, and keep it if it is what it should be."""
    from jalhost.models.store import KNOWN, Download
    from jalhost.models.store import pull as fetch

    if "://" not in model:
        if model not in KNOWN:
            raise UsageError(
                f"{model} is no known model", f"known: {', '.join(KNOWN)}; or give an address"
            )
        if sha256 or name:
            raise UsageError(f"{model} is a known model", "leave --sha256 and --name out")
        files = fetch(model, KNOWN[model], say)
        kept = model
    else:
        if sha256 is None:
            raise UsageError("an address needs --sha256", "it says which file is meant")
        item = Download(model, sha256.lower())
        kept = name or item.name
        files = fetch(kept, (item,), say)
    say(f"{', '.join(str(file) for file in files)}: convert with `jalhost model convert {kept}`")


def rm(
    names: Annotated[list[str], typer.Argument(help="Names of models that `list` shows.")],
    debug: Debug = False,
) -> None:
    """Remove models that are kept."""
    from jalhost.models.store import remove

    for name in names:
        say(f"{name}: {remove(name):,} bytes removed")


def fit(
    model: Annotated[
        Path, typer.Argument(help="A .jal image, or a model file or folder to convert.")
    ],
    board: Annotated[str, typer.Option(help="A name that `jalhost boards` shows.")],
    context: Annotated[
        int | None,
        typer.Option(
            min=1, help="Most tokens of a text.", show_default="the model's own, at most 2048"
        ),
    ] = None,
    weights: Annotated[
        MatrixFormat | None,
        typer.Option(help="Format of the matrices, as of `convert`.", show_default="mxint8"),
    ] = None,
    classifier: Annotated[
        MatrixFormat | None,
        typer.Option(help="Format of the classifier, as of `convert`.", show_default="mxint8"),
    ] = None,
    gateware: GatewareText = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Tell whether a model fits a board, what would change that, and how fast it could be."""
    from jalgateware.contract.config import EngineConfig
    from jalhost.engine.boards import list_boards
    from jalhost.engine.fit import fit as compare
    from jalhost.engine.gateware import engine_config, parse_gateware

    boards = {str(item["name"]): item for item in list_boards()}
    if board not in boards:
        raise UsageError(f"there is no board {board!r}", f"boards: {', '.join(boards)}")
    config = EngineConfig(**boards[board]["engine"])
    if gateware:
        chosen = parse_gateware(gateware)
        if chosen.system:
            raise UsageError(f"a board has its own {' and '.join(chosen.system)}")
        config = engine_config(chosen.engine, config)
    plan = _plan(model, context, weights, classifier)
    result = compare(plan, config, boards[board])
    if as_json:
        print(json.dumps(result.as_dict(), indent=2))
    else:
        print(table(_rows(result, plan)))
    if not result.fits:
        first = result.obstacles[0] if result.obstacles else _problem(result)
        raise ModelError(f"{model} does not fit {board}: {first}")


def _plan(
    model: Path,
    context: int | None,
    weights: MatrixFormat | None,
    classifier: MatrixFormat | None,
) -> "Plan":
    """The plan of an image, or the one that `convert` would make with these options."""
    from jalgateware.contract.isa import Format
    from jalhost.models.image_file import is_image, load_image
    from jalhost.models.plan import Plan, uniform_formats, without_mxint8
    from jalhost.models.source import MOST_CONTEXT, open_checkpoint
    from jalhost.models.store import find

    path = find(model)
    if not path.is_dir() and is_image(path):
        if context or weights or classifier:
            raise UsageError(
                f"{model} is converted already",
                "--context, --weights and --classifier are for model files",
            )
        return load_image(path).plan
    checkpoint = open_checkpoint(path).with_context(context, MOST_CONTEXT)
    chosen = [Format[(item or MatrixFormat.MXINT8).name] for item in (weights, classifier)]
    formats = uniform_formats(checkpoint.architecture, *chosen)
    return Plan(checkpoint.architecture, (), without_mxint8(formats))


def _rows(result: "Fit", plan: "Plan") -> list[tuple[str, str]]:
    first, last = result.tokens_per_s
    rows = [
        ("fits", "yes" if result.fits else "no"),
        ("image", f"{result.image_bytes:,} bytes"),
        ("KV cache", f"{result.cache_bytes:,} bytes for {plan.architecture.context:,} tokens"),
        ("DRAM", f"{result.dram_bytes:,} bytes"),
        ("bytes per token", f"{result.bytes_per_token:,}"),
        (
            "tokens/s",
            f"{first:,.1f}, {last:,.1f} with a full context (estimated: what the DRAM allows)",
        ),
    ]
    rows += [
        (item.what, f"{item.value:,}, the limit is {item.limit:,}: {item.change}")
        for item in result.problems
    ]
    return rows + [("not possible", item) for item in result.obstacles]


def _problem(result: "Fit") -> str:
    item = result.problems[0]
    return f"{item.what} {item.value:,}, the limit is {item.limit:,} ({item.change})"
