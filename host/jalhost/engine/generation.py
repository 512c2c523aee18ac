"""From a prompt to a stream of text on any target, and the figures that go with it."""

from collections.abc import Generator
from contextlib import closing
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from jalgateware.golden.sampler import Sampling
from jalhost.engine import defaults
from jalhost.engine.target import Request, Sampled, Target, TargetInfo
from jalhost.errors import DeviceError, UsageError
from jalhost.models.convert import needed_bytes
from jalhost.models.image import Image
from jalhost.models.tokenizer import StreamDecoder


class FinishReason(StrEnum):
    """Why a generation ended."""

    LENGTH = "length"
    STOP = "stop"
    CONTEXT = "context"


@dataclass(frozen=True)
class TokenEvent:
    """A generated token and the characters that it completes."""

    token: int
    text: str
    sampled: Sampled


@dataclass(frozen=True)
class Summary:
    """Everything about a finished generation.

    ``token_ids``: generated tokens, without the stop token that ended them. Rates and times come
    from the device's cycle stamps, or from the emulator's clock where ``cycles_per_token`` is None.
    None stands for what cannot be told: no token, or no hardware.
    """

    text: str
    token_ids: list[int]
    prompt_token_ids: list[int]
    finish_reason: FinishReason
    ttft_s: float | None
    prefill_tokens_per_s: float | None
    decode_tokens_per_s: float | None
    cycles_per_token: float | None
    dram_utilisation: float | None
    target: TargetInfo

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "text": self.text,
            "token_ids": self.token_ids,
            "prompt_token_ids": self.prompt_token_ids,
            "prompt_tokens": len(self.prompt_token_ids),
            "generated_tokens": len(self.token_ids),
            "finish_reason": self.finish_reason.value,
            "ttft_s": self.ttft_s,
            "prefill_tokens_per_s": self.prefill_tokens_per_s,
            "decode_tokens_per_s": self.decode_tokens_per_s,
            "cycles_per_token": self.cycles_per_token,
            "dram_utilisation": self.dram_utilisation,
            "clock_hz": self.target.clock_hz,
            "provenance": self.target.provenance.value,
            "target": self.target.name,
        }


class Generation:
    """One prompt on its way: iterate over it for the tokens, then ask for the summary.

    Raises:
        UsageError: the prompt is empty, not valid Unicode or longer than the context, or a
        parameter is out of range.
    """

    def __init__(
        self,
        target: Target,
        image: Image,
        prompt: str = defaults.PROMPT,
        max_tokens: int = defaults.MAX_TOKENS,
        temperature: float = 0.0,
        seed: int = 0,
    ) -> None:
        self.prompt = prompt
        self._target = target
        self._image = image
        self._max_tokens = max_tokens
        if max_tokens < 1:
            raise UsageError(f"the number of tokens is 1 or more, not {max_tokens}")
        if not 0 <= seed < 1 << 32:
            raise UsageError(f"the seed is 0 to {(1 << 32) - 1}, not {seed}")
        try:
            self._sampling = Sampling.from_temperature(temperature, seed)
        except ValueError as error:
            raise UsageError(str(error)) from error
        self.prompt_tokens = _encode(image, prompt)
        self._events: list[TokenEvent] = []
        self._stopped = False
        self.tail = ""

    def __iter__(self) -> Generator[TokenEvent, None, None]:
        """Runs the prompt; each event carries a token and the characters that it completes.

        Close the iterator when you leave it early: that stops the engine.
        """
        request = Request(tuple(self.prompt_tokens), self._max_tokens, self._sampling)
        decoder = StreamDecoder(self._image.tokenizer)
        for token in self.prompt_tokens:
            decoder.feed(token)
        with closing(self._target.run(request)) as samples:
            for sampled in samples:
                self._check(sampled.token)
                self._stopped = sampled.token in self._image.stop_tokens
                text = "" if self._stopped else decoder.feed(sampled.token)
                event = TokenEvent(sampled.token, text, sampled)
                self._events.append(event)
                yield event
        self.tail = decoder.finish()

    def _check(self, token: int) -> None:
        vocabulary = self._image.plan.architecture.vocabulary
        if token >= vocabulary:
            raise DeviceError(
                f"{self._target.info.name} sampled token {token}, the vocabulary has {vocabulary}",
                "its engine computes nonsense",
            )

    def summary(self) -> Summary:
        """Figures of what was generated so far."""
        events = [event for event in self._events if not self._is_stop(event)]
        sampled = [event.sampled for event in self._events]
        first = sampled[0].seconds if sampled else None
        span = sampled[-1].seconds - sampled[0].seconds if sampled else 0.0
        text = self.prompt + "".join(event.text for event in events) + self.tail
        return Summary(
            text=text,
            token_ids=[event.token for event in events],
            prompt_token_ids=self.prompt_tokens,
            finish_reason=self._finish_reason(),
            ttft_s=first,
            prefill_tokens_per_s=len(self.prompt_tokens) / first if first else None,
            decode_tokens_per_s=(len(sampled) - 1) / span if span > 0 else None,
            cycles_per_token=_cycles_per_token(sampled),
            dram_utilisation=self._utilisation(sampled),
            target=self._target.info,
        )

    def _is_stop(self, event: TokenEvent) -> bool:
        return event.token in self._image.stop_tokens

    def _finish_reason(self) -> FinishReason:
        if self._stopped:
            return FinishReason.STOP
        if len(self._events) >= self._max_tokens:
            return FinishReason.LENGTH
        return FinishReason.CONTEXT

    def _utilisation(self, sampled: list[Sampled]) -> float | None:
        """Share of the DRAM port's bandwidth, while decoding, that moved what a token needs."""
        port_bytes = self._target.info.port_bytes
        cycles = _decode_cycles(sampled)
        if not cycles or not port_bytes:
            return None
        start = len(self.prompt_tokens)
        needed = sum(needed_bytes(self._image, start + i) for i in range(len(sampled) - 1))
        return needed / (cycles * port_bytes)


def _decode_cycles(sampled: list[Sampled]) -> int | None:
    """Cycles from the first sampled token to the last."""
    if len(sampled) < 2 or sampled[0].cycles is None or sampled[-1].cycles is None:
        return None
    return sampled[-1].cycles - sampled[0].cycles


def _cycles_per_token(sampled: list[Sampled]) -> float | None:
    cycles = _decode_cycles(sampled)
    return None if cycles is None else cycles / (len(sampled) - 1)


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
    return tokens
