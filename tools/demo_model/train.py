"""Trains the demo model: ``python -m tools.demo_model.train [--out DIR] [--minutes M] [--seed S]``.

Tells the corpus, trains the vocabulary and the model on one thread, and writes
``demo.bin`` and ``demo_tok.bin``, a llama2.c checkpoint and its tokenizer. The same seed gives the
same model on the same machine, unless ``--minutes`` cuts the training short.
"""

# PyTorch's backward() has no types.
# mypy: allow-untyped-calls

import argparse
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random

import torch
from torch import Tensor
from torch.nn import functional

from tools.demo_model import tokenizer
from tools.demo_model.corpus import Corpus
from tools.demo_model.export import write_checkpoint
from tools.demo_model.grammar import tales
from tools.demo_model.model import Llama, Shape

UNSEEN = 500
"""Tales that measure the trained model."""


@dataclass(frozen=True)
class Recipe:
    """How to train.

    ``rows``: tales per step; few, since small steps find sooner how to remember. ``warm_up``: share
    of the steps in which the learning rates rise; after that they fall to 0 on a straight line.
    ``matrix_rate`` is Muon's, for the layers' matrices, ``rate`` is AdamW's, for embedding and
    gains. ``fade``: shares of the steps between which the emphasis of repeated words fades away, so
    that the model ends with the tales as they are.
    """

    tales: int = 60_000
    steps: int = 7500
    rows: int = 6
    warm_up: float = 0.02
    matrix_rate: float = 3e-3
    rate: float = 3e-3
    decay: float = 0.1
    fade: tuple[float, float] = (0.4, 0.7)

    def emphasis(self, progress: float) -> float:
        """How much of the emphasis holds after this share of the steps: 1 to 0."""
        start, end = self.fade
        return min(1.0, max(0.0, (end - progress) / (end - start)))


def fit(
    model: Llama, corpus: Corpus, recipe: Recipe, seed: int, minutes: float | None = None
) -> Iterator[tuple[int, float]]:
    """Trains a model in place; yields each step's number and its loss in nats per token.

    ``minutes``: the learning rate and the emphasis run through their course in this time if the
    steps take longer.
    """
    random = Random(seed)
    optimisers = _optimisers(model, recipe)
    start = time.monotonic()
    step, progress = 0, 0.0
    while progress < 1:
        tokens, emphasis = corpus.draw(random, recipe.rows)
        losses = token_losses(model, tokens)
        plain = emphasis[:, 1:].clamp(max=1)
        weights = plain + recipe.emphasis(progress) * (emphasis[:, 1:] - plain)
        model.zero_grad()
        ((losses * weights).sum() / weights.sum()).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        share = min((progress + 1e-3) / recipe.warm_up, 1 - progress)
        for optimiser, rate in optimisers:
            for group in optimiser.param_groups:
                group["lr"] = rate * share
            optimiser.step()
        step += 1
        progress = step / recipe.steps
        if minutes is not None:
            progress = max(progress, (time.monotonic() - start) / (60 * minutes))
        yield step, ((losses.detach() * plain).sum() / plain.sum()).item()


def token_losses(model: Llama, tokens: Tensor) -> Tensor:
    """Loss in nats (rows, tokens - 1) of each of the tokens (rows, tokens) but the first."""
    logits = model(tokens[:, :-1])
    losses = functional.cross_entropy(
        logits.flatten(0, 1), tokens[:, 1:].flatten(), reduction="none"
    )
    return losses.view(len(tokens), -1)


def evaluate(model: Llama, corpus: Corpus) -> float:
    """Mean loss in nats per token over all tales of a corpus."""
    total, count = 0.0, 0.0
    with torch.no_grad():
        for number in range(len(corpus)):
            losses = token_losses(model, corpus.batch([number])[0])
            total, count = total + losses.sum().item(), count + losses.numel()
    return total / count


def _optimisers(model: Llama, recipe: Recipe) -> list[tuple[torch.optim.Optimizer, float]]:
    """The optimisers, each with its highest learning rate.

    Muon on the matrices gets further in the same time than AdamW alone: a loss of 0.65 against 0.72
    nats per token in a minute.
    """
    matrices = [weight for weight in model.blocks.parameters() if weight.ndim == 2]
    gains = [weight for weight in model.parameters() if weight.ndim == 1]
    muon = torch.optim.Muon(matrices, weight_decay=recipe.decay, adjust_lr_fn="match_rms_adamw")
    adam = torch.optim.AdamW(
        [model.embedding.weight, *gains], betas=(0.9, 0.95), weight_decay=recipe.decay
    )
    return [(muon, recipe.matrix_rate), (adam, recipe.rate)]


def main() -> None:
    """Parses the command line, trains and writes the files."""
    parser = argparse.ArgumentParser(description="Train the demo model.")
    parser.add_argument("--out", type=Path, default=Path("build/demo-model"), help="output folder")
    parser.add_argument("--minutes", type=float, help="most minutes to train")
    parser.add_argument("--seed", type=int, default=1, help="of the corpus and the training")
    options = parser.parse_args()

    recipe, shape = Recipe(), Shape()
    torch.set_num_threads(1)  # the order of sums, and so the result, depends on it
    torch.manual_seed(options.seed)
    start = time.monotonic()
    texts = [tale.text for tale in tales(recipe.tales, options.seed)]
    vocabulary = tokenizer.train(texts, shape.vocabulary)
    corpus = Corpus(texts, vocabulary)
    assert corpus.longest <= shape.context, corpus.longest
    model = Llama(shape)
    parameters = sum(weights.numel() for weights in model.parameters())
    print(f"{len(corpus)} tales, {corpus.tokens} tokens, {parameters} parameters", flush=True)
    for step, loss in fit(model, corpus, recipe, options.seed, options.minutes):
        if step % 100 == 0:
            seconds = time.monotonic() - start
            print(f"step {step} of {recipe.steps}: loss {loss:.4f}, {seconds:.0f} s", flush=True)

    unseen = Corpus([tale.text for tale in tales(UNSEEN, options.seed + 1)], vocabulary)
    print(f"loss on {UNSEEN} tales of another seed: {evaluate(model, unseen):.4f}")
    options.out.mkdir(parents=True, exist_ok=True)
    write_checkpoint(model, options.out / "demo.bin")
    tokenizer.write_tokenizer(vocabulary.tokenizer, options.out / "demo_tok.bin")
    print(f"wrote {options.out}/demo.bin and demo_tok.bin")


if __name__ == "__main__":
    main()
