"""Conversations: each turn runs only the tokens that are new, behind those in the KV cache."""

from collections.abc import Generator, Sequence
from contextlib import closing
from dataclasses import dataclass

from jalgateware.contract.mailbox import PROMPT_CAPACITY
from jalgateware.golden.sampler import Sampling
from jalhost.engine.filters import Filters
from jalhost.engine.host_sampling import HostSampler
from jalhost.engine.target import Request, Target
from jalhost.errors import DeviceRestarted, UsageError
from jalhost.models.chat_template import ChatTemplate, Message
from jalhost.models.image import Image
from jalhost.models.tokenizer import StreamDecoder


@dataclass(frozen=True)
class Settings:
    """How answers are made. ``stops``: texts that end one, and are no part of it.

    ``filters``: what narrows the choice of tokens; then the host samples, without drafts. A
    repetition penalty is on all tokens of the conversation. None lets the target sample.
    """

    max_tokens: int
    sampling: Sampling
    drafts: int = 0
    stops: tuple[str, ...] = ()
    filters: Filters | None = None


@dataclass(frozen=True)
class Turn:
    """What a turn took: ``reused`` tokens were in the KV cache, ``prefilled`` were run.

    ``finish``: ``stop``, ``length``, ``context``, or ``left`` where it was not read to its end.
    """

    answer: str
    reused: int
    prefilled: int
    generated: int
    finish: str
    ttft_s: float | None
    seconds: float | None


class Conversation:
    """A conversation with a model that a target has loaded.

    Args:
        target: where to run; nothing else may run there meanwhile.
        image: what it has loaded.
        template: the model's.
        settings: how answers are made.
        system: what stands in front of the conversation; empty for nothing.

    Raises:
        UsageError: a stop text is empty, or there are filters and the target gives no logits.
    """

    def __init__(
        self,
        target: Target,
        image: Image,
        template: ChatTemplate,
        settings: Settings,
        system: str = "",
    ) -> None:
        if not all(settings.stops):
            raise UsageError("a stop text is empty")
        self._image, self._template = image, template
        self._settings = settings
        filters = settings.filters
        self._sampler = HostSampler(target, image, filters) if filters else target
        self._system: list[Message] = [{"role": "system", "content": system}] if system else []
        self.last: Turn | None = None
        self.reset()

    def reset(self) -> None:
        """Forgets the conversation, but for what the system was told."""
        self.messages = list(self._system)
        self._tokens: list[int] = []
        self._run_tokens = 0
        """How many of them have been run, so that their keys and values are in the cache."""
        self._text = ""

    def ask(self, text: str) -> Generator[str, None, None]:
        """Yields the answer as it comes; :attr:`last` tells then what it took.

        Close the iterator when you leave early: what came until then is the answer.

        Raises:
            UsageError: the text is empty, or the conversation has become longer than the context.
            ModelError: the template refuses the conversation.
        """
        if not text.strip():
            raise UsageError("the message is empty")
        messages = [*self.messages, {"role": "user", "content": text}]
        rendered = self._template.render(messages)
        tokens = self._continue(rendered)
        position = self._known(tokens)
        answer = _Answer(self._image, tokens, self._settings.stops)
        try:
            yield from self._run(tokens, position, answer)
        except DeviceRestarted:
            if not position or answer.samples:
                raise
            # It may have lost what it had: once more, from the start.
            position = 0
            yield from self._run(tokens, 0, answer)
        finally:
            self.messages = [*messages, {"role": "assistant", "content": answer.text}]
            self._tokens, self._text = [*tokens, *answer.tokens], rendered + answer.raw
            # The last sample has not been run; without one, nobody knows how far the prompt came.
            self._run_tokens = len(tokens) + answer.samples - 1 if answer.samples else 0
            self.last = answer.turn(self._settings.max_tokens, position, len(tokens) - position)

    def _known(self, tokens: Sequence[int]) -> int:
        """How many tokens need not be run again; the last one must be, for a sample to follow."""
        most = min(self._run_tokens, len(self._tokens), len(tokens) - 1)
        pairs = zip(self._tokens[:most], tokens, strict=False)
        return next((place for place, (old, new) in enumerate(pairs) if old != new), most)

    def _continue(self, rendered: str) -> list[int]:
        """The conversation's tokens: those that were run stay as they are, where the text does.

        Raises:
            UsageError: there are too many.
        """
        tokenizer = self._image.tokenizer
        if self._tokens and rendered.startswith(self._text):
            rest = tokenizer.encode_part(rendered[len(self._text) :], first=False)
            tokens = [*self._tokens, *rest]
        else:
            tokens = tokenizer.encode_part(rendered, first=True)
            if tokenizer.bos is not None and tokens[:1] != [tokenizer.bos]:
                tokens.insert(0, tokenizer.bos)
        context = self._image.plan.architecture.context
        if len(tokens) > context:
            raise UsageError(
                f"the conversation has {len(tokens)} tokens, the model's context is {context}",
                self._shorter(),
            )
        new = len(tokens) - self._known(tokens)
        if new > PROMPT_CAPACITY:
            raise UsageError(
                f"a turn has {new} new tokens, a device takes {PROMPT_CAPACITY}", self._shorter()
            )
        return tokens

    def _shorter(self) -> str:
        """What makes a conversation shorter that has become too long."""
        if len(self.messages) > len(self._system):
            return "begin a new one with /reset"
        return f"shorten the message{' or what --system says' if self._system else ''}"

    def _run(
        self, tokens: Sequence[int], position: int, answer: "_Answer"
    ) -> Generator[str, None, None]:
        settings = self._settings
        prompt = tuple(tokens[position:])
        request = Request(
            (prompt,), settings.max_tokens, settings.sampling, settings.drafts, position
        )
        with closing(self._sampler.run(request)) as samples:
            for sampled in samples:
                text = answer.feed(sampled.token, sampled.seconds)
                if text:
                    yield text
                if answer.stopped:
                    return
        answer.complete = True
        if text := answer.finish():
            yield text


class _Answer:
    """An answer on its way; text that may become a stop text is held back."""

    def __init__(self, image: Image, prompt: Sequence[int], stops: Sequence[str]) -> None:
        self.tokens: list[int] = []
        self.text = ""
        self.raw = ""
        """All text of the tokens, that of a stop included."""
        self.stopped = False
        self.complete = False
        """Whether it ended by itself."""
        self.samples = 0
        self._stop_tokens = image.stop_tokens
        self._stops = stops
        self._shown = 0
        self._times: list[float] = []
        self._decoder = StreamDecoder(image.tokenizer)
        for token in prompt:
            self._decoder.feed(token)

    def feed(self, token: int, seconds: float) -> str:
        """Takes a token; returns the text that can be shown."""
        self.samples += 1
        self._times.append(seconds)
        if token in self._stop_tokens:
            # Not one of the answer's tokens: the template writes the end of the turn.
            self.stopped = True
            return self.finish()
        self.tokens.append(token)
        self.raw += self._decoder.feed(token)
        ends = [place for stop in self._stops if (place := self.raw.find(stop)) >= 0]
        if ends:
            self.stopped = True
            return self._show(min(ends))
        return self._show(len(self.raw) - self._held())

    def _held(self) -> int:
        """How much of the end may be the start of a stop text."""
        return max(
            (
                size
                for stop in self._stops
                for size in range(1, len(stop))
                if self.raw.endswith(stop[:size])
            ),
            default=0,
        )

    def _show(self, end: int) -> str:
        new = self.raw[self._shown : end]
        self._shown += len(new)
        self.text += new
        return new

    def finish(self) -> str:
        """The text that was held back."""
        self.raw += self._decoder.finish()
        return self._show(len(self.raw))

    def turn(self, max_tokens: int, reused: int, prefilled: int) -> Turn:
        """What became of it."""
        finish = "length" if len(self.tokens) >= max_tokens else "context"
        if not self.complete:
            finish = "left"
        span = self._times[-1] - self._times[0] if len(self._times) > 1 else None
        return Turn(
            answer=self.text,
            reused=reused,
            prefilled=prefilled,
            generated=len(self.tokens),
            finish="stop" if self.stopped else finish,
            ttft_s=self._times[0] if self._times else None,
            seconds=span,
        )
