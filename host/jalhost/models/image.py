"""A converted model in memory: what all targets run."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from jalgateware.contract.config import EngineConfig
from jalgateware.contract.formats import BLOCK, MAX_BLOCKS, POSITION_BITS
from jalgateware.golden.mx import Bytes
from jalhost.models.plan import Plan
from jalhost.models.tokenizer import BOS, EOS, Codec

GEOMETRY = EngineConfig(
    lanes=16,
    mxfp4=True,
    qkv_bias=True,
    qk_norm=True,
    max_dim=BLOCK * MAX_BLOCKS,
    max_hidden=BLOCK * MAX_BLOCKS,
    max_heads=BLOCK * MAX_BLOCKS,
    max_kv_heads=BLOCK * MAX_BLOCKS,
    max_group=BLOCK * MAX_BLOCKS,
    max_head_dim=BLOCK * MAX_BLOCKS,
    max_context=1 << POSITION_BITS,
    max_instructions=1 << 16,
)
"""Gateware that the tensors of an image are laid out for.

Its limits are those of the number formats: an image may need larger gateware than the default.
"""

Tensors = dict[str, npt.NDArray[np.generic]]


@dataclass(frozen=True)
class Image:
    """A model ready for an engine.

    ``program`` (instructions, 4) uint32; ``rope`` (context, head_dim) int16; ``tape`` (bytes,)
    uint8, the matrices without the tables before them, laid out for GEOMETRY. ``stop_tokens`` end a
    generation. ``drafts`` (TABLE_WORDS,) uint32: the drafter's preloaded entries. ``constants``
    (layers, entries) int32: biases and gains, where the model has some.
    """

    name: str
    source: str
    plan: Plan
    program: npt.NDArray[np.uint32]
    rope: npt.NDArray[np.int16]
    tape: Bytes
    tokenizer: Codec
    stop_tokens: tuple[int, ...] = (BOS, EOS)
    drafts: npt.NDArray[np.uint32] | None = None
    constants: npt.NDArray[np.int32] | None = None

    def tensors(self) -> Tensors:
        """What the file holds, by name."""
        return {
            "program": self.program,
            "rope": self.rope,
            "tape": self.tape,
            **({} if self.drafts is None else {"drafts": self.drafts}),
            **({} if self.constants is None else {"constants": self.constants}),
            **self.tokenizer.tensors(),
        }
