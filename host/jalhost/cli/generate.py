"""``jalhost generate``: text from a prompt."""

import json
import sys
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from jalhost.cli.options import (
    Debug,
    GatewareText,
    Json,
    ModelFile,
    TargetName,
    TokenizerFile,
    default_target,
    open_model,
    say,
)
from jalhost.cli.render import printable, summary_line
from jalhost.engine import defaults

if TYPE_CHECKING:
    from jalhost.engine.generation import Generation, Summary


def generate(
    prompt: Annotated[
        str, typer.Argument(help="Text to continue.", show_default=True)
    ] = defaults.PROMPT,
    target: TargetName = None,
    model: ModelFile = None,
    tokenizer: TokenizerFile = None,
    max_tokens: Annotated[
        int, typer.Option(min=1, help="Most tokens to generate.")
    ] = defaults.MAX_TOKENS,
    temperature: Annotated[
        float,
        typer.Option(help="0 takes the likeliest token each time; higher values vary more."),
    ] = 0.0,
    soc: Annotated[
        Path | None,
        typer.Option(
            help="soc.json of the build that a board should have; others are refused.",
            show_default="any build",
        ),
    ] = None,
    gateware: GatewareText = None,
    seed: Annotated[int, typer.Option(help="Start of the random numbers (temperature > 0).")] = 0,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Continue a prompt and print the text as its tokens arrive."""
    from jalhost.engine.generation import Generation
    from jalhost.engine.targets import open_target

    image = open_model(model, tokenizer)
    with open_target(target or default_target(), say, soc, gateware) as engine:
        generation = Generation(engine, image, prompt, max_tokens, temperature, seed)
        engine.load(image)
        summary = _collect(generation) if as_json else _stream(generation)
    if as_json:
        print(json.dumps(summary.as_dict(), indent=2))
    else:
        say(summary_line(summary))


def _collect(generation: "Generation") -> "Summary":
    for _ in generation:
        pass
    return generation.summary()


def _stream(generation: "Generation") -> "Summary":
    """Prints the text while it comes in, and ends the line whatever happens."""
    try:
        _put(generation.prompt)
        with closing(iter(generation)) as events:
            for event in events:
                _put(event.text)
        _put(generation.tail)
    finally:
        _put("\n")
    return generation.summary()


def _put(text: str) -> None:
    sys.stdout.write(printable(text) if sys.stdout.isatty() else text)
    sys.stdout.flush()
