"""``jalhost model``: convert checkpoints, look into images, measure their quality."""

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from jalhost.cli.options import (
    DEMO_MODEL,
    Debug,
    Json,
    TokenizerFile,
    open_model,
    say,
    show_help_alone,
)
from jalhost.cli.render import table

if TYPE_CHECKING:
    from jalhost.models.image import Image

app = typer.Typer(
    help="Convert, inspect and measure models.",
    rich_markup_mode=None,
    invoke_without_command=True,
    callback=show_help_alone,
)


@app.command()
def convert(
    checkpoint: Annotated[Path, typer.Argument(help="llama2.c checkpoint (.bin).")],
    tokenizer: Annotated[
        Path, typer.Option("--tokenizer", help="llama2.c tokenizer.bin that belongs to it.")
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="The .jal image to write.")],
    name: Annotated[
        str | None, typer.Option(help="The model's name.", show_default="the checkpoint's name")
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
    from jalhost.models.convert import read_model
    from jalhost.models.drafting import with_drafts
    from jalhost.models.image_file import save_image

    text = read_text(draft_text) if draft_text else None
    image = with_drafts(read_model(checkpoint, tokenizer, name), draft_tokens, text)
    save_image(image, output)
    a = image.plan.architecture
    size = output.stat().st_size
    say(f"{output}: {image.name}, {a.parameters:,} parameters, {size:,} bytes")


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
        print(table([(key.replace("_", " "), _text(value)) for key, value in facts.items()]))


def _facts(image: "Image", path: Path) -> dict[str, Any]:
    from jalhost.models.convert import needed_bytes
    from jalhost.models.image_file import VERSION

    a = image.plan.architecture
    return {
        "file": str(path),
        "file_bytes": path.stat().st_size,
        "format_version": VERSION,
        "name": image.name,
        "source": image.source,
        "parameters": a.parameters,
        **a.as_dict(),
        "stop_tokens": list(image.stop_tokens),
        "instructions": len(image.program),
        "drafts": 0 if image.drafts is None else int((image.drafts != 0).sum()),
        "bytes_per_token": needed_bytes(image, 0),
    }


def _text(value: object) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


@app.command("eval")
def evaluate(
    model: Annotated[Path, typer.Argument(help="A .jal image.")],
    reference: Annotated[
        Path, typer.Option(help="The llama2.c checkpoint that it was converted from.")
    ],
    tokenizer: TokenizerFile = None,
    sequences: Annotated[int, typer.Option(min=1, help="Sequences to measure on.")] = 16,
    length: Annotated[int, typer.Option(min=2, help="Tokens per sequence.")] = 160,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Measure an image's quality against its checkpoint in float32 (on the emulator)."""
    from dataclasses import asdict

    from jalhost.models.llama2c import read_checkpoint
    from jalhost.models.quality import measure

    quality = measure(read_checkpoint(reference), open_model(model, tokenizer), sequences, length)
    if as_json:
        print(json.dumps(asdict(quality) | {"perplexity_ratio": quality.ratio}, indent=2))
        return
    print(
        table(
            [
                ("tokens", f"{quality.tokens:,}"),
                ("perplexity, float32", f"{quality.reference_perplexity:.4f}"),
                ("perplexity, engine", f"{quality.perplexity:.4f} ({quality.ratio:.4f} times)"),
                ("same likeliest token", f"{quality.agreement:.2%}"),
                ("mean KL divergence", f"{quality.divergence:.5f}"),
                ("saturations", f"{quality.saturations}"),
            ]
        )
    )
