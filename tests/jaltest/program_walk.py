"""A walk of programs in Python: what the fetch unit hands over, pass after pass."""

import dataclasses
import random
from dataclasses import dataclass

from jalgateware.contract.config import EngineConfig
from jalgateware.contract.isa import (
    FIELDS,
    Destination,
    Instruction,
    Opcode,
    Register,
    Source,
    set_register,
)
from jalgateware.contract.tape import block_address, matrix_words, row_block

TAPE_BASE, KV_BASE = 0x12345, 0x1180000
KV_STRIDE = 0x8001
"""From one sequence's cache to that of the next."""


@dataclass(frozen=True)
class Pass:
    """What a pass is about: tokens, positions and sequences of its token rows."""

    tokens: tuple[int, ...]
    positions: tuple[int, ...]
    sample: bool = True
    shared: bool = True

    @property
    def kv_bases(self) -> list[int]:
        """Rows share a cache, or each has its own."""
        return [
            KV_BASE + (0 if self.shared else row * KV_STRIDE) for row in range(len(self.tokens))
        ]


def one(token: int, position: int, sample: bool = True) -> Pass:
    return Pass((token,), (position,), sample)


def word_at(address: int) -> int:
    """The content of the memory: words that tell their address."""
    return address * 0x9E3779B1 & 0xFFFFFFFF


class Walk:
    """The expected streams: what one pass after the other hands over."""

    def __init__(self, config: EngineConfig, program: list[Instruction]) -> None:
        self.config = config
        self.program = program
        self.registers = dict.fromkeys(Register, 0)
        self.first = 0

    def step(self, now: Pass) -> tuple[list[Instruction], list[int]]:
        """The instructions and the addresses of the words of a pass."""
        items: list[Instruction] = []
        addresses: list[int] = []
        for item in self.program[self.first :]:
            if item.opcode is Opcode.SET:
                self.registers[Register(item.rows)] = item.base
                continue
            if item.opcode is Opcode.MATVEC and item.sampled_only and not now.sample:
                continue
            items.append(item)
            addresses += self.reads(item, now)
            if item.opcode is Opcode.END:
                self.first = item.base
                break
        return items, addresses

    def reads(self, item: Instruction, now: Pass) -> list[int]:
        if item.opcode is Opcode.EMBED:
            return [address for token in now.tokens for address in self.embedding(item, token)]
        if item.opcode is Opcode.ROPE:
            starts = [TAPE_BASE + item.base + position * item.words for position in now.positions]
            return [address for start in starts for address in range(start, start + item.words)]
        if item.opcode in (Opcode.MATVEC, Opcode.BIASES, Opcode.GAINS):
            return list(range(TAPE_BASE + item.base, TAPE_BASE + item.base + item.words))
        if item.opcode is Opcode.ATTEND:
            # Rows of one sequence go through its cache together, up to the first one's position.
            turns = list(zip(now.kv_bases, now.positions, strict=True))
            return [
                address
                for base, position in (turns[:1] if now.shared else turns)
                for address in self.cache(item, base, position)
            ]
        return []

    def embedding(self, item: Instruction, token: int) -> list[int]:
        addresses = []
        for block in range(item.blocks):
            place = row_block(self.config, token, block, item.blocks)
            scale, _, word, _ = block_address(self.config, place)
            words = [scale, *range(word, word + self.config.words_per_block)]
            addresses += [TAPE_BASE + item.base + offset for offset in words]
        return addresses

    def cache(self, item: Instruction, base: int, position: int) -> list[int]:
        addresses = []
        words = position * self.registers[Register.HEAD_WORDS]
        for head in range(self.registers[Register.KV_HEADS]):
            keys = base + item.kv_base + head * self.registers[Register.HEAD_STRIDE]
            values = keys + self.registers[Register.VALUE_OFFSET]
            addresses += [*range(keys, keys + words), *range(values, values + words)]
        return addresses


def random_program(config: EngineConfig, seed: int) -> list[Instruction]:
    """A program in the shape of a model's, with random sizes and addresses."""
    pick = random.Random(seed)
    context, heads = 32, pick.randint(1, 3)
    head_words = pick.randint(1, 3)
    registers = {
        Register.KV_HEADS: heads,
        Register.GROUP: pick.randint(1, 4),
        Register.HEAD_DIM: head_words * config.kv_lanes,
        Register.HEAD_WORDS: head_words,
        Register.HEAD_STRIDE: context * head_words,
        Register.VALUE_OFFSET: heads * context * head_words + pick.randint(0, 9),
        Register.EPSILON: pick.randrange(1 << 28),
    }
    program = [set_register(register, value) for register, value in registers.items()]
    blocks = pick.randint(1, 5)
    loop = len(program)
    program.append(Instruction(Opcode.EMBED, blocks=blocks, base=pick.randrange(1 << 16)))
    program.append(Instruction(Opcode.ROPE, words=pick.randint(1, 5), base=pick.randrange(1 << 16)))
    for _ in range(2):
        for opcode, known in ((Opcode.BIASES, config.qkv_bias), (Opcode.GAINS, config.qk_norm)):
            if known:
                base = pick.randrange(1 << 16)
                program.append(Instruction(opcode, words=pick.randint(1, 9), base=base))
        program.append(matrix(config, pick, Destination.QUERY))
        program.append(
            Instruction(Opcode.ATTEND, kv_base=pick.randrange(1 << 12), out_shift=9, fraction=3)
        )
        program.append(matrix(config, pick, Destination.RESIDUAL))
    logits = matrix(config, pick, Destination.LOGITS)
    program.append(dataclasses.replace(logits, sampled_only=1))
    program.append(Instruction(Opcode.END, base=loop))
    return program


def matrix(config: EngineConfig, pick: random.Random, destination: Destination) -> Instruction:
    rows, blocks = pick.randint(1, 20), pick.randint(1, 3)
    return Instruction(
        Opcode.MATVEC,
        destination=destination,
        source=Source(pick.randrange(2)),
        norm=pick.randrange(2),
        fraction=pick.randrange(32),
        out_shift=pick.randrange(32),
        blocks=blocks,
        rows=rows,
        words=matrix_words(config, rows, blocks),
        base=pick.randrange(1 << 20),
        kv_base=pick.randrange(1 << 26),
    )


def as_fields(items: list[Instruction]) -> list[tuple[int, ...]]:
    return [tuple(int(getattr(item, name)) for name in FIELDS) for item in items]
