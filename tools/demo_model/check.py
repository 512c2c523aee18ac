"""Measures how consistent a model's tales are: ``python -m tools.demo_model.check [MODEL]``.

Generates tales as users do, on the emulator (bit for bit what the engine computes), and reports how
many keep one hero, friend and thing throughout.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

from jalhost.cli.options import DEMO_MODEL, open_model
from jalhost.engine.emulator import Emulator
from jalhost.engine.generation import FinishReason, Generation
from jalhost.models.image import Image
from tools.demo_model.consistency import problems

PROMPTS = (
    "Once upon a time",
    "Once upon a time, there was a little robot",
    "Once upon a time, near the sea,",
    "Long ago",
    "There was a shy dragon named",
    "Do you know the tale of",
    "My name is",
    "Once upon a time",
)
LIMIT = 256
"""Tokens in which a tale must have ended."""


def generate(
    image: Image, prompts: list[str], temperature: float, seed: int
) -> Iterator[tuple[str, int, list[str]]]:
    """Yields a tale, its tokens and its problems for each prompt, with seeds counted up."""
    target = Emulator()
    target.load(image)
    for number, prompt in enumerate(prompts):
        generation = Generation(target, image, prompt, LIMIT, temperature, seed + number)
        for _ in generation:
            pass
        summary = generation.summary()
        ended = summary.finish_reason is FinishReason.STOP
        length = len(summary.prompt_token_ids) + len(summary.token_ids)
        found = problems(summary.text) if ended else [f"no end after {length} tokens"]
        yield summary.text, length, found


def main() -> None:
    """Parses the command line, generates and reports."""
    parser = argparse.ArgumentParser(description="Measure how consistent a model's tales are.")
    parser.add_argument(
        "model", type=Path, nargs="?", default=DEMO_MODEL, help=".jal or llama2.c .bin"
    )
    parser.add_argument("--tokenizer", type=Path, help="llama2.c tokenizer.bin of a checkpoint")
    parser.add_argument("--count", type=int, default=64, help="tales")
    parser.add_argument("--temperature", type=float, default=0.8)
    parser.add_argument("--seed", type=int, default=0, help="of the first tale")
    parser.add_argument("--prompt", help="instead of the usual prompts")
    options = parser.parse_args()

    prompts = (options.prompt,) if options.prompt else PROMPTS
    prompts_in_turn = [prompts[number % len(prompts)] for number in range(options.count)]
    image = open_model(options.model, options.tokenizer)
    lengths: list[int] = []
    consistent = 0
    for text, length, found in generate(image, prompts_in_turn, options.temperature, options.seed):
        print(f"{text}\n  [{length} tokens] {'; '.join(found) or 'consistent'}\n")
        lengths.append(length)
        consistent += not found
    print(f"{consistent} of {options.count} tales are consistent")
    print(f"{min(lengths)} to {max(lengths)} tokens, {sum(lengths) / len(lengths):.0f} on average")


if __name__ == "__main__":
    main()
