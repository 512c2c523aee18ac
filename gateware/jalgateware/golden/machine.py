"""The golden model: runs an engine program over an image in memory, bit for bit as the gateware.

One call of :meth:`Machine.step` is one pass of the program, one token: read it top to bottom, it
follows the order of llama2.c's forward(). A pass of several token rows is as many calls, since rows
share weights and nothing else.
"""

from copy import copy
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from jalgateware.contract.config import EngineConfig
from jalgateware.contract.formats import BLOCK, SCALE_BIAS, VECTOR, WEIGHT
from jalgateware.contract.isa import Destination, Instruction, Opcode, Register, Source
from jalgateware.contract.tape import block_address, row_block
from jalgateware.golden import vector
from jalgateware.golden.attention import attend_head
from jalgateware.golden.blocks import (
    Activations,
    Weights,
    dot_rows,
    quantise,
    scale_output,
    square_sum,
)
from jalgateware.golden.functions import UNIT_MANTISSA, rsqrt
from jalgateware.golden.mx import Bytes, from_tape
from jalgateware.golden.rounding import Integers, Tally, rounding_shift, saturate
from jalgateware.golden.sampler import Sampling, sample

RSQRT_SHIFT = 33
"""From rsqrt's exponent to the scaler's shift: 32 (unit of the square sum) + 2 guard bits - 1."""

ACCUMULATOR_SHIFT = VECTOR.fraction + 2
"""Fraction bits that the output scaler expects of an accumulator without shift."""


@dataclass
class Machine:
    """An engine with its memory.

    Matrices are unpacked when they are first used and kept: 4.3 bytes per weight, besides
    ``memory``'s 1.03.

    Args:
        config: the gateware's parameters (tape geometry and limits).
        memory: the tape region, as bytes; instruction addresses count words of ``config.lanes``
            bytes in it.
        program: what to run for each token.
        context: most positions; passes beyond raise.
    """

    config: EngineConfig
    memory: Bytes
    program: list[Instruction]
    context: int
    tally: Tally = field(default_factory=Tally)
    trace: dict[int, Integers] | None = None
    """Set to a dict to record each instruction's result by its program index."""

    def __post_init__(self) -> None:
        """Starts with no model registers and an empty KV cache."""
        self.registers = dict.fromkeys(Register, 0)
        self.start = 0
        self.cache: dict[int, npt.NDArray[np.int16]] = {}
        """Keys or values by address: (kv_heads, context, head_dim) KV."""
        self._weights: dict[int, Weights] = {}
        self.x: Integers = np.zeros(0, dtype=np.int64)
        self.buffers: dict[Source, Activations] = {}
        self.query: Integers = self.x
        self.rope: tuple[Integers, Integers] = (self.x, self.x)
        self.norm = (UNIT_MANTISSA, 0)
        self.biases = self.gains = self.x
        self.biased_rows = 0
        """Biases that have been used."""

    def patch(self, program: list[Instruction], memory: Bytes, kept: int = 0) -> None:
        """Goes on with another program, from its start; the state stays as it is.

        Matrices of the first ``kept`` instructions stay unpacked: these and their words must be the
        same as before.
        """
        self.program, self.memory, self.start = program, memory, 0
        self._weights = {i: item for i, item in self._weights.items() if i < kept}

    def fork(self) -> "Machine":
        """A machine in the same state, that goes on by itself; keys and values are shared."""
        other = copy(self)
        other.buffers, other.registers = dict(self.buffers), dict(self.registers)
        other._weights = dict(self._weights)
        return other

    def step(
        self, token: int, position: int, sampling: Sampling | None, sequence: int = 0
    ) -> int | None:
        """Runs one token; returns the sampled token, or None where ``sampling`` is None (prefill).

        ``sequence``: whose keys and values the token sees and extends; below ``config.tokens``.
        The engine seeds a sequence's noise with its seed plus the sequence's number: here that is
        the caller's to do.

        Raises:
            ValueError: the position lies outside the context, or there is no such sequence.
        """
        self._check(position, sequence)
        sampled: int | None = None
        for index in range(self.start, len(self.program)):
            item = self.program[index]
            if item.opcode is Opcode.SET:
                self.registers[Register(item.rows)] = item.base
            elif item.opcode is Opcode.EMBED:
                self._set_residual(self._embedding(item, token))
            elif item.opcode is Opcode.ROPE:
                self.rope = self._rotation(item, position)
            elif item.opcode in (Opcode.BIASES, Opcode.GAINS):
                self._load_table(item)
            elif item.opcode is Opcode.ATTEND:
                self.buffers[Source.H] = quantise(self._attend(item, position, sequence))
            elif item.opcode is Opcode.MATVEC:
                if sampling is None and item.sampled_only:
                    continue
                rows = self._matvec(index, item)
                if self.trace is not None:
                    self.trace[index] = rows
                if item.destination is Destination.LOGITS:
                    self.logits = rows
                    sampled = sample(rows, sampling, position) if sampling else None
                else:
                    self._deliver(item, rows, position, sequence)
            elif item.opcode is Opcode.END:
                self.start = item.base
                break
        return sampled

    def _check(self, position: int, sequence: int) -> None:
        if not 0 <= position < self.context:
            raise ValueError(f"position {position} is outside the context of {self.context}")
        if not 0 <= sequence < self.config.tokens:
            raise ValueError(f"sequence {sequence}: this engine decodes {self.config.tokens}")

    def _bytes(self, word: int, words: int) -> Bytes:
        lanes = self.config.lanes
        return self.memory[word * lanes : (word + words) * lanes]

    def _embedding(self, item: Instruction, token: int) -> Integers:
        """The token's row (dim,) as VECTOR: element * 2**(scale - 127 - 6), rounded."""
        elements = np.empty((item.blocks, BLOCK), dtype=np.int64)
        exponents = np.empty((item.blocks, 1), dtype=np.int64)
        for block in range(item.blocks):
            place = row_block(self.config, token, block, item.blocks)
            scale_word, scale_byte, word, byte = block_address(self.config, place)
            exponents[block] = self._bytes(item.base + scale_word, 1)[scale_byte]
            data = self._bytes(item.base + word, self.config.words_per_block)
            elements[block] = data[byte : byte + BLOCK].view(np.int8)
        exponents += VECTOR.fraction - SCALE_BIAS - WEIGHT.fraction
        return rounding_shift(elements, -np.clip(exponents, -9, 24)).reshape(-1)

    def _rotation(self, item: Instruction, position: int) -> tuple[Integers, Integers]:
        """Cosines and sines (head_dim / 2,) of the position's row: they alternate in memory."""
        row = self._bytes(item.base + position * item.words, item.words).view("<i2")
        used = row[: self.registers[Register.HEAD_DIM]].astype(np.int64)
        return used[0::2], used[1::2]

    def _load_table(self, item: Instruction) -> None:
        """Entries (words * lanes / 4,), those that fill up the last word included."""
        entries = self._bytes(item.base, item.words).view("<i4").astype(np.int64)
        if item.opcode is Opcode.BIASES:
            self.biases, self.biased_rows = entries, 0
        else:
            self.gains = entries

    def _set_residual(self, x: Integers) -> None:
        self.x = x
        self.buffers[Source.X] = quantise(x)
        total = square_sum(self.buffers[Source.X]) + self.registers[Register.EPSILON]
        mantissa, exponent = rsqrt(total)
        self.norm = (mantissa, exponent - RSQRT_SHIFT)

    def _matvec(self, index: int, item: Instruction) -> Integers:
        """Rows (rows,) VECTOR of a matrix-vector product, with all that stands directly behind it.

        That is, where asked: 1/rms, biases, and the norm over each head.
        """
        if index not in self._weights:
            tape = self._bytes(item.base, item.words)
            matrix = from_tape(tape, self.config, item.rows, item.blocks, item.format)
            self._weights[index] = matrix.weights()
        total = self.multiply(self._weights[index], self.buffers[item.source], item.fraction)
        mantissa, shift = self.norm if item.norm else (UNIT_MANTISSA, -ACCUMULATOR_SHIFT)
        rows = scale_output(total, mantissa, item.fraction + shift, self.tally)
        if item.bias:
            first, self.biased_rows = self.biased_rows, self.biased_rows + item.rows
            rows = vector.add_bias(rows, self.biases[first : self.biased_rows], self.tally)
        if item.head_norm:
            length = self.registers[Register.HEAD_DIM]
            first = length if item.destination is Destination.KEY else 0
            gains, epsilon = self.gains[first:][:length], self.registers[Register.HEAD_EPSILON]
            rows = vector.normalise_heads(rows, gains, epsilon, self.tally)
        return rows

    def multiply(self, weights: Weights, activations: Activations, fraction: int) -> Integers:
        """What the lanes do; models of faulty lanes do it otherwise."""
        return dot_rows(weights, activations, fraction, self.tally)

    def _region(self, kv_base: int, sequence: int) -> npt.NDArray[np.int16]:
        """Keys or values of a layer and sequence: (kv_heads, context, head_dim) KV."""
        address = kv_base + sequence * self.registers[Register.SEQUENCE_STRIDE]
        if address not in self.cache:
            heads, length = self.registers[Register.KV_HEADS], self.registers[Register.HEAD_DIM]
            self.cache[address] = np.zeros((heads, self.context, length), dtype=np.int16)
        return self.cache[address]

    def _deliver(self, item: Instruction, rows: Integers, position: int, sequence: int) -> None:
        cosine, sine = self.rope
        if item.destination is Destination.RESIDUAL:
            self._set_residual(saturate(self.x + rows, VECTOR, self.tally))
        elif item.destination is Destination.SWIGLU:
            self.buffers[Source.H] = quantise(vector.swiglu(rows, self.tally))
        elif item.destination is Destination.QUERY:
            self.query = vector.rotate(rows, cosine, sine, item.out_shift, self.tally)
        else:
            region = self._region(item.kv_base, sequence)
            if item.destination is Destination.KEY:
                new = vector.rotate(rows, cosine, sine, item.out_shift, self.tally)
            else:
                new = vector.narrow(rows, item.out_shift, self.tally)
            region[:, position] = new.reshape(len(region), -1)

    def _attend(self, item: Instruction, position: int, sequence: int) -> Integers:
        """Attention of all heads: (heads * head_dim,) VECTOR."""
        keys = self._region(item.kv_base, sequence)
        values = self._region(item.kv_base + self.registers[Register.VALUE_OFFSET], sequence)
        group, head_dim = self.registers[Register.GROUP], self.registers[Register.HEAD_DIM]
        # (KV heads, query heads of each, ...): a group shares keys and values.
        return attend_head(
            self.query.reshape(-1, group, head_dim),
            keys[:, None, : position + 1],
            values[:, None, : position + 1],
            item.out_shift,
            item.fraction,
            self.tally,
        ).reshape(-1)
