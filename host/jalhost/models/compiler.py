"""Compiles an architecture into an engine program, and its weights into a tape.

Keys, values and queries get one binary point per layer. It follows from a bound, not from a trial:
behind an RMSNorm the input has length sqrt(dim), so |w . x| <= ||w|| sqrt(dim) (Cauchy-Schwarz) and
nothing can saturate.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from jalgateware.contract.config import EngineConfig
from jalgateware.contract.formats import BLOCK, KV, ROTATION, VECTOR
from jalgateware.contract.isa import (
    Destination,
    Format,
    Instruction,
    Opcode,
    Register,
    Source,
    set_register,
)
from jalgateware.golden.mx import BlockMatrix, Bytes, encode, to_tape
from jalhost.errors import ModelError
from jalhost.models.architecture import Architecture, Model
from jalhost.models.folding import fold
from jalhost.models.plan import (
    CLASSIFIER,
    EMBEDDING,
    MXINT8_ONLY,
    Formats,
    LayerShifts,
    MatrixShape,
    Plan,
    matrix_shapes,
    without_mxint8,
)
from jalhost.models.rope import frequencies

Norms = npt.NDArray[np.float64]

FRACTION = 20
"""Fraction bits of the matvec accumulators: +-2**19 in whole numbers, 2**-21 rounding per block."""

MARGIN = 1 + 2**-8
"""Headroom over the Cauchy-Schwarz bound for the rounding of 1/rms and of the output scaler."""


def _shift(bound: float) -> int:
    """Bits to drop so that ``bound`` fits KV."""
    if bound <= 0:
        return 0
    needed = math.log2(bound * MARGIN * (1 << VECTOR.fraction) / KV.maximum)
    return max(0, math.ceil(needed))


def row_norms(matrix: BlockMatrix) -> Norms:
    """Lengths of the rows (rows,)."""
    norms = np.linalg.norm(matrix.dequantise().astype(np.float64), axis=1)
    return np.asarray(norms, dtype=np.float64)


def layer_shifts(query: BlockMatrix, key: BlockMatrix, value: BlockMatrix) -> LayerShifts:
    """Binary points of a layer from its rows' lengths; a rotated pair is bounded by both rows."""
    return shifts_of_norms(*map(row_norms, (query, key, value)))


def shifts_of_norms(query: Norms, key: Norms, value: Norms) -> LayerShifts:
    """The same from the lengths of all rows."""
    pairs = [np.hypot(norms[0::2], norms[1::2]).max() for norms in (query, key)]
    return LayerShifts(_shift(pairs[0]), _shift(pairs[1]), _shift(value.max()))


def check_scores(index: int, shifts: LayerShifts) -> None:
    """Refuses a layer whose scores have no binary point.

    Raises:
        ModelError: its queries and keys are too large.
    """
    if shifts.score < 0:
        raise ModelError(f"layer {index}: queries and keys are too large for 16-bit scores")


def quantise_model(model: Model, formats: Formats = MXINT8_ONLY) -> tuple[Plan, list[BlockMatrix]]:
    """Encodes all matrices (in tape order) and fixes the binary points.

    Raises:
        ModelError: values are not finite, or a layer's queries and keys are too large for the
            engine's scores.
    """
    names, matrices = [], []
    for name, matrix in fold(model):
        names.append(name)
        if not np.isfinite(matrix).all():
            raise ModelError(f"the model's matrix {name} has values that are not finite")
        matrices.append(encode(matrix, formats.get(name, Format.MXINT8)))
    by_name = dict(zip(names, matrices, strict=True))
    shifts = []
    for index in range(model.architecture.layers):
        item = layer_shifts(*(by_name[f"{index}.{part}"] for part in ("query", "key", "value")))
        check_scores(index, item)
        shifts.append(item)
    return Plan(model.architecture, tuple(shifts), without_mxint8(formats)), matrices


def rope_table(a: Architecture) -> npt.NDArray[np.int16]:
    """Cosines and sines as ROTATION, alternating: (context, head_dim)."""
    angles = np.arange(a.context)[:, None] * frequencies(a)
    table = np.stack([np.cos(angles), np.sin(angles)], axis=2).reshape(a.context, a.head_dim)
    return np.asarray(np.rint(table * (1 << ROTATION.fraction)), dtype=np.int16)


def rope_rows(rope: npt.NDArray[np.int16], config: EngineConfig) -> Bytes:
    """The rotary table as it starts the tape region: (context, bytes of whole engine words)."""
    words = -(-rope.shape[1] * 2 // config.lanes)
    rows = np.zeros((len(rope), words * config.lanes), dtype=np.uint8)
    rows[:, : 2 * rope.shape[1]] = rope.astype("<i2").view(np.uint8)
    return rows


@dataclass(frozen=True)
class Layout:
    """Where everything lies for one gateware geometry. Addresses and sizes in engine words."""

    rope_words: int
    """Words per position in the rotary table, which starts the tape region."""
    matrices: dict[str, tuple[MatrixShape, int]]
    """Shape and address of each matrix."""
    tape_words: int
    head_words: int
    head_stride: int
    value_offset: int
    kv_words: int


def layout(a: Architecture, config: EngineConfig, formats: Formats = MXINT8_ONLY) -> Layout:
    """Places rotary table, matrices and KV cache for a gateware."""
    rope_words = -(-a.head_dim * 2 // config.lanes)
    position = a.context * rope_words
    places = {}
    for shape in matrix_shapes(a, formats):
        places[shape.name] = (shape, position)
        position += shape.words(config)
    head_words = -(-a.head_dim * KV.bits // config.word_bits)
    stride = head_words * a.context
    offset = stride * a.kv_heads
    return Layout(rope_words, places, position, head_words, stride, offset, 2 * offset * a.layers)


@dataclass(frozen=True)
class Need:
    """What a model needs of gateware: a property, and the field that limits it."""

    name: str
    value: int
    field: str


def needs(a: Architecture) -> tuple[Need, ...]:
    """All sizes of a model that gateware limits."""
    return (
        Need("dim", a.dim, "max_dim"),
        Need("hidden size", a.hidden, "max_hidden"),
        Need("attention width", a.heads * a.head_dim, "max_hidden"),
        Need("heads", a.heads, "max_heads"),
        Need("KV heads", a.kv_heads, "max_kv_heads"),
        Need("query heads per KV head", a.group, "max_group"),
        Need("head size", a.head_dim, "max_head_dim"),
        Need("context", a.context, "max_context"),
        Need("program length", program_length(a), "max_instructions"),
    )


def check_limits(plan: Plan, config: EngineConfig) -> None:
    """Refuses a model that the gateware cannot run.

    Raises:
        ModelError: names the first property beyond a limit, its value and the limit.
    """
    a = plan.architecture
    for item in needs(a):
        limit = getattr(config, item.field)
        if item.value > limit:
            raise ModelError(
                f"the model's {item.name} is {item.value}, this gateware's limit is {limit}",
                "choose larger gateware (--gateware, where it is not a board) or a smaller model",
            )
    if a.dim % BLOCK:
        raise ModelError(f"the model's dim is {a.dim}, the engine needs a multiple of {BLOCK}")
    if Format.MXFP4 in plan.formats.values() and not config.mxfp4:
        raise ModelError(
            "the model has MXFP4 matrices, this gateware takes MXINT8 only",
            "build gateware with mxfp4 or convert the model with --weights mxint8",
        )


def program_length(a: Architecture) -> int:
    """Instructions of a model's program."""
    return len(Register) + 2 + 7 * a.layers + 2


def compile_program(plan: Plan, config: EngineConfig) -> list[Instruction]:
    """The program that runs one token of the model on a gateware of this geometry."""
    a, place = plan.architecture, layout(plan.architecture, config, plan.formats)
    registers = {
        Register.KV_HEADS: a.kv_heads,
        Register.GROUP: a.group,
        Register.HEAD_DIM: a.head_dim,
        Register.HEAD_WORDS: place.head_words,
        Register.HEAD_STRIDE: place.head_stride,
        Register.VALUE_OFFSET: place.value_offset,
        Register.EPSILON: max(1, round(a.dim * a.epsilon * 2**32)),
        Register.SEQUENCE_STRIDE: place.kv_words,
    }
    program = [set_register(register, value) for register, value in registers.items()]
    start = len(program)
    shape, address = place.matrices[EMBEDDING]
    program += [
        Instruction(Opcode.EMBED, base=address, blocks=shape.blocks),
        Instruction(Opcode.ROPE, base=0, words=place.rope_words),
    ]
    for index, shifts in enumerate(plan.shifts):
        program += _layer_program(place, config, index, shifts)
    program += [
        _matvec(place, config, CLASSIFIER, Destination.LOGITS, norm=1, sampled_only=1),
        Instruction(Opcode.END, base=start),
    ]
    return program


def _matvec(
    place: Layout, config: EngineConfig, name: str, destination: Destination, **extra: Any
) -> Instruction:
    shape, address = place.matrices[name]
    return Instruction(
        Opcode.MATVEC,
        destination=destination,
        format=shape.form,
        fraction=FRACTION,
        rows=shape.rows,
        blocks=shape.blocks,
        words=shape.words(config),
        base=address,
        **extra,
    )


def _layer_program(
    place: Layout, config: EngineConfig, index: int, shifts: LayerShifts
) -> list[Instruction]:
    keys = 2 * index * place.value_offset
    values = keys + place.value_offset

    def matvec(name: str, destination: Destination, **extra: Any) -> Instruction:
        return _matvec(place, config, f"{index}.{name}", destination, **extra)

    return [
        matvec("query", Destination.QUERY, norm=1, out_shift=shifts.query),
        matvec("key", Destination.KEY, norm=1, out_shift=shifts.key, kv_base=keys),
        matvec("value", Destination.VALUE, norm=1, out_shift=shifts.value, kv_base=values),
        Instruction(Opcode.ATTEND, kv_base=keys, out_shift=shifts.score, fraction=shifts.value),
        matvec("output", Destination.RESIDUAL, source=Source.H),
        matvec("gate_up", Destination.SWIGLU, norm=1),
        matvec("down", Destination.RESIDUAL, source=Source.H),
    ]


def build_tape(
    plan: Plan, matrices: Iterable[BlockMatrix], rope: npt.NDArray[np.int16], config: EngineConfig
) -> Bytes:
    """The tape region (tape_words * lanes,) bytes: rotary table, then the matrices, in tape order.

    Takes one matrix after the other, so they need not all be in memory.
    """
    place = layout(plan.architecture, config, plan.formats)
    tape = np.zeros(place.tape_words * config.lanes, dtype=np.uint8)
    rows = rope_rows(rope, config)
    tape[: rows.size] = rows.reshape(-1)
    for (_, address), matrix in zip(place.matrices.values(), matrices, strict=True):
        words = to_tape(matrix, config)
        tape[address * config.lanes : address * config.lanes + len(words)] = words
    return tape
