"""Texts from targets, for tests that compare them."""

import json
import subprocess
import sys
from typing import Any

from jalhost.engine.generation import Generation, Summary
from jalhost.engine.target import Target
from jalhost.models.image import Image

PROMPTS = [
    "Once upon a time",
    "Lily",
    "The dog was big. The cat",
    "One day, a boy named Tim went to the park. He saw a",
    "She said",
    "It was a sunny day and",
    "Tom and his mom",
    "I",
    "Hello! Zoë's café",
    "They were happy. The end.",
]

LARGE = 100
"""Dim of models whose tokens take so long that a part of the prompts has to do."""

JALHOST = [sys.executable, "-c", "from jalhost.cli.main import main; main()"]
"""The command, of this working copy."""


def prompts_for(image: Image) -> list[str]:
    """All prompts, or the first three of them for a large model."""
    return PROMPTS[:3] if image.plan.architecture.dim > LARGE else PROMPTS


def generate(
    target: Target,
    image: Image,
    prompts: str | list[str],
    temperature: float = 0.0,
    seed: int = 0,
    max_tokens: int = 24,
    drafts: int = 0,
) -> Summary:
    generation = Generation(target, image, prompts, max_tokens, temperature, seed, drafts)
    for _ in generation:
        pass
    return generation.summary()


def run_json(*arguments: str) -> Any:
    """What the command prints as JSON."""
    run = subprocess.run([*JALHOST, *arguments], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout)
