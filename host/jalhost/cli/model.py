"""``jalhost model``: convert checkpoints, look into images, measure their quality."""

import json
import os
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from jalhost.cli import model_store
from jalhost.cli.options import (
    DEMO_MODEL,
    Debug,
    Json,
    MatrixFormat,
    TokenizerFile,
    open_model,
    say,
    show_help_alone,
)
from jalhost.cli.render import table
from jalhost.errors import ModelError, UsageError

if TYPE_CHECKING:
    from jalgateware.contract.isa import Format
    from jalhost.models.architecture import Architecture
    from jalhost.models.image import Image
    from jalhost.models.plan import Formats
    from jalhost.models.quality import Text
    from jalhost.models.source import Source

app = typer.Typer(
    help="Convert, inspect and measure models.",
    rich_markup_mode=None,
    invoke_without_command=True,
    callback=show_help_alone,
)
app.command("list")(model_store.list_models)
app.command()(model_store.pull)
app.command("rm")(model_store.rm)
app.command()(model_store.fit)


class WeightFormats(StrEnum):
    """What --weights takes."""

    MXINT8 = "mxint8"
    MXFP4 = "mxfp4"
    AUTO = "auto"


@app.command()
def convert(
    checkpoint: Annotated[
        Path,
        typer.Argument(
            help="GGUF file, Hugging Face folder, llama2.c checkpoint (.bin), or a pulled model."
        ),
    ],
    tokenizer: TokenizerFile = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", help="The .jal image to write.", show_default="NAME.jal, here"
        ),
    ] = None,
    name: Annotated[
        str | None, typer.Option(help="The model's name.", show_default="the file's name")
    ] = None,
    context: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Most tokens of a text, prompt included.",
            show_default="the model's own, at most 2048",
        ),
    ] = None,
    weights: Annotated[
        WeightFormats, typer.Option(help="Format of the matrices; auto chooses for a target.")
    ] = WeightFormats.MXINT8,
    classifier: Annotated[
        MatrixFormat | None,
        typer.Option(
            help="Format of the classifier.",
            show_default="mxint8; with --weights auto chosen like the others",
        ),
    ] = None,
    max_bytes_per_token: Annotated[
        int | None,
        typer.Option(min=1, help="With auto: the least loss that reads no more bytes per token."),
    ] = None,
    max_kl: Annotated[
        float | None,
        typer.Option(help="With auto: the fewest bytes at no more mean KL divergence (nats)."),
    ] = None,
    draft_tokens: Annotated[
        int | None,
        typer.Option(
            min=0,
            help="Tokens to learn drafts from (0: no drafts).",
            show_default="about a minute's worth",
        ),
    ] = None,
    draft_text: Annotated[
        Path | None,
        typer.Option(help="Text to learn drafts from.", show_default="what the model tells"),
    ] = None,
    debug: Debug = False,
) -> None:
    """Convert a checkpoint to a .jal image."""
    # BLAS's threads wait for each other in loops. With matrices of this size they win nothing, and
    # on a busy machine they cost minutes. It reads this when it is loaded.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

    from jalhost.files import read_text
    from jalhost.models.source import model_name, open_source
    from jalhost.models.store import find, find_tokenizer
    from jalhost.models.stream import Conversion, convert_to_file

    choose = _chooser(weights, classifier, max_bytes_per_token, max_kl)
    text = read_text(draft_text) if draft_text else None
    path = find(checkpoint)
    source = open_source(path, tokenizer or find_tokenizer(path), context)
    a = source.checkpoint.architecture
    own_name = model_name(path)
    name, output = name or own_name, output or Path(f"{own_name}.jal")
    if output.is_dir():
        raise UsageError(f"{output} is a folder", "name a file with --output")
    if output.exists() and output.samefile(path):
        raise UsageError(f"{output} is the model itself", "name another file with --output")
    job = Conversion(
        source.checkpoint,
        source.tokenizer,
        name,
        choose(source),
        source.stop_tokens,
        _learner(a, draft_tokens, text),
    )
    plan = convert_to_file(job, output, say)
    size, traffic = output.stat().st_size, plan.weight_bytes() + plan.token_bytes(0)
    say(
        f"{output}: {name}, {a.parameters:,} parameters, {size:,} bytes, "
        f"{traffic:,} of them per token"
    )


def _learner(
    a: "Architecture", tokens: int | None, text: str | None
) -> "Callable[[Image], Image] | None":
    """What gives an image its table of drafts; None where it gets none."""
    from jalhost.models.drafting import usual_tokens, with_drafts

    count = usual_tokens(a) if tokens is None else tokens
    if not count and tokens is None:
        say("no drafts are learnt: the model is large (--draft-tokens N learns some)")
    return (lambda image: with_drafts(image, count, text)) if count else None


def _chooser(
    weights: WeightFormats,
    classifier: MatrixFormat | None,
    max_bytes: int | None,
    max_kl: float | None,
) -> "Callable[[Source], Formats]":
    """What chooses the formats that the options ask for.

    Raises:
        UsageError: the options contradict each other.
    """
    from jalgateware.contract.isa import Format
    from jalhost.models.plan import uniform_formats

    given = None if classifier is None else Format[classifier.name]
    targets = sum(target is not None for target in (max_bytes, max_kl))
    if weights is not WeightFormats.AUTO:
        if targets:
            raise UsageError("--max-bytes-per-token and --max-kl need --weights auto")
        form = Format[weights.name]
        return lambda source: uniform_formats(
            source.checkpoint.architecture, form, Format.MXINT8 if given is None else given
        )
    if targets != 1:
        raise UsageError(
            "--weights auto needs one target", "give --max-bytes-per-token or --max-kl"
        )
    if max_kl is not None and not max_kl > 0:
        raise UsageError(f"--max-kl is above 0, not {max_kl:g}")
    return lambda source: _choose(source, given, max_bytes, max_kl)


def _choose(
    source: "Source", classifier: "Format | None", max_bytes: int | None, max_kl: float | None
) -> "Formats":
    from jalhost.models.choose_formats import choose_for_bytes, choose_for_divergence

    model, start = source.checkpoint.load(), source.tokenizer.start
    if max_bytes is not None:
        choice = choose_for_bytes(model, max_bytes, classifier, say, start)
    else:
        assert max_kl is not None, "there is one target"
        choice = choose_for_divergence(model, max_kl, classifier, say, start)
    quality = choice.quality
    say(
        f"{len(choice.formats)} matrices in MXFP4, {choice.bytes_per_token:,} bytes per token; "
        f"perplexity {quality.ratio:.4f} times that of float32, mean KL divergence "
        f"{quality.divergence:.5f} on {quality.tokens:,} tokens"
    )
    return choice.formats


@app.command()
def info(
    image: Annotated[
        Path | None, typer.Argument(help="A .jal image.", show_default="the demo model")
    ] = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Check an image and show what is in it."""
    from jalhost.models.image_file import load_image

    path = image or DEMO_MODEL
    facts = _facts(load_image(path), path)
    if as_json:
        print(json.dumps(facts, indent=2))
    else:
        print(table(_rows(facts)))


def _facts(image: "Image", path: Path) -> dict[str, Any]:
    from jalhost.models.convert import needed_bytes
    from jalhost.models.image_layout import VERSION

    a = image.plan.architecture
    return {
        "file": str(path),
        "file_bytes": path.stat().st_size,
        "format_version": VERSION,
        "name": image.name,
        "source": image.source,
        "parameters": a.parameters,
        **a.as_dict(),
        "tokenizer": image.tokenizer.metadata().get("kind", "llama2.c"),
        "chat_template": image.tokenizer.chat_template is not None,
        "stop_tokens": list(image.stop_tokens),
        "instructions": len(image.program),
        "drafts": 0 if image.drafts is None else int((image.drafts != 0).sum()),
        "bytes_per_token": needed_bytes(image, 0),
        "matrices": _matrices(image),
    }


def _matrices(image: "Image") -> dict[str, dict[str, int]]:
    """By kind: matrices of each format, and what a token reads of them."""
    from jalhost.models.plan import EMBEDDING

    kinds: dict[str, dict[str, int]] = {}
    for shape in image.plan.matrices:
        counts = kinds.setdefault(shape.kind, {item.value: 0 for item in MatrixFormat})
        counts[MatrixFormat[shape.form.name]] += 1
        read = shape.bytes // (shape.rows if shape.name == EMBEDDING else 1)
        counts["bytes_per_token"] = counts.get("bytes_per_token", 0) + read
    return kinds


def _rows(facts: dict[str, Any]) -> list[tuple[str, str]]:
    """Facts for people."""
    rows = [(key.replace("_", " "), _text(facts[key])) for key in facts if key != "matrices"]
    for kind, counts in facts["matrices"].items():
        formats = [f"{counts[item]} x {item.name}" for item in MatrixFormat if counts[item]]
        traffic = f"{counts['bytes_per_token']:,} bytes per token"
        rows.append((kind.replace("_", " and "), f"{', '.join(formats)}: {traffic}"))
    return rows


def _text(value: object) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


@app.command("eval")
def evaluate(
    model: Annotated[Path, typer.Argument(help="A .jal image.")],
    reference: Annotated[
        Path, typer.Option(help="The model file or folder that it was converted from.")
    ],
    tokenizer: TokenizerFile = None,
    text: Annotated[
        Path | None,
        typer.Option(
            help="A text file (UTF-8) to measure on.",
            show_default="text that the checkpoint samples from itself",
        ),
    ] = None,
    sequences: Annotated[
        int | None,
        typer.Option(
            min=1, help="Most sequences to measure on.", show_default="16, or the whole text"
        ),
    ] = None,
    length: Annotated[
        int | None,
        typer.Option(
            min=2,
            help="Tokens per sequence.",
            show_default="160, or the model's context for a text",
        ),
    ] = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Measure an image's quality against its checkpoint in float32 (on the emulator)."""
    from jalhost.models.quality import SEQUENCES, measure, sample_texts
    from jalhost.models.source import open_checkpoint

    image = open_model(model, tokenizer)
    context = image.plan.architecture.context
    checkpoint = open_checkpoint(reference)
    tokens = (image.plan.architecture.vocabulary, checkpoint.architecture.vocabulary)
    if tokens[0] != tokens[1]:
        raise ModelError(
            f"{reference} has {tokens[1]:,} tokens, {model} has {tokens[0]:,}",
            "--reference is what the image was converted from",
        )
    yardstick = checkpoint.with_context(context, context).load()
    if text is None:
        start = image.tokenizer.start
        texts = sample_texts(yardstick, sequences or SEQUENCES, length, start=start)
    else:
        texts = _read_text(text, image, length, sequences)
    quality = measure(yardstick, image, texts)
    if as_json:
        facts = {"text": None if text is None else str(text), "sequences": len(texts)}
        print(json.dumps(facts | quality.as_dict(), indent=2))
        return
    print(
        table(
            [
                ("tokens", f"{quality.tokens:,} in {len(texts)} sequences"),
                ("perplexity, float32", f"{quality.reference_perplexity:.4f}"),
                ("perplexity, engine", f"{quality.perplexity:.4f} ({quality.ratio:.4f} times)"),
                ("same likeliest token", f"{quality.agreement:.2%}"),
                ("mean KL divergence", f"{quality.divergence:.5f}"),
                ("saturations", f"{quality.saturations}"),
            ]
        )
    )


def _read_text(
    path: Path, image: "Image", length: int | None, sequences: int | None
) -> "list[Text]":
    """Sequences of a text file.

    Raises:
        UsageError: the file cannot be read, is not UTF-8, empty or too short.
    """
    from jalhost.models.quality import cut_text

    try:
        text = path.read_bytes().decode("utf-8")
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise UsageError(
            f"{path} is not valid UTF-8: byte {error.start} is {error.object[error.start]:#04x}"
        ) from error
    if not text.strip():
        raise UsageError(f"{path} is empty: there is no text to measure on")
    context = image.plan.architecture.context
    tokens = image.tokenizer.encode(text)
    return cut_text(tokens, context, length, sequences, image.tokenizer.start)
