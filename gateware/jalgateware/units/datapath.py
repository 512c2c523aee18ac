"""What a pass runs through behind the fetch unit."""

from typing import Any

from litex.gen import LiteXModule
from litex.soc.interconnect import stream
from migen import Array, If, Mux, Signal

from jalgateware.contract.config import EngineConfig
from jalgateware.contract.formats import POSITION_BITS, TOKEN_BITS
from jalgateware.contract.isa import Destination, Opcode, Register
from jalgateware.units.attention import Attention
from jalgateware.units.engine_registers import EVENT_BITS
from jalgateware.units.kv_writer import KVWriter
from jalgateware.units.lanes import Lanes
from jalgateware.units.lanes import command_layout as lanes_layout
from jalgateware.units.loader import Loader
from jalgateware.units.logit_packer import LogitPacker
from jalgateware.units.pipeline import each
from jalgateware.units.quantiser import Quantiser
from jalgateware.units.reader import ADDRESS_BITS
from jalgateware.units.row_entry import command_layout as vector_layout
from jalgateware.units.row_packer import RowPacker
from jalgateware.units.sampler import Sampler
from jalgateware.units.sequencer import Sequencer
from jalgateware.units.vector_unit import VectorUnit


class Datapath(LiteXModule):
    """Everything that a pass runs through behind the fetch unit; cut-off runs reset it as a whole.

    Interface: ``instructions``, ``words``: from the fetch unit; ``tokens``, ``positions``,
    ``kv_bases`` (absolute word addresses), ``seeds``: of each token row, ``last_row``, ``shared``,
    ``sample``: of the pass; ``registers``: the model's constants; ``inverse_temperature``;
    ``write_logits``: those of token row ``last_row`` go to the writer; ``pass_start``;
    ``pass_done``; ``writer``: takes keys, values and logits, and what it has taken gets through
    where a run is cut off; ``ending``: it is, and the writer takes nothing more; stall and
    saturation signals for counters. Latency: see the units. Throughput: one tape word per cycle.
    Golden model: :class:`jalgateware.golden.machine.Machine`.
    """

    def __init__(
        self,
        config: EngineConfig,
        registers: dict[Register, Signal],
        instructions: stream.Endpoint,
        words: stream.Endpoint,
        writer: KVWriter,
    ) -> None:
        rows = config.tokens
        self.tokens = [Signal(TOKEN_BITS) for _ in range(rows)]
        self.positions = [Signal(POSITION_BITS) for _ in range(rows)]
        self.kv_bases = [Signal(ADDRESS_BITS) for _ in range(rows)]
        self.seeds = [Signal(32) for _ in range(rows)]
        self.last_row = Signal(max=max(2, rows))
        self.shared = Signal()
        self.sample = Signal()
        self.pass_start = Signal()
        self.inverse_temperature = Signal(17)
        self.write_logits = Signal()
        self.ending = Signal()
        self.saturated = Signal(EVENT_BITS)
        self.pass_done = Signal()

        # # #

        self.sequencer = sequencer = Sequencer(config)
        self.lanes = lanes = Lanes(config)
        self.quantisers = [Quantiser(config) for _ in range(rows)]
        self.submodules += self.quantisers
        self.vector = vector = VectorUnit(config)
        self.loader = loader = Loader(config)
        self.packer = packer = RowPacker(config)
        self.attention = attention = Attention(config, packer)
        self.sampler = sampler = Sampler(config)
        # Of a word that is there, the units know from a register, and so does the fetch unit of
        # one that is taken.
        self.spare_word = spare = stream.PipeReady(words.description)
        self.word = word = stream.PipeValid(words.description)
        word.source.data.reset_less = True
        current = sequencer.current
        self.comb += [
            instructions.connect(sequencer.instructions),
            words.connect(spare.sink),
            spare.source.connect(word.sink),
            word.source.connect(sequencer.sink),
            sequencer.lanes.connect(lanes.sink),
            sequencer.loader.connect(loader.sink),
            sequencer.attention.connect(attention.sink),
            sequencer.lanes_busy.eq(lanes.busy),
            sequencer.loader_busy.eq(loader.busy),
            sequencer.attention_busy.eq(attention.busy),
            sequencer.quiet.eq(vector.quiet),
            sequencer.norm_valid.eq(vector.norm.valid),
            sequencer.sampling.eq(self.sample),
            self.pass_done.eq(sequencer.pass_done),
        ]
        self._matvec(current)
        self._tables(current, registers)
        self._attend(current, registers)
        self._write(config, registers, writer)
        self._activations(registers)
        self.comb += [
            vector.embed_start.eq(sequencer.start_embed),
            *[
                unit.last_row.eq(self.last_row)
                for unit in (vector, loader, packer, attention, sampler)
            ],
        ]
        # Sampler.
        sampled = Signal()
        self.sync += [If(self.pass_start, sampled.eq(0)), If(sampler.done, sampled.eq(1))]
        self.comb += [
            sampler.start.eq(self.pass_start),
            *each(sampler.seeds, self.seeds),
            *each(sampler.positions, self.positions),
            sampler.inverse_temperature.eq(self.inverse_temperature),
            sampler.logit.eq(vector.logit_value),
            *_same(sampler, vector, "logit", "valid", "index", "row", "last"),
            sequencer.sampled.eq(sampled),
        ]
        self.sync += self.saturated.eq(vector.saturated + lanes.saturated + attention.saturated)

    def _activations(self, registers: dict[Register, Signal]) -> None:
        """Lanes read, rows come back, the quantisers keep what the next matrix reads."""
        lanes, vector, sequencer = self.lanes, self.vector, self.sequencer
        for row, quantiser in enumerate(self.quantisers):
            self.comb += [
                quantiser.read_buffer.eq(lanes.buffer),
                quantiser.read_address.eq(lanes.address),
                lanes.activations[row].eq(quantiser.activations),
                lanes.shifts[row].eq(quantiser.shift),
                quantiser.invalidate.eq(sequencer.invalidate),
                quantiser.invalidate_buffer.eq(sequencer.invalidate_buffer),
                quantiser.value.eq(vector.vector_value),
                quantiser.buffer.eq(vector.vector_buffer),
                quantiser.last.eq(vector.vector_last),
                quantiser.valid.eq(vector.vector_valid[row]),
                vector.norm.square_sums[row].eq(quantiser.square_sum),
                vector.norm.square_sum_valid[row].eq(quantiser.square_sum_valid),
                lanes.active[row].eq(self.last_row >= row),
            ]
        # A token row's block is complete before that of the next row.
        levels = []
        for counts in zip(*((item.ready_x, item.ready_h) for item in self.quantisers), strict=True):
            level = counts[0]
            if len(counts) > 1:
                # Registered: a buffer is not read again so soon after it was invalidated.
                level = Signal.like(counts[0])
                self.sync += level.eq(Array(counts)[self.last_row])
            levels.append(level)
        self.comb += [
            lanes.level.eq(Mux(lanes.buffer, levels[1], levels[0])),
            lanes.source.connect(vector.rows),
            vector.norm.epsilon.eq(registers[Register.EPSILON]),
        ]

    def _matvec(self, current: dict[str, Signal]) -> None:
        """Lanes and vector unit take a matrix together."""
        lanes, vector, sequencer = self.lanes, self.vector, self.sequencer
        self.comb += [
            sequencer.matvec_ready.eq(lanes.command.ready & vector.command.ready),
            lanes.command.valid.eq(sequencer.matvec_valid & vector.command.ready),
            vector.command.valid.eq(sequencer.matvec_valid & lanes.command.ready),
            *[getattr(lanes.command, name).eq(current[name]) for name, _ in lanes_layout()],
            *[getattr(vector.command, name).eq(current[name]) for name, _ in vector_layout()],
        ]

    def _tables(self, current: dict[str, Signal], registers: dict[Register, Signal]) -> None:
        """Embedding row, rotary angles, and the layer's tables."""
        loader, vector, sequencer = self.loader, self.vector, self.sequencer
        biases = current["opcode"] == Opcode.BIASES
        self.comb += [
            loader.start_embed.eq(sequencer.start_embed),
            loader.start_rope.eq(sequencer.start_rope),
            loader.start_table.eq(sequencer.start_table),
            *each(loader.tokens, self.tokens),
            loader.blocks.eq(current["blocks"]),
            loader.words.eq(current["words"]),
            loader.head_dim.eq(registers[Register.HEAD_DIM]),
            vector.embed_value.eq(loader.value),
            vector.embed_index.eq(loader.index),
            vector.embed_row.eq(loader.row),
            vector.embed_last.eq(loader.last),
            vector.embed_valid.eq(loader.valid),
            loader.pair.eq(vector.pair),
            loader.pair_row.eq(vector.pair_row),
            vector.cosine.eq(loader.cosine),
            vector.sine.eq(loader.sine),
            vector.head_dim.eq(registers[Register.HEAD_DIM]),
            vector.table_index.eq(loader.table_index),
            vector.table_value.eq(loader.table_value),
            vector.bias_write.eq(loader.table_valid & biases),
            vector.gain_write.eq(loader.table_valid & ~biases),
            vector.bias_start.eq(sequencer.start_table & biases),
            vector.head_epsilon.eq(registers[Register.HEAD_EPSILON]),
        ]

    def _attend(self, current: dict[str, Signal], registers: dict[Register, Signal]) -> None:
        """Queries, keys and values to attention."""
        attention, vector, packer = self.attention, self.vector, self.packer
        self.comb += [
            *_same(packer, vector, "kv", "valid", "kind", "index", "row", "data"),
            packer.head_dim.eq(registers[Register.HEAD_DIM]),
            packer.group.eq(registers[Register.GROUP]),
            attention.start.eq(self.sequencer.start_attention),
            attention.kv_heads.eq(registers[Register.KV_HEADS]),
            attention.head_words.eq(registers[Register.HEAD_WORDS]),
            *each(attention.positions, self.positions),
            attention.shared.eq(self.shared),
            attention.score_shift.eq(current["out_shift"]),
            attention.value_shift.eq(current["fraction"]),
            attention.source.connect(vector.attention),
        ]

    def _write(
        self, config: EngineConfig, registers: dict[Register, Signal], writer: KVWriter
    ) -> None:
        """Keys and values to DRAM, and logits: never both at a time."""
        vector, packer = self.vector, self.packer
        self.comb += [
            *each(writer.kv_bases, self.kv_bases),
            *each(writer.positions, self.positions),
            writer.head_words.eq(registers[Register.HEAD_WORDS]),
            writer.head_stride.eq(registers[Register.HEAD_STRIDE]),
            writer.valid.eq(
                packer.word_valid & (packer.word_kind != Destination.QUERY) & ~self.ending
            ),
            writer.word.eq(packer.word),
            writer.row.eq(packer.word_row),
            writer.head.eq(packer.head),
            writer.chunk.eq(packer.chunk),
            writer.base.eq(
                Mux(packer.word_kind == Destination.VALUE, vector.value_base, vector.key_base)
            ),
            vector.kv_room.eq(writer.room),
        ]
        if not config.logits:
            return
        self.logits = logits = LogitPacker(config)
        self.comb += [
            logits.enable.eq(self.write_logits),
            logits.logit.eq(vector.logit_value),
            logits.chosen.eq(self.last_row),
            *_same(logits, vector, "logit", "valid", "index", "row", "last"),
            If(
                logits.word_valid & ~self.ending,
                writer.valid.eq(1),
                writer.word.eq(logits.word),
                writer.row.eq(config.tokens),
                writer.head.eq(0),
                writer.chunk.eq(0),
                writer.base.eq(logits.offset),
            ),
        ]


def _same(sink: Any, source: Any, prefix: str, *names: str) -> list[Any]:
    """Assigns a unit's signals, those of the source behind a prefix."""
    return [getattr(sink, name).eq(getattr(source, f"{prefix}_{name}")) for name in names]
