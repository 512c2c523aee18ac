"""From a checkpoint and its tokenizer to an image, and from there to what an engine runs."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from jalgateware.contract import isa
from jalgateware.contract.config import EngineConfig
from jalgateware.contract.formats import BLOCK, ELEMENT_BITS, WEIGHT
from jalgateware.golden.mx import BlockMatrix, Bytes, from_tape
from jalhost.errors import ModelError
from jalhost.models.architecture import Model
from jalhost.models.compiler import (
    all_tables,
    build_tape,
    check_limits,
    compile_program,
    layout,
    quantise_model,
    rope_table,
)
from jalhost.models.constants import Entries
from jalhost.models.image import GEOMETRY, Image
from jalhost.models.plan import MXINT8_ONLY, Formats, Plan
from jalhost.models.tokenizer import Codec


@dataclass(frozen=True)
class Executable:
    """An image laid out for one gateware: instructions, and the tape with its rotary table."""

    program: list[isa.Instruction]
    memory: Bytes


def convert(model: Model, tokenizer: Codec, name: str, formats: Formats = MXINT8_ONLY) -> Image:
    """Quantises a model and compiles its program.

    Raises:
        ModelError: the engine cannot run the model.
    """
    a = model.architecture
    if len(tokenizer.pieces) != a.vocabulary:
        raise ModelError(
            f"the tokenizer has {len(tokenizer.pieces)} tokens, the model has {a.vocabulary}"
        )
    plan, encoded, entries = quantise_model(model, formats)
    executable = lay_out(plan, encoded, rope_table(a), GEOMETRY, entries)
    image = make_image(plan, executable, tokenizer, name, model.source)
    return replace(image, constants=entries)


def make_image(
    plan: Plan, executable: Executable, tokenizer: Codec, name: str, source: str
) -> Image:
    """An image of a model that is laid out for GEOMETRY."""
    a = plan.architecture
    start = layout(a, GEOMETRY).first_matrix * GEOMETRY.lanes
    program = [isa.encode(item) for item in executable.program]
    return Image(
        name=name,
        source=source,
        plan=plan,
        program=np.array(program, dtype=np.uint32),
        rope=rope_table(a),
        tape=executable.memory[start:],
        tokenizer=tokenizer,
    )


def assemble(model: Model, formats: Formats, config: EngineConfig) -> tuple[Plan, Executable]:
    """Quantises a model and lays it out for a gateware.

    Raises:
        ModelError: the engine cannot run the model.
    """
    plan, matrices, entries = quantise_model(model, formats)
    return plan, lay_out(plan, matrices, rope_table(model.architecture), config, entries)


def lay_out(
    plan: Plan,
    matrices: Iterable[BlockMatrix],
    rope: npt.NDArray[np.int16],
    config: EngineConfig,
    entries: Entries | None = None,
) -> Executable:
    """Program and tape for a gateware; as :func:`build_tape`."""
    program = compile_program(plan, config)
    return Executable(program, build_tape(plan, matrices, rope, config, entries))


def prepare(image: Image, config: EngineConfig) -> Executable:
    """Lays an image out for a gateware.

    Raises:
        ModelError: the gateware's limits are too small for the model, or the program is damaged.
    """
    check_limits(image.plan, config)
    if config.lanes != GEOMETRY.lanes:
        return lay_out(image.plan, matrices(image), image.rope, config, image.constants)
    try:
        program = [isa.decode(tuple(words)) for words in image.program.tolist()]
    except ValueError as error:
        raise ModelError(f"the image's program is damaged: {error}") from error
    tables = all_tables(image.plan.architecture, image.rope, image.constants, config)
    return Executable(program, np.concatenate([tables, image.tape]))


def matrices(image: Image) -> Iterator[BlockMatrix]:
    """The image's matrices in tape order."""
    place = layout(image.plan.architecture, GEOMETRY, image.plan.formats)
    for shape, address in place.matrices.values():
        tape = image.tape[(address - place.first_matrix) * GEOMETRY.lanes :]
        yield from_tape(tape, GEOMETRY, shape.rows, shape.blocks, shape.form)


def needed_bytes(image: Image, position: int, sampled: bool = True) -> int:
    """Bytes that any engine must move for one token: weights, rotary row, keys, values.

    Padding that this engine's layout adds does not count. ``position``: earlier positions in the KV
    cache; ``sampled``: whether the token behind it is wanted, which takes the classifier.
    """
    return weight_bytes(image, sampled) + token_bytes(image, position)


def weight_bytes(image: Image, sampled: bool = True) -> int:
    """Of these, the matrices: what tokens in one pass share."""
    return image.plan.weight_bytes(sampled)


def token_bytes(image: Image, position: int) -> int:
    """Of these, what is the token's own: embedding, rotary row, keys and values."""
    return image.plan.token_bytes(position)


def classifier_bytes(image: Image) -> int:
    """What sampling adds to the bytes that a token needs."""
    return needed_bytes(image, 0) - needed_bytes(image, 0, sampled=False)


def multiplications(image: Image, sampled: bool = True) -> int:
    """Products of weights that a token needs, in those of MXINT8: lanes do two of MXFP4 at a time.

    ``sampled`` as in :func:`needed_bytes`.
    """
    used = image.plan.matrices[1:] if sampled else image.plan.matrices[1:-1]
    return sum(
        shape.rows * shape.blocks * BLOCK * ELEMENT_BITS[shape.form] // WEIGHT.bits
        for shape in used
    )


def read_model(
    path: Path,
    tokenizer: Path | None,
    name: str | None = None,
    choose: Callable[[Model], Formats] = lambda _: MXINT8_ONLY,
) -> Image:
    """Reads a model file and converts it in memory.

    ``choose``: chooses the matrices' formats.

    Raises:
        ModelError: checkpoint or tokenizer are missing, damaged or do not fit each other.
    """
    from jalhost.models.source import model_name, open_source

    source = open_source(path, tokenizer)
    model = source.checkpoint.load()
    image = convert(model, source.tokenizer, name or model_name(path), choose(model))
    return replace(image, stop_tokens=source.stop_tokens)
