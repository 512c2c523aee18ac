"""Measures how many tokens a pass yields: ``python -m tools.drafting [IMAGE...]``.

Texts are generated on the emulator, and the golden drafter replays them, with the image's table and
without it.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

from jalgateware.contract.config import MAX_TOKENS
from jalgateware.golden.drafter import Drafter, sampling_passes
from jalgateware.golden.sampler import Sampling
from jalhost.cli.options import DEMO_MODEL, open_model
from jalhost.engine.emulator import Emulator
from jalhost.engine.target import Request
from jalhost.models.image import Image

PROMPTS = (
    "Once upon a time",
    "One day, a little girl named Lily",
    "Tom had a red ball",
    "The cat sat on the mat",
    "There was a big tree",
    "Lily and Ben went to the park",
    "A little dog was very sad",
    "Mom said to Tim",
    "In the forest there lived a small bear",
    "Once there was a brave boy",
    "The sun was shining and the birds were singing",
    "Sara liked to play with her toys",
    "A big frog jumped into the water",
    "The old man",
    "Max wanted to find a friend",
    "One night, the moon",
    "The princess lived in a castle",
    "It was a rainy day",
    "Ben found a box in the garden",
    "The bird could not fly",
)


def runs(image: Image, count: int, temperature: float) -> Iterator[tuple[list[int], list[int]]]:
    """Prompts and what is sampled behind each, with seeds counted up."""
    target = Emulator()
    target.load(image)
    for seed, text in enumerate(PROMPTS, start=1):
        prompt = image.tokenizer.encode(text)
        sampling = Sampling.from_temperature(temperature, seed)
        request = Request((tuple(prompt),), count, sampling)
        yield prompt, [sampled.token for sampled in target.run(request)]


def tokens_per_pass(table: list[int], texts: list[tuple[list[int], list[int]]]) -> float:
    """Mean over all passes that sample, with as many drafts as there can be."""
    passes = [
        tokens
        for prompt, sampled in texts
        for tokens in sampling_passes(Drafter(table), prompt, sampled, MAX_TOKENS - 1)
    ]
    return sum(passes) / len(passes)


def main() -> None:
    """Prints a table for documentation."""
    parser = argparse.ArgumentParser(prog="python -m tools.drafting", description=__doc__)
    parser.add_argument("images", nargs="*", type=Path, default=[DEMO_MODEL])
    parser.add_argument("--count", type=int, default=128, help="tokens of each text")
    options = parser.parse_args()
    print("| tokens/pass | temperature | nothing preloaded | preloaded |\n|---|---|---|---|")
    for path in options.images:
        image = open_model(path, None)
        table = [] if image.drafts is None else image.drafts.tolist()
        for temperature in (0.0, 0.8):
            texts = list(runs(image, options.count, temperature))
            figures = [tokens_per_pass(entries, texts) for entries in ([], table)]
            print(f"| {image.name} | {temperature} | {figures[0]:.2f} | {figures[1]:.2f} |")


if __name__ == "__main__":
    main()
