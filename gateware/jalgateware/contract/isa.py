"""The engine's instruction set: opcodes, fields, registers, encoder and decoder.

A program is what the host compiles from a model's architecture. The engine runs it once per token,
from the instruction that the last ``END`` names. Two units walk it: the fetch unit runs ahead and
reads from DRAM what an instruction will consume, in order; the execute unit follows. Addresses
count engine words, relative to the ``tape_base`` register of the engine (weights, tables) or to
``kv_base`` (KV cache).
"""

from dataclasses import dataclass, fields
from enum import IntEnum

INSTRUCTION_WORDS = 4
"""32-bit words per instruction, least significant first."""

VERSION = 2


class Opcode(IntEnum):
    """What an instruction does; the fields that it uses stand in parentheses."""

    SET = 1
    """Writes a register (register, value). Only before the first EMBED of a program."""
    EMBED = 2
    """Reads the token's row of a tape-ordered table into the residual vector (base, blocks)."""
    ROPE = 3
    """Reads the row of the rotary table for the position (base, words)."""
    MATVEC = 4
    """Weight matrix x activations -> destination (all fields but value and register)."""
    ATTEND = 5
    """Attention over a layer's KV cache (kv_base, out_shift: of scores, fraction: of values)."""
    END = 6
    """End of the token: emits the sampled token; the next pass starts at instruction ``base``."""
    BIASES = 7
    """Reads the table of biases, 32 bits each (base, words): the rows of MATVECs with ``bias`` take
    them in order, from the first one on."""
    GAINS = 8
    """Reads the table of gains, 32 bits each (base, words): those of a query's head, then those of
    a key's."""


class Destination(IntEnum):
    """Where the rows of a MATVEC go."""

    RESIDUAL = 0
    """Added to the residual vector, whose quantised copy becomes activation buffer X."""
    SWIGLU = 1
    """Rows alternate gate, up; silu(gate) * up becomes activation buffer H."""
    QUERY = 2
    """Rotated and kept for the next ATTEND, ``out_shift`` bits dropped."""
    KEY = 3
    """Rotated and appended to the KV cache at ``kv_base``, ``out_shift`` bits dropped."""
    VALUE = 4
    """Appended to the KV cache at ``kv_base``, ``out_shift`` bits dropped."""
    LOGITS = 5
    """Sampled from while they stream by."""


class Source(IntEnum):
    """Which activation buffer a MATVEC reads."""

    X = 0
    """Quantised residual vector."""
    H = 1
    """Attention output or feed-forward hidden vector."""


class Format(IntEnum):
    """How a matrix' elements are encoded (OCP Microscaling Formats v1.0)."""

    MXINT8 = 0
    """8-bit integers with 6 fraction bits."""
    MXFP4 = 1
    """E2M1: sign, two bits of exponent, one of mantissa."""


class Option(IntEnum):
    """What only some gateware can, as bits above those of Format: a program needs it or not."""

    QKV_BIAS = 8
    """BIASES, and MATVECs with ``bias``."""
    QK_NORM = 9
    """GAINS, and MATVECs with ``head_norm``."""
    LOGITS = 10
    """No program needs it: a run may have its logits written to DRAM."""
    NOISE = 11
    """No program needs it: samples may be drawn at a temperature; the likeliest tokens always."""


class Register(IntEnum):
    """Registers written by SET; they hold what is constant for a model."""

    KV_HEADS = 0
    """Key/value heads."""
    GROUP = 1
    """Query heads per key/value head."""
    HEAD_DIM = 2
    """Elements per head."""
    HEAD_WORDS = 3
    """Engine words per position and head in the KV cache."""
    HEAD_STRIDE = 4
    """Engine words from one head's region to the next head's (context x HEAD_WORDS)."""
    VALUE_OFFSET = 5
    """Engine words from a layer's key region to its value region."""
    EPSILON = 6
    """RMSNorm's epsilon times dim, in units of 2**-32."""
    SEQUENCE_STRIDE = 7
    """Engine words from one sequence's KV cache to the next one's."""
    HEAD_EPSILON = 8
    """Epsilon of the heads' RMSNorm times HEAD_DIM, in units of 2**-32."""


FIELDS: dict[str, tuple[int, int]] = {
    # name: (lowest bit, width)
    "opcode": (0, 4),
    "destination": (4, 3),
    "source": (7, 1),
    "norm": (8, 1),
    "sampled_only": (9, 1),
    "format": (10, 1),
    "fraction": (11, 5),
    "out_shift": (16, 5),
    "blocks": (21, 9),
    "bias": (30, 1),
    "head_norm": (31, 1),
    "rows": (32, 18),
    "words": (50, 24),
    "base": (74, 28),
    "kv_base": (102, 26),
}
"""Bit fields of an instruction. SET keeps its register in ``rows`` and its value in ``base``."""


@dataclass(frozen=True)
class Instruction:
    """One decoded instruction; fields that an opcode does not use are 0.

    ``norm``: multiply the rows by 1/rms of the residual vector. ``sampled_only``: skipped unless
    the pass samples. ``format``: of the matrix (:class:`Format`). ``fraction``: fraction bits of
    the accumulator. ``blocks``: blocks of 32
    columns in a row. ``bias``: add the table's next biases to the rows. ``head_norm``: then divide
    each head by its length and multiply it by the table's gains. ``words``: engine words to fetch.
    """

    opcode: Opcode
    destination: Destination = Destination.RESIDUAL
    source: Source = Source.X
    norm: int = 0
    sampled_only: int = 0
    format: Format = Format.MXINT8
    fraction: int = 0
    out_shift: int = 0
    blocks: int = 0
    bias: int = 0
    head_norm: int = 0
    rows: int = 0
    words: int = 0
    base: int = 0
    kv_base: int = 0


def set_register(register: Register, value: int) -> Instruction:
    """The instruction that writes ``value`` (unsigned, 28 bits) to a register."""
    return Instruction(Opcode.SET, rows=int(register), base=value)


def encode(instruction: Instruction) -> tuple[int, ...]:
    """Packs an instruction into ``INSTRUCTION_WORDS`` 32-bit words.

    Raises:
        ValueError: a field does not fit; the message names field, value and width.
    """
    bits = 0
    for item in fields(instruction):
        low, width = FIELDS[item.name]
        value = int(getattr(instruction, item.name))
        if not 0 <= value < 1 << width:
            raise ValueError(
                f"{instruction.opcode.name}: {item.name} = {value} does not fit {width} bits"
            )
        bits |= value << low
    return tuple((bits >> (32 * i)) & 0xFFFFFFFF for i in range(INSTRUCTION_WORDS))


def decode(words: tuple[int, ...]) -> Instruction:
    """Unpacks ``INSTRUCTION_WORDS`` 32-bit words.

    Raises:
        ValueError: the opcode or destination does not exist.
    """
    bits = sum(int(word) << (32 * i) for i, word in enumerate(words))
    values = {name: (bits >> low) & ((1 << width) - 1) for name, (low, width) in FIELDS.items()}
    return Instruction(
        opcode=Opcode(values.pop("opcode")),
        destination=Destination(values.pop("destination")),
        source=Source(values.pop("source")),
        format=Format(values.pop("format")),
        **values,
    )


LOGITS_ENABLED = 1 << 31
"""Beside the address in the engine's register ``logits_base``: logits are written there."""


class EngineError(IntEnum):
    """Why the engine stopped by itself, as its status register and the mailbox tell it."""

    NONE = 0
    ILLEGAL_INSTRUCTION = 1
    """The program has an unknown opcode or no END."""
    CACHE_OVERRUN = 2
    """Keys or values were lost on their way to DRAM."""
