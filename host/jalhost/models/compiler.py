"""Compiles an architecture into an engine program, and its weights into a tape.

Keys, values and queries get one binary point per layer. It follows from a bound, not from a trial:
behind an RMSNorm the input has length sqrt(dim), so |w . x| <= ||w|| sqrt(dim) (Cauchy-Schwarz) and
nothing can saturate. Biases come on top; of a head that is normalised, the gains tell.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from jalgateware.contract.config import EngineConfig
from jalgateware.contract.formats import BLOCK, KV, NORMED_SHIFT, ROTATION, SCALE_BIAS, VECTOR
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
from jalhost.models.checkpoint import as_checkpoint
from jalhost.models.constants import (
    NO_CONSTANTS,
    Entries,
    LayerConstants,
    constant_rows,
    counts,
    fold_constants,
    table_words,
    to_entries,
)
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
    elements = matrix.elements.astype(np.float32)
    # Below 2**24, so float32 adds them exactly.
    squares = np.einsum("rbi,rbi->rb", elements, elements).astype(np.float64)
    exponents = matrix.scales.astype(np.int32) - (SCALE_BIAS + matrix.fraction)
    return np.asarray(np.sqrt(np.ldexp(squares, 2 * exponents).sum(axis=1)), dtype=np.float64)


def layer_shifts(
    a: Architecture, matrices: Sequence[BlockMatrix], constants: LayerConstants | None = None
) -> LayerShifts:
    """Binary points of a layer from the lengths of its query, key and value rows."""
    return shifts_of_norms(a, [row_norms(item) for item in matrices], constants)


def shifts_of_norms(
    a: Architecture, norms: Sequence[Norms], constants: LayerConstants | None = None
) -> LayerShifts:
    """The same from the lengths themselves; a rotated pair is bounded by both rows."""
    constants = constants or NO_CONSTANTS
    query, key, value = (
        (lengths, abs(constants.bias(a, name)).astype(np.float64))
        for lengths, name in zip(norms, ("query", "key", "value"), strict=True)
    )
    pairs = gain_shifts(a, constants)
    if not a.qk_norm:
        pairs = (_shift(_pairs(*query)), _shift(_pairs(*key)))
    return LayerShifts(*pairs, _shift(float((value[0] + value[1]).max())))


def _pairs(*parts: Norms) -> float:
    """Bound on the length of any pair of rows whose parts have these bounds."""
    lengths = [np.hypot(part[0::2], part[1::2]) for part in parts]
    return float(np.sum(lengths, axis=0).max())


def gain_shifts(a: Architecture, constants: LayerConstants) -> tuple[int, int]:
    """Binary points of queries and keys whose heads are normalised; 0 without norms."""
    if not a.qk_norm:
        return 0, 0
    bounds = [float(constants.head_gains(a, name).max()) for name in ("query", "key")]
    return _shift(bounds[0]), _shift(bounds[1])


def table_entries(a: Architecture, constants: Sequence[LayerConstants]) -> Entries | None:
    """What the tables of biases and gains hold; None without any.

    Raises:
        ModelError: a bias is beyond what rows can be.
    """
    if not any(counts(a)):
        return None
    return to_entries(a, constants, [gain_shifts(a, layer) for layer in constants])


def check_scores(index: int, shifts: LayerShifts) -> None:
    """Refuses a layer whose scores have no binary point.

    Raises:
        ModelError: its queries and keys are too large.
    """
    if shifts.score < 0:
        raise ModelError(f"layer {index}: queries and keys are too large for 16-bit scores")


def quantise_model(
    model: Model, formats: Formats = MXINT8_ONLY
) -> tuple[Plan, list[BlockMatrix], Entries | None]:
    """Encodes all matrices (in tape order) and tables, and fixes the binary points.

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
    checkpoint = as_checkpoint(model)
    a, constants = checkpoint.architecture, fold_constants(checkpoint)
    shifts = []
    for index, layer in enumerate(constants):
        parts = [by_name[f"{index}.{part}"] for part in ("query", "key", "value")]
        shifts.append(layer_shifts(a, parts, layer))
        check_scores(index, shifts[-1])
    plan = Plan(a, tuple(shifts), without_mxint8(formats))
    return plan, matrices, table_entries(a, constants)


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


def all_tables(
    a: Architecture,
    rope: npt.NDArray[np.int16],
    entries: Entries | None,
    config: EngineConfig,
) -> Bytes:
    """The tape region's start (bytes,): the rotary table, then the layers' tables."""
    tables = (rope_rows(rope, config), constant_rows(a, entries, config))
    return np.concatenate([table.reshape(-1) for table in tables])


@dataclass(frozen=True)
class Layout:
    """Where everything lies for one gateware geometry. Addresses and sizes in engine words."""

    rope_words: int
    """Words per position in the rotary table, which starts the tape region."""
    tables: int
    """Address of the layers' tables, which follow: ``bias_words`` and ``gain_words`` of each."""
    bias_words: int
    gain_words: int
    first_matrix: int
    """Address of the matrices, which follow."""
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
    tables, words = a.context * rope_words, table_words(a, config)
    position = first = tables + a.layers * sum(words)
    places = {}
    for shape in matrix_shapes(a, formats):
        places[shape.name] = (shape, position)
        position += shape.words(config)
    head_words = -(-a.head_dim * KV.bits // config.word_bits)
    stride = head_words * a.context
    offset = stride * a.kv_heads
    kv_words = 2 * offset * a.layers
    return Layout(
        rope_words, tables, *words, first, places, position, head_words, stride, offset, kv_words
    )


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
        Need("number of biases in a layer", counts(a)[0], "bias_rows"),
    )


OPTIONS = {
    "qkv_bias": "biases on queries, keys and values",
    "qk_norm": "norms over the heads of queries and keys",
}
"""Parts that a model may have and only some gateware can: the same name in both."""


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
    for name, what in OPTIONS.items():
        if getattr(a, name) and not getattr(config, name):
            raise ModelError(
                f"the model has {what}, this gateware has none",
                f"build gateware with {name} (--gateware {name}=true)",
            )
    if Format.MXFP4 in plan.formats.values() and not config.mxfp4:
        raise ModelError(
            "the model has MXFP4 matrices, this gateware takes MXINT8 only",
            "build gateware with mxfp4 or convert the model with --weights mxint8",
        )


def program_length(a: Architecture) -> int:
    """Instructions of a model's program."""
    registers = len(Register) - (not a.qk_norm)
    return registers + 2 + (7 + a.qkv_bias + a.qk_norm) * a.layers + 2


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
    if a.qk_norm:
        registers[Register.HEAD_EPSILON] = max(1, round(a.head_dim * a.epsilon * 2**32))
    program = [set_register(register, value) for register, value in registers.items()]
    start = len(program)
    shape, address = place.matrices[EMBEDDING]
    program += [
        Instruction(Opcode.EMBED, base=address, blocks=shape.blocks),
        Instruction(Opcode.ROPE, base=0, words=place.rope_words),
    ]
    for index, shifts in enumerate(plan.shifts):
        program += _layer_program(a, place, config, index, shifts)
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


def _table_program(a: Architecture, place: Layout, index: int) -> list[Instruction]:
    """Brings a layer's tables."""
    biases = place.tables + index * (place.bias_words + place.gain_words)
    gains = biases + place.bias_words
    program = []
    if a.qkv_bias:
        program.append(Instruction(Opcode.BIASES, base=biases, words=place.bias_words))
    if a.qk_norm:
        program.append(Instruction(Opcode.GAINS, base=gains, words=place.gain_words))
    return program


def _layer_program(
    a: Architecture, place: Layout, config: EngineConfig, index: int, shifts: LayerShifts
) -> list[Instruction]:
    keys = 2 * index * place.value_offset
    values = keys + place.value_offset
    row = {"norm": 1, "bias": int(a.qkv_bias)}
    head = row | {"head_norm": int(a.qk_norm)}
    dropped = [NORMED_SHIFT] * 2 if a.qk_norm else [shifts.query, shifts.key]

    def matvec(name: str, destination: Destination, **extra: Any) -> Instruction:
        return _matvec(place, config, f"{index}.{name}", destination, **extra)

    return [
        *_table_program(a, place, index),
        matvec("query", Destination.QUERY, out_shift=dropped[0], **head),
        matvec("key", Destination.KEY, out_shift=dropped[1], kv_base=keys, **head),
        matvec("value", Destination.VALUE, out_shift=shifts.value, kv_base=values, **row),
        Instruction(Opcode.ATTEND, kv_base=keys, out_shift=shifts.score, fraction=shifts.value),
        matvec("output", Destination.RESIDUAL, source=Source.H),
        matvec("gate_up", Destination.SWIGLU, norm=1),
        matvec("down", Destination.RESIDUAL, source=Source.H),
    ]


def build_tape(
    plan: Plan,
    matrices: Iterable[BlockMatrix],
    rope: npt.NDArray[np.int16],
    config: EngineConfig,
    entries: Entries | None = None,
) -> Bytes:
    """The tape region (tape_words * lanes,) bytes: tables, then the matrices, in tape order.

    Takes one matrix after the other, so they need not all be in memory.
    """
    place = layout(plan.architecture, config, plan.formats)
    tape = np.zeros(place.tape_words * config.lanes, dtype=np.uint8)
    rows = all_tables(plan.architecture, rope, entries, config)
    tape[: rows.size] = rows
    for (_, address), matrix in zip(place.matrices.values(), matrices, strict=True):
        words = to_tape(matrix, config)
        tape[address * config.lanes : address * config.lanes + len(words)] = words
    return tape
