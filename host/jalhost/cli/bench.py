"""``jalhost bench``: tokens per second, cycles and utilisation, in llama-bench's terms."""

import sys
from contextlib import nullcontext
from typing import TYPE_CHECKING, Annotated

import typer

from jalhost.cli.options import (
    Debug,
    GatewareText,
    ModelFile,
    TargetName,
    TokenizerFile,
    default_target,
    open_model,
    say,
)
from jalhost.cli.power_options import IdleText, MeterText, check_power, measuring
from jalhost.errors import UsageError

if TYPE_CHECKING:
    from jalhost.engine.bench import Result

OUTPUTS = ("table", "md", "csv", "json")


def bench(
    target: TargetName = None,
    model: ModelFile = None,
    tokenizer: TokenizerFile = None,
    n_prompt: Annotated[
        str, typer.Option("--n-prompt", "-p", help="Prompt tokens to read (pp); a list: 16,64.")
    ] = "32",
    n_gen: Annotated[
        str, typer.Option("--n-gen", "-n", help="Tokens to generate (tg); a list.")
    ] = "32",
    n_depth: Annotated[
        str, typer.Option("--n-depth", "-d", help="Tokens in the KV cache before; a list.")
    ] = "0",
    streams: Annotated[
        str, typer.Option("--streams", help="Texts to generate together (tg); a list.")
    ] = "1",
    speculate: Annotated[
        bool, typer.Option("--speculate", help="Let the engine guess tokens ahead (tg).")
    ] = False,
    cold_cache: Annotated[
        bool,
        typer.Option(
            "--cold-cache",
            help="-d without reading so many tokens first: the KV cache holds what memory held."
            " The times are right, the tokens mean nothing.",
        ),
    ] = False,
    repetitions: Annotated[
        int, typer.Option("--repetitions", "-r", min=1, help="How often each test runs.")
    ] = 3,
    no_warmup: Annotated[
        bool, typer.Option("--no-warmup", help="Skip the short run before the first test.")
    ] = False,
    breakdown: Annotated[
        bool, typer.Option("--breakdown", help="Also print a token's cycles by unit and cause.")
    ] = False,
    gateware: GatewareText = None,
    output: Annotated[
        str,
        typer.Option("--output", "-o", help="table, md, csv or json.", metavar="FORMAT"),
    ] = "table",
    meter: MeterText = None,
    idle_baseline: IdleText = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the random prompts.")] = 0,
    debug: Debug = False,
) -> None:
    """Measure how fast a target reads prompts and generates."""
    from jalhost.cli.bench_output import print_results
    from jalhost.engine.bench import Bench, make_tests, with_power
    from jalhost.engine.targets import open_target

    if output not in OUTPUTS:
        raise UsageError(f"there is no output {output!r}", f"choose from {', '.join(OUTPUTS)}")
    prompts, generates, depths = (
        _numbers(option, text)
        for option, text in (("--n-prompt", n_prompt), ("--n-gen", n_gen), ("--n-depth", n_depth))
    )
    tests = make_tests(prompts, generates, depths, _streams(streams), speculate)
    if not tests:
        raise UsageError("there is nothing to measure", "give -p or -n a number above 0")
    check_power(meter, idle_baseline)
    image = open_model(model, tokenizer)
    results: list[Result] = []
    with open_target(target or default_target(), say, gateware=gateware) as engine:
        runner = Bench(engine, image, seed, cold_cache)
        for test in tests:
            runner.check(test)
        runner.load()
        if not no_warmup:
            runner.warm_up()
        with measuring(meter, idle_baseline, engine) as power:
            for number, test in enumerate(tests, 1):
                if len(tests) > 1 and sys.stderr.isatty():
                    say(f"{test.name} ({number} of {len(tests)}) ...")
                with power.run() if power else nullcontext():
                    result = runner.run(test, repetitions, breakdown)
                results.append(with_power(result, power) if power else result)
    print_results(image, results, output)


def _streams(text: str) -> list[int]:
    """Numbers of streams.

    Raises:
        UsageError: one of them is none.
    """
    numbers = _numbers("--streams", text)
    if min(numbers) < 1:
        raise UsageError("--streams takes numbers from 1, not 0")
    return numbers


def _numbers(option: str, text: str) -> list[int]:
    """The numbers of a list.

    Raises:
        UsageError: it is not one.
    """
    try:
        numbers = [int(part) for part in text.split(",")]
    except ValueError:
        raise UsageError(f"{option} takes numbers like 16,64, not {text!r}") from None
    if min(numbers) < 0:
        raise UsageError(f"{option} takes numbers from 0, not {min(numbers)}")
    return numbers
