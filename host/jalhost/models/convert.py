"""From a checkpoint and its tokenizer to an image, and from there to what an engine runs."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from jalgateware.contract import isa
from jalgateware.contract.config import EngineConfig
from jalgateware.contract.formats import BLOCK
from jalgateware.golden.mx import BlockMatrix, Bytes, from_tape
from jalhost.errors import ModelError
from jalhost.models.architecture import Model
from jalhost.models.compiler import (
    MatrixShape,
    Plan,
    build_tape,
    check_limits,
    compile_program,
    layout,
    matrix_shapes,
    quantise_model,
    rope_table,
)
from jalhost.models.image import GEOMETRY, Image
from jalhost.models.tokenizer import Tokenizer


@dataclass(frozen=True)
class Executable:
    """An image laid out for one gateware: instructions, and the tape with its rotary table."""

    program: list[isa.Instruction]
    memory: Bytes


def convert(model: Model, tokenizer: Tokenizer, name: str) -> Image:
    """Quantises a model and compiles its program.

    Raises:
        ModelError: the engine cannot run the model.
    """
    a = model.architecture
    if len(tokenizer.pieces) != a.vocabulary:
        raise ModelError(
            f"the tokenizer has {len(tokenizer.pieces)} tokens, the model has {a.vocabulary}"
        )
    plan, matrices = quantise_model(model)
    rope = rope_table(a)
    memory = build_tape(plan, matrices, rope, GEOMETRY)
    return assemble(plan, memory, rope, tokenizer, name, model.source)


def assemble(
    plan: Plan,
    memory: Bytes,
    rope: npt.NDArray[np.int16],
    tokenizer: Tokenizer,
    name: str,
    source: str,
) -> Image:
    """An image of a tape region that is laid out for GEOMETRY, and of the plan's program."""
    start = len(rope) * layout(plan.architecture, GEOMETRY).rope_words * GEOMETRY.lanes
    program = [isa.encode(item) for item in compile_program(plan, GEOMETRY)]
    return Image(
        name=name,
        source=source,
        plan=plan,
        program=np.array(program, dtype=np.uint32),
        rope=rope,
        tape=memory[start:],
        tokenizer=tokenizer,
    )


def prepare(image: Image, config: EngineConfig) -> Executable:
    """Lays an image out for a gateware.

    Raises:
        ModelError: the gateware's limits are too small for the model, or the program is damaged.
    """
    check_limits(image.plan.architecture, config)
    if config.lanes != GEOMETRY.lanes:
        program = compile_program(image.plan, config)
        return Executable(program, build_tape(image.plan, matrices(image), image.rope, config))
    try:
        program = [isa.decode(tuple(words)) for words in image.program.tolist()]
    except ValueError as error:
        raise ModelError(f"the image's program is damaged: {error}") from error
    a, place = image.plan.architecture, layout(image.plan.architecture, config)
    rope = np.zeros((a.context, place.rope_words * config.lanes), dtype=np.uint8)
    rope[:, : 2 * a.head_dim] = image.rope.astype("<i2").view(np.uint8)
    return Executable(program, np.concatenate([rope.reshape(-1), image.tape]))


def matrices(image: Image) -> Iterator[BlockMatrix]:
    """The image's matrices in tape order."""
    place = layout(image.plan.architecture, GEOMETRY)
    start = image.plan.architecture.context * place.rope_words
    for shape, address in place.matrices.values():
        tape = image.tape[(address - start) * GEOMETRY.lanes :]
        yield from_tape(tape, GEOMETRY, shape.rows, shape.blocks)


BLOCK_BYTES = BLOCK + 1
"""A block of MXINT8: its elements and their scale."""


def needed_bytes(image: Image, position: int, sampled: bool = True) -> int:
    """Bytes that any engine must move for one token: weights, rotary row, keys, values.

    Padding that this engine's layout adds does not count. ``position``: earlier positions in the KV
    cache; ``sampled``: whether the token behind it is wanted, which takes the classifier.
    """
    a = image.plan.architecture
    embedding, *matrices = matrix_shapes(a)
    weights = BLOCK_BYTES * (embedding.blocks + _blocks(matrices, sampled))
    per_position = 2 * 2 * a.layers * a.kv_heads * a.head_dim
    return weights + 2 * a.head_dim + per_position * (position + 1)


def classifier_bytes(image: Image) -> int:
    """What sampling adds to the bytes that a token needs."""
    return needed_bytes(image, 0) - needed_bytes(image, 0, sampled=False)


def multiplications(image: Image, sampled: bool = True) -> int:
    """Products of weights that a token needs; ``sampled`` as in :func:`needed_bytes`."""
    return BLOCK * _blocks(matrix_shapes(image.plan.architecture)[1:], sampled)


def _blocks(matrices: Sequence[MatrixShape], sampled: bool) -> int:
    """Blocks of matrices of which the last is the classifier."""
    used = matrices if sampled else matrices[:-1]
    return sum(shape.rows * shape.blocks for shape in used)


def read_model(path: Path, tokenizer: Path | None, name: str | None = None) -> Image:
    """Reads and converts a llama2.c checkpoint.

    Raises:
        ModelError: checkpoint or tokenizer are missing, damaged or do not fit each other.
    """
    from jalhost.models.llama2c import read_checkpoint
    from jalhost.models.tokenizer import read_tokenizer

    model = read_checkpoint(path)
    if tokenizer is None:
        raise ModelError(f"{path} is a checkpoint without its tokenizer", "name it by --tokenizer")
    vocabulary = model.architecture.vocabulary
    return convert(model, read_tokenizer(tokenizer, vocabulary), name or path.stem)
