"""``jalhost generate``: text from a prompt."""

import json
import sys
from collections.abc import Sequence
from contextlib import closing, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

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
from jalhost.cli.power_options import IdleText, MeterText, check_power, measuring
from jalhost.cli.render import printable, summary_line
from jalhost.cli.sampling_options import MinP, RepetitionPenalty, TopK, TopP, read_filters
from jalhost.engine import defaults
from jalhost.errors import UsageError

if TYPE_CHECKING:
    from jalhost.engine.generation import Generation
    from jalhost.engine.summary import Summary
    from jalhost.power.session import Power


def generate(
    prompt: Annotated[
        list[str] | None,
        typer.Argument(help="Text to continue; one for each stream.", show_default=defaults.PROMPT),
    ] = None,
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
            help="Bundle or soc.json of the build that a board should have; others are refused.",
            show_default="any build",
        ),
    ] = None,
    gateware: GatewareText = None,
    seed: Annotated[
        int,
        typer.Option(help="Start of the random numbers (temperature > 0); plus 1 for each stream."),
    ] = 0,
    top_k: TopK = None,
    top_p: TopP = None,
    min_p: MinP = None,
    repetition_penalty: RepetitionPenalty = None,
    streams: Annotated[
        int,
        typer.Option(min=1, help="Texts to generate together; they take the prompts in turn."),
    ] = 1,
    speculate: Annotated[
        bool | None,
        typer.Option(
            help="Let the engine guess tokens ahead: the same text, sooner.",
            show_default="if there is one stream and the gateware can",
        ),
    ] = None,
    meter: MeterText = None,
    idle_baseline: IdleText = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Continue a prompt, or several together, and print the text as its tokens arrive."""
    from jalhost.cli.streams import show_streams
    from jalhost.engine.generation import Generation
    from jalhost.engine.target import choose_drafts
    from jalhost.engine.targets import open_target

    check_power(meter, idle_baseline)
    filters = read_filters(top_k, top_p, min_p, repetition_penalty, temperature)
    prompts = _in_turn(prompt or [defaults.PROMPT], streams)
    image = open_model(model, tokenizer)
    with open_target(target or default_target(), say, soc, gateware) as engine:
        by_host = filters is not None
        drafts = choose_drafts(speculate, streams, engine.info.token_rows, by_host)
        generation = Generation(
            engine, image, prompts, max_tokens, temperature, seed, drafts, filters
        )
        engine.load(image)
        with measuring(meter, idle_baseline, engine) as power:
            with power.run() if power else nullcontext():
                if as_json:
                    summary = _collect(generation)
                else:
                    summary = _stream(generation) if streams == 1 else show_streams(generation)
            if not as_json:
                say(summary_line(summary))
            report = _report(power, generation, summary) if power else None
    if as_json:
        print(json.dumps(summary.as_dict() | ({"power": report[0]} if report else {}), indent=2))
    elif report:
        say(report[1])


def _report(
    power: "Power", generation: "Generation", summary: "Summary"
) -> tuple[dict[str, Any], str]:
    """Energy of all tokens, for JSON and as a line; a simulated board's is of its own time."""
    from jalhost.power.report import as_dict, power_line

    tokens = sum(len(stream.token_ids) for stream in summary.streams)
    found = power.report(tokens, generation.seconds if power.simulated else None)
    return as_dict(found), power_line(found)


def _in_turn(prompts: Sequence[str], streams: int) -> list[str]:
    """The prompt of each stream.

    Raises:
        UsageError: there are more prompts than streams.
    """
    if len(prompts) > streams:
        raise UsageError(
            f"{len(prompts)} prompts need as many streams, not {streams}",
            f"add --streams {len(prompts)}, or put a prompt of several words in quotes",
        )
    return [prompts[index % len(prompts)] for index in range(streams)]


def _collect(generation: "Generation") -> "Summary":
    for _ in generation:
        pass
    return generation.summary()


def _stream(generation: "Generation") -> "Summary":
    """Prints the text while it comes in, and ends the line whatever happens."""
    (stream,) = generation.streams
    try:
        _put(stream.prompt)
        with closing(iter(generation)) as events:
            for event in events:
                _put(event.text)
        _put(stream.tail)
    finally:
        _put("\n")
    return generation.summary()


def _put(text: str) -> None:
    sys.stdout.write(printable(text) if sys.stdout.isatty() else text)
    sys.stdout.flush()
