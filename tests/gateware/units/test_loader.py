"""Embedding rows and rotary angles against the golden model."""

import random

import numpy as np
import pytest

from jalgateware.contract.config import EngineConfig
from jalgateware.contract.formats import BLOCK
from jalgateware.contract.isa import Instruction, Opcode, Register
from jalgateware.contract.tape import block_address, row_block
from jalgateware.golden.machine import Machine
from jalgateware.golden.mx import BlockMatrix, Bytes, to_tape
from jalgateware.units.loader import Dequantiser, Loader
from jaltest.gateware import Clock, Pipeline, Process, Sender, pulse, simulate


def machine(config: EngineConfig, memory: Bytes) -> Machine:
    return Machine(config, memory, [], context=64)


def test_every_scale() -> None:
    config = EngineConfig()
    elements = np.arange(-128, 128).astype(np.int8).reshape(1, 8, BLOCK)
    unit, rows, expected = Dequantiser(), [], []
    for scale in [*range(100, 160), 0, 1, 254, 255]:
        table = BlockMatrix(elements, np.full((1, 8), scale, dtype=np.uint8))
        golden = machine(config, to_tape(table, config))
        item = Instruction(Opcode.EMBED, blocks=8)
        expected += [(int(value),) for value in golden._embedding(item, 0)]
        rows += [(element, scale) for element in range(-128, 128)]
    pick = random.Random(0)
    chosen = [i for i in range(len(rows)) if i % 256 in (0, 1, 127, 128, 129, 255)]
    chosen += pick.sample(range(len(rows)), 1500)
    pipeline = Pipeline(unit, [unit.element, unit.scale], [unit.value], Dequantiser.LATENCY)
    assert pipeline.run([rows[i] for i in chosen]) == [expected[i] for i in chosen]


class Bench:
    """A loader with an embedding table of ``blocks`` blocks a row and a rotary table."""

    def __init__(
        self,
        lanes: int,
        blocks: int,
        head_dim: int,
        vocabulary: int = 40,
        tokens: int = 1,
        **options: bool,
    ) -> None:
        self.config = EngineConfig(
            lanes, tokens=tokens, max_dim=256, max_hidden=512, max_head_dim=64, **options
        )
        self.unit = Loader(self.config)
        self.blocks, self.head_dim = blocks, head_dim
        pick = np.random.default_rng(lanes + blocks)
        elements = pick.integers(-128, 128, (vocabulary, blocks, BLOCK)).astype(np.int8)
        scales = pick.choice([0, 108, 109, 110, 120, 127, 140, 141, 142, 255], (vocabulary, blocks))
        self.table = to_tape(BlockMatrix(elements, scales.astype(np.uint8)), self.config)
        self.rope_words = -(-2 * head_dim // lanes)
        rope = pick.integers(0, 256, 64 * self.rope_words * lanes).astype(np.uint8)
        self.rope = rope.reshape(64, -1)
        self.golden = machine(self.config, np.concatenate([self.table, rope]))
        self.golden.registers[Register.HEAD_DIM] = head_dim
        self.clock = Clock()
        self.taken: list[int] = []
        self.arrived: list[int] = []
        self.values: list[tuple[int, int, int, int]] = []

    def embed_words(self, token: int) -> list[int]:
        """What the fetch unit reads: per block its word of scales, then its elements."""
        words, lanes = self.table.reshape(-1, self.config.lanes), self.config.lanes
        found = []
        for block in range(self.blocks):
            place = row_block(self.config, token, block, self.blocks)
            scale, _, first, _ = block_address(self.config, place)
            found += [words[scale], *words[first : first + self.config.words_per_block]]
        return [int.from_bytes(word.tobytes()[:lanes], "little") for word in found]

    def rope_row(self, position: int) -> list[int]:
        words = self.rope[position].reshape(-1, self.config.lanes)
        return [int.from_bytes(word.tobytes(), "little") for word in words]

    def watch(self) -> Process:
        yield "passive"
        unit = self.unit
        while True:
            if (yield unit.sink.valid) and (yield unit.sink.ready):
                self.taken.append(self.clock.cycle)
            if (yield unit.valid):
                self.arrived.append(self.clock.cycle)
                value, index = (yield unit.value), (yield unit.index)
                self.values.append((value, index, (yield unit.last), (yield unit.row)))
            yield

    def load(self, words: list[int], start: Process, stall: float) -> Process:
        yield from start
        yield
        assert (yield self.unit.busy)
        yield from Sender(self.unit.sink, [self.unit.sink.data], words, stall).process()
        while (yield self.unit.busy):
            yield

    def embed(self, tokens: list[int], stall: float) -> Process:
        unit = self.unit
        for signal, token in zip(unit.tokens, tokens, strict=False):
            yield signal.eq(token)
        yield unit.last_row.eq(len(tokens) - 1)
        yield unit.blocks.eq(self.blocks)
        words = [word for token in tokens for word in self.embed_words(token)]
        yield from self.load(words, pulse(unit.start_embed), stall)

    def turn(self, positions: list[int], stall: float) -> Process:
        unit = self.unit
        yield unit.words.eq(self.rope_words)
        yield unit.head_dim.eq(self.head_dim)
        yield unit.last_row.eq(len(positions) - 1)
        words = [word for position in positions for word in self.rope_row(position)]
        yield from self.load(words, pulse(unit.start_rope), stall)

    def check_tables(self, positions: list[int]) -> Process:
        for row, position in enumerate(positions):
            yield from self.check_table(row, position)

    def check_table(self, row: int, position: int) -> Process:
        unit, pairs = self.unit, []
        yield
        for pair in range(self.head_dim // 2):
            yield unit.pair.eq(pair)
            yield unit.pair_row.eq(row)
            yield
            yield
            pairs.append(((yield unit.cosine), (yield unit.sine)))
        # The rotary table lies behind the embedding.
        base = len(self.table) // self.config.lanes
        item = Instruction(Opcode.ROPE, base=base, words=self.rope_words)
        cosine, sine = self.golden._rotation(item, position)
        assert pairs == list(zip(cosine.tolist(), sine.tolist(), strict=True))

    def check_rows(self, tokens: list[int]) -> None:
        item, expected = Instruction(Opcode.EMBED, blocks=self.blocks), []
        for row, token in enumerate(tokens):
            golden = self.golden._embedding(item, token)
            last = len(golden) - 1
            expected += [(int(v), i, int(i == last), row) for i, v in enumerate(golden)]
        assert self.values == expected
        self.values.clear()

    def run(self, main: Process) -> None:
        simulate(self.unit, [self.clock.process(), self.watch(), main])


PASSES = [
    ([0], [0]),
    ([1, 39], [63, 0]),
    ([39, 7, 7, 22], [1, 2, 3, 4]),
    ([22, 0, 1], [30, 0, 7]),
    ([5], [9]),
]
"""Tokens and positions of the token rows."""


@pytest.mark.parametrize("stall", [0.0, 0.6])
@pytest.mark.parametrize(("lanes", "tokens"), [(2, 1), (4, 1), (16, 1), (32, 1), (64, 1),
                                               (2, 4), (16, 3), (32, 2), (64, 4)])  # fmt: skip
@pytest.mark.parametrize(("blocks", "head_dim"), [(1, 2), (3, 24), (8, 64)])
def test_tables(lanes: int, tokens: int, blocks: int, head_dim: int, stall: float) -> None:
    """Embedding and rotary rows in turn, as at the start of each pass."""
    bench = Bench(lanes, blocks, head_dim, tokens=tokens)

    def main() -> Process:
        for all_tokens, all_positions in PASSES:
            rows, positions = all_tokens[:tokens], all_positions[:tokens]
            yield from bench.embed(rows, stall)
            yield from bench.turn(positions, stall)
            yield from bench.check_tables(positions)
            bench.check_rows(rows)

    bench.run(main())


@pytest.mark.parametrize("lanes", [2, 16, 64])
def test_latency_and_rate(lanes: int) -> None:
    bench = Bench(lanes, 2, 8)
    bench.run(bench.embed([5], 0.0))
    per_word = min(lanes, BLOCK)
    # Of the words taken, the first one of each block is its scales.
    words = bench.taken[1 : 1 + bench.config.words_per_block]
    first = bench.arrived[: len(words) * per_word : per_word]
    assert [b - a for a, b in zip(words, first, strict=True)] == (
        [Dequantiser.LATENCY + 2] * len(words)
    )
    gaps = [b - a for a, b in zip(bench.arrived, bench.arrived[1:], strict=False)]
    assert gaps.count(1) == len(gaps) - 1  # one element per cycle, but for the second scale


@pytest.mark.parametrize(("lanes", "tokens"), [(2, 1), (4, 3), (16, 4), (64, 1)])
def test_tables_of_a_layer(lanes: int, tokens: int) -> None:
    """Biases and gains between rotary rows, which stay; their last word may be filled up."""
    bench = Bench(lanes, 1, 24, tokens=tokens, qkv_bias=True, qk_norm=True)
    pick = np.random.default_rng(lanes)
    found: list[tuple[int, int]] = []

    def watch() -> Process:
        yield "passive"
        unit = bench.unit
        while True:
            if (yield unit.table_valid):
                found.append(((yield unit.table_index), (yield unit.table_value)))
            yield

    def table(entries: int, stall: float) -> Process:
        words = -(-4 * entries // lanes)
        data = pick.integers(0, 256, words * lanes).astype(np.uint8)
        yield bench.unit.words.eq(words)
        numbers = [int.from_bytes(word.tobytes(), "little") for word in data.reshape(-1, lanes)]
        yield from bench.load(numbers, pulse(bench.unit.start_table), stall)
        assert found == list(enumerate(data.view("<u4").tolist()))
        found.clear()

    def main() -> Process:
        positions = [5, 3, 60, 0][:tokens]
        yield from bench.turn(positions, 0.3)
        yield from table(300, 0.0)
        yield from table(48, 0.5)
        assert not found
        yield from bench.check_tables(positions)
        yield from table(bench.config.bias_rows, 0.0)
        yield from bench.turn(positions, 0.0)
        yield from bench.check_tables(positions)
        assert not found

    simulate(bench.unit, [bench.clock.process(), watch(), main()])
