"""Speculation against plain decoding, in simulation: ``python -m tools.speculation [IMAGE...]``.

Each prompt is continued greedily with and without drafts on the same simulated system. The tokens
must be the same, or the command fails.
"""

import argparse
import statistics
import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from jalgateware.golden.sampler import Sampling
from jalhost.cli.options import DEMO_MODEL, open_model, say
from jalhost.engine.figures import prefill_passes
from jalhost.engine.target import Request, Target
from jalhost.engine.targets import open_target
from jalhost.models.image import Image
from tools.drafting import PROMPTS

HEAD = """| model | prompts x tokens | tokens/pass | plain, cycles/token | drafts | gain | worst |
|---|---|---:|---:|---:|---:|---:|
"""


@dataclass(frozen=True)
class Run:
    """Tokens behind a prompt, cycles from the first to the last, and passes in between."""

    tokens: list[int]
    cycles: int
    passes: int


def run(target: Target, prompt: tuple[int, ...], count: int, drafts: int) -> Run:
    """Continues a prompt greedily."""
    request = Request((prompt,), count, Sampling(), drafts)
    with closing(target.run(request)) as samples:
        found = list(samples)
    counters = target.counters()
    first, last = found[0].cycles, found[-1].cycles
    assert counters, "a simulator counts"
    assert first is not None
    assert last is not None
    before = prefill_passes([len(prompt)], target.info.token_rows)
    return Run([sampled.token for sampled in found], last - first, counters["tokens"] - before)


def compare(image: Image, texts: list[str], count: int) -> Iterator[tuple[Run, Run]]:
    """Plain decoding and speculation of each prompt.

    Raises:
        ValueError: the tokens differ.
    """
    with open_target("sim", say) as target:
        target.load(image)
        for text in texts:
            prompt = tuple(image.tokenizer.encode(text))
            plain, drafted = (
                run(target, prompt, count, drafts) for drafts in (0, target.info.token_rows - 1)
            )
            if plain.tokens != drafted.tokens:
                raise ValueError(f"{image.name}: drafts change what follows {text!r}")
            yield plain, drafted


def line(image: Image, texts: list[str], count: int) -> str:
    """A line of the table. What counts are the tokens behind each prompt's first one."""
    pairs = list(compare(image, texts, count))
    tokens = sum(len(plain.tokens) - 1 for plain, _ in pairs)
    passes = sum(drafted.passes for _, drafted in pairs)
    slow, fast = (sum(pair[i].cycles for pair in pairs) for i in (0, 1))
    gains = [plain.cycles / drafted.cycles for plain, drafted in pairs]
    say(f"{image.name}: {statistics.median(gains):.2f} times as fast in the median")
    return (
        f"| {image.name} | {len(pairs)} x {count} | {tokens / passes:.2f} | {slow / tokens:,.0f} "
        f"| {fast / tokens:,.0f} | {slow / fast:.2f} x | {min(gains):.2f} x |\n"
    )


def main() -> int:
    """Prints a table; returns 1 where tokens differ."""
    parser = argparse.ArgumentParser(prog="python -m tools.speculation", description=__doc__)
    parser.add_argument("images", nargs="*", type=Path, default=[DEMO_MODEL])
    parser.add_argument("--count", type=int, default=128, help="tokens behind each prompt")
    parser.add_argument("--prompts", type=int, default=len(PROMPTS), help="how many")
    options = parser.parse_args()
    texts = list(PROMPTS[: options.prompts])
    try:
        lines = [line(open_model(path, None), texts, options.count) for path in options.images]
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(HEAD + "".join(lines), end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
