"""Files of each architecture, converted, in simulation: token for token as the golden model."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from jalgateware.contract.config import STANDARD
from jalgateware.golden.machine import Machine
from jalgateware.golden.sampler import Sampling
from jalhost.engine.generation import Generation
from jalhost.engine.simulator import Simulator
from jalhost.engine.target import Target
from jalhost.models.architecture import Architecture
from jalhost.models.convert import prepare, read_model
from jaltest.model_files import write_gguf
from jaltest.tiny import tiny_model

pytestmark = [pytest.mark.sim, pytest.mark.slow]

SIZES = Architecture(
    dim=64, hidden=96, layers=2, heads=4, kv_heads=2, head_dim=24, vocabulary=320, context=48,
    rope_theta=1e6, epsilon=1e-6, tied=False,
)  # fmt: skip

PARTS: dict[str, dict[str, Any]] = {
    "llama": {},
    "qwen2": {"qkv_bias": True},
    "qwen3": {"qk_norm": True},
}

TOKENS = 16


@pytest.fixture(scope="module")
def simulator() -> Iterator[Target]:
    target = Simulator("sim", print)
    yield target
    target.close()


@pytest.mark.parametrize("family", PARTS)
@pytest.mark.parametrize("temperature", [0.0, 0.9])
def test_texts_are_the_golden_models(
    simulator: Target, tmp_path: Path, family: str, temperature: float
) -> None:
    a = dataclasses.replace(SIZES, **PARTS[family])
    write_gguf(tiny_model(a, seed=5), tmp_path / "x.gguf", size=a.vocabulary, family=family)
    image = dataclasses.replace(read_model(tmp_path / "x.gguf", None), stop_tokens=())
    assert image.plan.architecture.as_dict() == a.as_dict() | {
        "epsilon": pytest.approx(a.epsilon),
        "rope_theta": pytest.approx(a.rope_theta),
    }
    simulator.load(image)
    generation = Generation(simulator, image, "the one", TOKENS, temperature, 7)
    for _ in generation:
        pass
    summary = generation.summary()
    executable = prepare(image, STANDARD)
    machine = Machine(STANDARD, executable.memory, executable.program, a.context)
    sampling = Sampling.from_temperature(temperature, 7) if temperature else Sampling(seed=7)
    tokens = list(summary.prompt_token_ids)
    prompt = len(tokens)
    while len(tokens) < prompt + TOKENS:
        for position in range(prompt - 1) if len(tokens) == prompt else ():
            machine.step(tokens[position], position, None)
        sample = machine.step(tokens[-1], len(tokens) - 1, sampling)
        assert sample is not None
        tokens.append(sample)
    assert summary.token_ids == tokens[prompt:]
    assert len(set(summary.token_ids)) > 1
