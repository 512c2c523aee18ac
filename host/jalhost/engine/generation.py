"""From prompts to streams of text on any target, and the figures that go with them."""

from collections.abc import Generator, Sequence
from contextlib import closing
from dataclasses import dataclass

from jalhost.engine import defaults
from jalhost.engine.figures import Span, bytes_needed, decoding, prefill_passes
from jalhost.engine.filters import Filters
from jalhost.engine.host_sampling import HostSampler
from jalhost.engine.summary import FinishReason, StreamSummary, Summary
from jalhost.engine.target import Request, Sampled, Target, read_sampling
from jalhost.errors import DeviceError, UsageError
from jalhost.models.image import Image
from jalhost.models.tokenizer import StreamDecoder

__all__ = ["FinishReason", "Generation", "Stream", "Summary", "TokenEvent"]


@dataclass(frozen=True)
class TokenEvent:
    """A generated token and the characters that it completes."""

    token: int
    text: str
    sampled: Sampled


class Stream:
    """A prompt on its way: what was sampled for it so far.

    Raises:
        UsageError: the prompt is empty, not valid Unicode or longer than the context.
    """

    def __init__(self, image: Image, prompt: str) -> None:
        self.prompt = prompt
        self.prompt_tokens = _encode(image, prompt)
        self.events: list[TokenEvent] = []
        self.stopped = False
        self.tail = ""
        self._image = image
        self._decoder = StreamDecoder(image.tokenizer)
        for token in self.prompt_tokens:
            self._decoder.feed(token)

    def feed(self, sampled: Sampled) -> TokenEvent:
        """Takes the stream's next token."""
        self.stopped = sampled.token in self._image.stop_tokens
        text = "" if self.stopped else self._decoder.feed(sampled.token)
        self.events.append(TokenEvent(sampled.token, text, sampled))
        return self.events[-1]

    def finish(self) -> None:
        """Completes the text where no more tokens come."""
        self.tail = self._decoder.finish()

    @property
    def text(self) -> str:
        """Prompt and continuation."""
        return self.prompt + "".join(event.text for event in self.events) + self.tail

    def summary(self, seed: int, max_tokens: int) -> StreamSummary:
        """What became of it."""
        token_ids = [event.token for event in self.events]
        reason = FinishReason.LENGTH if len(token_ids) >= max_tokens else FinishReason.CONTEXT
        return StreamSummary(
            prompt=self.prompt,
            seed=seed,
            text=self.text,
            token_ids=token_ids[:-1] if self.stopped else token_ids,
            prompt_token_ids=self.prompt_tokens,
            finish_reason=FinishReason.STOP if self.stopped else reason,
            ttft_s=self.events[0].sampled.seconds if self.events else None,
        )


class Generation:
    """One prompt or several on their way: iterate over it for the tokens, then ask for the summary.

    Args:
        target: where to run.
        image: the model.
        prompt: a text, or one for each stream.
        max_tokens: most tokens to generate for each of them.
        temperature: 0 takes the likeliest token.
        seed: stream s draws with seed + s.
        drafts: most tokens to guess in a pass, only with one stream.
        filters: what narrows the choice of tokens; then the host samples, one stream without
            drafts. None lets the target sample.

    Raises:
        UsageError: a prompt is empty, not valid Unicode or longer than the context, a parameter is
        out of range, or the target has too few token rows, no noise or gives no logits.
    """

    def __init__(
        self,
        target: Target,
        image: Image,
        prompt: str | Sequence[str] = defaults.PROMPT,
        max_tokens: int = defaults.MAX_TOKENS,
        temperature: float = 0.0,
        seed: int = 0,
        drafts: int = 0,
        filters: Filters | None = None,
    ) -> None:
        self._target = target
        self._image = image
        if max_tokens < 1:
            raise UsageError(f"the number of tokens is 1 or more, not {max_tokens}")
        sampling = read_sampling(temperature, seed)
        prompts = [prompt] if isinstance(prompt, str) else prompt
        self.streams = tuple(Stream(image, text) for text in prompts)
        tokens = tuple(tuple(stream.prompt_tokens) for stream in self.streams)
        self._request = Request(tokens, max_tokens, sampling, drafts)
        self._request.check(target.info.token_rows, target.info.noise or filters is not None)
        self._host = HostSampler(target, image, filters) if filters else None
        if self._host:
            self._host.check(self._request)
        self._sampled: list[Sampled] = []
        self._counters: dict[str, int] | None = None

    def __iter__(self) -> Generator[TokenEvent, None, None]:
        """Runs the prompts; each event carries a token and the characters that it completes.

        Close the iterator when you leave it early: that stops the engine.
        """
        with closing((self._host or self._target).run(self._request)) as samples:
            for sampled in samples:
                self._check(sampled)
                self._sampled.append(sampled)
                yield self.streams[sampled.stream].feed(sampled)
        # Here, as they tell of the target's last run; to the host, that is a token.
        self._counters = None if self._host else self._target.counters()
        for stream in self.streams:
            stream.finish()

    def _check(self, sampled: Sampled) -> None:
        vocabulary = self._image.plan.architecture.vocabulary
        name = self._target.info.name
        if sampled.token >= vocabulary:
            raise DeviceError(
                f"{name} sampled token {sampled.token}, the vocabulary has {vocabulary}",
                "its engine computes nonsense",
            )
        if sampled.stream >= len(self.streams):
            raise DeviceError(
                f"{name} sampled for stream {sampled.stream} of {len(self.streams)}",
                "its engine computes nonsense",
            )

    @property
    def seconds(self) -> float:
        """From the start of the run to the last sampled token so far, by the target's clock."""
        return self._sampled[-1].seconds if self._sampled else 0.0

    def summary(self) -> Summary:
        """Figures of what was generated so far."""
        span, info = decoding(self._sampled), self._target.info
        start = span.start_s if span else None
        tokens = span.tokens if span else 0
        prompts = sum(len(stream.prompt_tokens) for stream in self.streams)
        passes = self._passes()
        return Summary(
            streams=tuple(self._stream_summaries()),
            ttft_s=start,
            prefill_tokens_per_s=prompts / start if start else None,
            decode_tokens_per_s=tokens / span.seconds if span and span.seconds > 0 else None,
            cycles_per_token=span.cycles / tokens if span and span.cycles and tokens else None,
            dram_utilisation=self._utilisation(span, passes),
            tokens_per_weight_pass=tokens / passes if passes else None,
            target=info,
            by_host=self._host is not None,
        )

    def _stream_summaries(self) -> Generator[StreamSummary, None, None]:
        for index, stream in enumerate(self.streams):
            seed = self._request.sampling.of_stream(index).seed
            yield stream.summary(seed, self._request.max_tokens)

    def _passes(self) -> int | None:
        """How often decoding read the weights; None where nothing tells.

        Without drafts each pass gives a token to every stream that still goes on.
        """
        if self._target.info.clock_hz is None or (self._host and self._host.restarted):
            return None
        if self._counters:
            prompts = [len(stream.prompt_tokens) for stream in self.streams]
            before = prefill_passes(prompts, self._target.info.token_rows)
            return max(0, self._counters["tokens"] - before)
        longest = max(len(stream.events) for stream in self.streams)
        return max(0, longest - 1) if self._request.drafts == 0 else None

    def _utilisation(self, span: Span | None, passes: int | None) -> float | None:
        """Share of the DRAM port's bandwidth, while decoding, that moved what passes need."""
        port_bytes = self._target.info.port_bytes
        if not span or not span.cycles or not passes or not port_bytes:
            return None
        return bytes_needed(self._image, self._decoded(), passes) / (span.cycles * port_bytes)

    def _decoded(self) -> Generator[range, None, None]:
        """Positions of the tokens that decoding ran, of each stream."""
        for stream in self.streams:
            start = len(stream.prompt_tokens)
            yield range(start, start + max(0, len(stream.events) - 1))


def _encode(image: Image, prompt: str) -> list[int]:
    if not prompt.strip():
        raise UsageError("the prompt is empty")
    context, longest = image.plan.architecture.context, image.tokenizer.longest
    # So long that counting its tokens would only waste time.
    hopeless = len(prompt) > (context + 1) * longest
    tokens = [] if hopeless else image.tokenizer.encode(prompt)
    if hopeless or len(tokens) > context:
        count = f"more than {context}" if hopeless else str(len(tokens))
        raise UsageError(
            f"the prompt has {count} tokens, the model's context is {context}", "shorten the prompt"
        )
    if not tokens:
        raise UsageError("the prompt has no text that the model's tokenizer keeps")
    return tokens
