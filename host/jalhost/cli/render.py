"""Figures and texts as people read them."""

from collections import Counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jalhost.engine.summary import StreamSummary, Summary
    from jalhost.engine.target import TargetInfo

_CONTROL = {*range(32), *range(127, 160)} - set(b"\n\t")
_REPLACED = dict.fromkeys(_CONTROL, "\N{REPLACEMENT CHARACTER}")


def printable(text: str) -> str:
    """Text that cannot steer a terminal: control characters but newline and tab are replaced."""
    return text.translate(_REPLACED)


def summary_line(summary: "Summary") -> str:
    """One line: how much, how fast, and what kind of figures these are."""
    parts = [
        _amount(summary),
        _rate("prefill", summary.prefill_tokens_per_s),
        _rate("decode", summary.decode_tokens_per_s),
        f"TTFT {1000 * summary.ttft_s:.1f} ms" if summary.ttft_s is not None else "",
        f"{summary.cycles_per_token:,.0f} cycles/token" if summary.cycles_per_token else "",
        f"{summary.dram_utilisation:.1%} of the DRAM port" if summary.dram_utilisation else "",
        _sharing(summary.tokens_per_weight_pass),
    ]
    figures = provenance(summary.target, summary.by_host)
    return f"[{', '.join(part for part in parts if part)}; {figures}]"


def _amount(summary: "Summary") -> str:
    """How many tokens, and how many streams ended for which reason."""
    streams = summary.streams
    if len(streams) == 1:
        return stream_length(streams[0])
    ends = Counter(stream.finish_reason.value for stream in streams)
    reasons = ", ".join(f"{count} {reason}" for reason, count in ends.items())
    tokens = sum(len(stream.token_ids) for stream in streams)
    return f"{tokens} tokens in {len(streams)} streams ({reasons})"


def stream_length(stream: "StreamSummary") -> str:
    """How many tokens a stream generated, and why it ended."""
    return f"{len(stream.token_ids)} tokens ({stream.finish_reason.value})"


def _sharing(tokens: float | None) -> str:
    return f"{tokens:.2f} tokens per weight pass" if tokens else ""


def _rate(name: str, value: float | None) -> str:
    return f"{name} {value:,.1f} tokens/s" if value is not None else ""


def provenance(target: "TargetInfo", by_host: bool = False) -> str:
    """What kind of figures a target's are, and what they leave out where the host samples."""
    sampled = "sampled by the host, times are the engine's alone; " if by_host else ""
    if target.clock_hz is None:
        return f"{sampled}{target.provenance.value}: the times are this computer's, not hardware's"
    return f"{sampled}{target.provenance.value} at {target.clock_hz / 1e6:g} MHz"


def table(rows: list[tuple[str, str]]) -> str:
    """Two columns, aligned."""
    width = max(len(name) for name, _ in rows)
    return "\n".join(f"{name:<{width}}  {value}" for name, value in rows)
