"""``jalhost chat``: a conversation with a model."""

import signal
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from threading import Event
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
from jalhost.cli.render import printable, provenance
from jalhost.cli.sampling_options import MinP, RepetitionPenalty, TopK, TopP, read_filters
from jalhost.engine import defaults
from jalhost.errors import ModelError, UsageError

if TYPE_CHECKING:
    from jalhost.engine.chat import Conversation, Turn
    from jalhost.models.image import Image

RESET, EXIT = "/reset", "/exit"


def chat(
    model: ModelFile = None,
    target: TargetName = None,
    tokenizer: TokenizerFile = None,
    system: Annotated[
        str, typer.Option(help="What the model is told first.", show_default="nothing")
    ] = "",
    chat_template: Annotated[
        Path | None,
        typer.Option(help="Jinja template to use.", show_default="the model's own"),
    ] = None,
    stop: Annotated[
        list[str] | None,
        typer.Option(help="Text that ends an answer; may be given several times."),
    ] = None,
    max_tokens: Annotated[
        int, typer.Option(min=1, help="Most tokens of an answer.")
    ] = defaults.MAX_TOKENS,
    temperature: Annotated[
        float, typer.Option(help="0 takes the likeliest token; higher values vary more.")
    ] = 0.0,
    seed: Annotated[
        int, typer.Option(min=0, help="Start of the random numbers (temperature > 0).")
    ] = 0,
    top_k: TopK = None,
    top_p: TopP = None,
    min_p: MinP = None,
    repetition_penalty: RepetitionPenalty = None,
    soc: Annotated[
        Path | None,
        typer.Option(
            help="Bundle or soc.json of the build that a board should have; others are refused.",
            show_default="any build",
        ),
    ] = None,
    gateware: GatewareText = None,
    debug: Debug = False,
) -> None:
    """Talk to a model: a message for each line; /reset begins anew, /exit or Ctrl-D ends.

    On a terminal, Ctrl-C ends an answer that is coming; a second one ends the program.
    """
    from jalhost.engine.chat import Conversation, Settings
    from jalhost.engine.target import choose_drafts, read_sampling
    from jalhost.engine.targets import open_target
    from jalhost.models.chat_template import ChatTemplate

    sampling = read_sampling(temperature, seed)
    filters = read_filters(top_k, top_p, min_p, repetition_penalty, temperature)
    image = open_model(model, tokenizer)
    template = ChatTemplate(_source(image, chat_template), image.tokenizer.words)
    with open_target(target or default_target(), say, soc, gateware) as engine:
        drafts = choose_drafts(None, 1, engine.info.token_rows, filters is not None)
        settings = Settings(max_tokens, sampling, drafts, tuple(stop or ()), filters)
        conversation = Conversation(engine, image, template, settings, system)
        engine.load(image)
        _talk(conversation, provenance(engine.info, filters is not None))


def _source(image: "Image", path: Path | None) -> str:
    """The template's source.

    Raises:
        ModelError: there is none.
    """
    from jalhost.files import read_text

    if path is not None:
        return read_text(path)
    if image.tokenizer.chat_template is None:
        raise ModelError(
            f"the model {image.name} has no chat template",
            "it was not made for conversations; --model names another, --chat-template FILE one",
        )
    return image.tokenizer.chat_template


def _talk(conversation: "Conversation", figures: str) -> None:
    """Takes messages until there are no more. ``figures``: what kind of figures come."""
    if sys.stdin.isatty():
        say(f"a message for each line; {RESET} begins anew, {EXIT} or Ctrl-D ends")
    while (line := _next_message()) is not None:
        message = line.strip()
        if message == EXIT:
            return
        if message == RESET:
            conversation.reset()
            say("a new conversation")
        elif message:
            _answer(conversation, message, figures)


def _next_message() -> str | None:
    """A line of input, or None at its end."""
    if not sys.stdin.isatty():
        return sys.stdin.readline() or None
    print("> ", end="", file=sys.stderr, flush=True)
    line = sys.stdin.readline()
    if not line:
        print(file=sys.stderr)  # Ctrl-D leaves the cursor behind the prompt
    return line or None


@contextmanager
def _until_interrupted() -> Iterator[Event]:
    """Tells of the first Ctrl-C on a terminal in the block; the next one ends the program.

    Nothing is torn down in the middle of a transfer, so that the conversation can go on.
    """
    asked = Event()
    if not sys.stdin.isatty():
        yield asked
        return
    before = signal.getsignal(signal.SIGINT)

    def ask(_number: int, _frame: object) -> None:
        asked.set()
        signal.signal(signal.SIGINT, before)

    signal.signal(signal.SIGINT, ask)
    try:
        yield asked
    finally:
        signal.signal(signal.SIGINT, before)


def _answer(conversation: "Conversation", message: str, figures: str) -> None:
    """Prints the answer as it comes. What cannot be answered ends nothing."""
    try:
        with _until_interrupted() as interrupted, closing(conversation.ask(message)) as parts:
            for part in parts:
                sys.stdout.write(printable(part) if sys.stdout.isatty() else part)
                sys.stdout.flush()
                if interrupted.is_set():
                    break
    except UsageError as error:
        if not sys.stdin.isatty():
            raise
        say(f"error: {error}")
        return
    print(flush=True)
    if conversation.last:
        say(f"[{_figures(conversation.last)}; {figures}]")


def _figures(turn: "Turn") -> str:
    rate = f", {(turn.generated - 1) / turn.seconds:,.1f} tokens/s" if turn.seconds else ""
    first = f", TTFT {1000 * turn.ttft_s:.1f} ms" if turn.ttft_s is not None else ""
    return (
        f"{turn.generated} tokens ({turn.finish}), {turn.prefilled} prefilled,"
        f" {turn.reused} reused{first}{rate}"
    )
