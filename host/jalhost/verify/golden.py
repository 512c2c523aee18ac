"""The golden model at the side of a device: the same program, and what DRAM must hold then."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from jalgateware.contract.config import EngineConfig
from jalgateware.contract.isa import Instruction, Opcode
from jalgateware.golden.machine import Machine
from jalgateware.golden.sampler import Sampling
from jalhost.models.compiler import Layout, layout
from jalhost.models.convert import prepare
from jalhost.models.image import Image

Cache = npt.NDArray[np.int16]
"""Keys or values of a layer: (kv_heads, context, head_dim)."""

PARTS = ("key", "value")


class Golden:
    """An image laid out for a device, and the golden model that runs it.

    Args:
        image: the model.
        config: the device's engine.
    """

    def __init__(self, image: Image, config: EngineConfig) -> None:
        executable = prepare(image, config)
        self.image, self.config = image, config
        self.architecture = image.plan.architecture
        self.layout: Layout = layout(self.architecture, config, image.plan.formats)
        self.program: list[Instruction] = executable.program
        self.memory = executable.memory
        self.machine = Machine(config, self.memory, self.program, self.architecture.context)

    @property
    def first(self) -> int:
        """Index of the first instruction behind those that set registers."""
        return next(i for i, item in enumerate(self.program) if item.opcode is not Opcode.SET)

    def generate(self, prompt: Sequence[int], count: int, sampling: Sampling) -> list[int]:
        """The tokens that a device samples behind a prompt, stop token included."""
        found: list[int] = []
        tokens = list(prompt)
        for position in range(self.architecture.context):
            last = position >= len(prompt) - 1
            token = self.machine.step(tokens[position], position, sampling if last else None)
            if token is None:
                continue
            found.append(token)
            tokens.append(token)
            if len(found) == count or token in self.image.stop_tokens:
                break
        return found

    def cache(self, layer: int, part: int) -> Cache:
        """Keys (0) or values (1) of a layer, as far as they were computed."""
        base = (2 * layer + part) * self.layout.value_offset
        return self.machine.cache[base]

    def cache_place(self, layer: int, part: int, head: int, position: int) -> int:
        """Bytes from the start of the KV cache to a head's elements of a position."""
        place = self.layout
        words = (2 * layer + part) * place.value_offset
        words += head * place.head_stride + position * place.head_words
        return words * self.config.lanes

    def name(self, index: int) -> str:
        """What an instruction does, as ``2.gate_up``."""
        inner = index - self.first
        if inner < 2:
            return ("embedding", "rope")[inner]
        layer, step = divmod(inner - 2, len(STEPS))
        if layer < self.architecture.layers:
            return f"{layer}.{STEPS[step]}"
        return ("classifier", "end")[inner - 2 - len(STEPS) * self.architecture.layers]

    def index(self, layer: int, step: str) -> int:
        """The instruction of a layer's step."""
        return self.first + 2 + len(STEPS) * layer + STEPS.index(step)


STEPS = ("query", "key", "value", "attend", "output", "gate_up", "down")
"""A layer's instructions, in order."""


def cache_bytes(golden: Golden, part: Cache) -> bytes:
    """Elements (positions, head_dim) as the cache in DRAM holds them: words filled with zeros."""
    width = golden.layout.head_words * golden.config.lanes // 2
    words: Any = np.zeros((len(part), width), dtype="<i2")
    words[:, : part.shape[1]] = part
    return bytes(words.tobytes())
