"""Everything about a finished generation, for people's lines and for JSON."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from jalhost.engine.target import TargetInfo


class FinishReason(StrEnum):
    """Why a stream ended."""

    LENGTH = "length"
    STOP = "stop"
    CONTEXT = "context"


@dataclass(frozen=True)
class StreamSummary:
    """What became of a prompt.

    ``token_ids``: generated tokens, without the stop token that ended them. ``seed``: with which a
    request of its own gives the same text. ``ttft_s`` is None where nothing was sampled.
    """

    prompt: str
    seed: int
    text: str
    token_ids: list[int]
    prompt_token_ids: list[int]
    finish_reason: FinishReason
    ttft_s: float | None

    def as_dict(self) -> dict[str, Any]:
        """For JSON, without what the request says anyway."""
        return {
            "text": self.text,
            "token_ids": self.token_ids,
            "prompt_token_ids": self.prompt_token_ids,
            "prompt_tokens": len(self.prompt_token_ids),
            "generated_tokens": len(self.token_ids),
            "finish_reason": self.finish_reason.value,
            "ttft_s": self.ttft_s,
        }


@dataclass(frozen=True)
class Summary:
    """The streams of a run, and their figures together.

    Rates and times come from the device's cycle stamps, or from the emulator's clock where
    ``cycles_per_token`` is None. None stands for what cannot be told: no token, or no hardware.
    ``ttft_s``: until each stream has its first token; decoding is what comes then. ``by_host``:
    the host sampled, and rates and times are those of the engine alone.
    """

    streams: tuple[StreamSummary, ...]
    ttft_s: float | None
    prefill_tokens_per_s: float | None
    decode_tokens_per_s: float | None
    cycles_per_token: float | None
    dram_utilisation: float | None
    tokens_per_weight_pass: float | None
    target: TargetInfo
    by_host: bool = False

    @property
    def text(self) -> str:
        """Of the first stream."""
        return self.streams[0].text

    @property
    def token_ids(self) -> list[int]:
        """Of the first stream."""
        return self.streams[0].token_ids

    @property
    def prompt_token_ids(self) -> list[int]:
        """Of the first stream."""
        return self.streams[0].prompt_token_ids

    @property
    def finish_reason(self) -> FinishReason:
        """Of the first stream."""
        return self.streams[0].finish_reason

    def as_dict(self) -> dict[str, Any]:
        """For JSON: a single stream's entries stand beside the figures, several in ``streams``."""
        if len(self.streams) == 1:
            return self.streams[0].as_dict() | self._figures()
        return {
            "streams": [
                {"prompt": stream.prompt, "seed": stream.seed} | stream.as_dict()
                for stream in self.streams
            ],
            "prompt_tokens": sum(len(stream.prompt_token_ids) for stream in self.streams),
            "generated_tokens": sum(len(stream.token_ids) for stream in self.streams),
        } | self._figures()

    def _figures(self) -> dict[str, Any]:
        return {
            "ttft_s": self.ttft_s,
            "prefill_tokens_per_s": self.prefill_tokens_per_s,
            "decode_tokens_per_s": self.decode_tokens_per_s,
            "cycles_per_token": self.cycles_per_token,
            "dram_utilisation": self.dram_utilisation,
            "tokens_per_weight_pass": self.tokens_per_weight_pass,
            "sampled_by": "host" if self.by_host else "engine",
            "clock_hz": self.target.clock_hz,
            "provenance": self.target.provenance.value,
            "target": self.target.name,
        }
