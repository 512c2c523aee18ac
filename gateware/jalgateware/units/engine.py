"""The decode engine: from a program and a tape of weights in DRAM to sampled tokens."""

from collections.abc import Sequence
from typing import Any

from litedram.common import LiteDRAMNativePort
from litex.gen import LiteXModule
from litex.soc.interconnect import stream
from migen import Array, Cat, If, Mux, ResetInserter, Signal

from jalgateware.contract.config import EngineConfig
from jalgateware.contract.formats import POSITION_BITS, TOKEN_BITS
from jalgateware.contract.isa import Destination, EngineError, Opcode, Register
from jalgateware.contract.mailbox import STREAM_SHIFT
from jalgateware.units.attention import Attention
from jalgateware.units.engine_registers import EVENT_BITS, EngineRegisters
from jalgateware.units.fetch import Fetch
from jalgateware.units.kv_writer import KVWriter
from jalgateware.units.lanes import Lanes
from jalgateware.units.lanes import command_layout as lanes_layout
from jalgateware.units.loader import Loader
from jalgateware.units.pipeline import delayed
from jalgateware.units.quantiser import Quantiser
from jalgateware.units.reader import ADDRESS_BITS
from jalgateware.units.row_entry import command_layout as vector_layout
from jalgateware.units.row_packer import RowPacker
from jalgateware.units.sampler import Sampler
from jalgateware.units.sequencer import Sequencer
from jalgateware.units.token_loop import OUTPUT_DEPTH, PROMPT_DEPTH, STREAM_BITS, TokenLoop
from jalgateware.units.vector_unit import VectorUnit


class Datapath(LiteXModule):
    """Everything that a pass runs through behind the fetch unit; cut-off runs reset it as a whole.

    Interface: ``instructions``, ``words``: from the fetch unit; ``tokens``, ``positions``,
    ``kv_bases`` (absolute word addresses), ``seeds``: of each token row, ``last_row``, ``shared``,
    ``sample``: of the pass; ``registers``: the model's constants; ``inverse_temperature``;
    ``pass_start``; ``pass_done``; ``writer``: takes keys and values, and what it has taken
    gets through where a run is cut off; stall and saturation signals for counters. Latency: see the
    units. Throughput: one tape word per cycle. Golden model:
    :class:`jalgateware.golden.machine.Machine`.
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
        # Of a word that is there, the units know from a register.
        self.word = word = stream.PipeValid(words.description)
        word.source.data.reset_less = True
        current = sequencer.current
        self.comb += [
            instructions.connect(sequencer.instructions),
            words.connect(word.sink),
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
        self._attend(current, registers, writer)
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
            *_each(sampler.seeds, self.seeds),
            *_each(sampler.positions, self.positions),
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
            *_each(loader.tokens, self.tokens),
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

    def _attend(
        self, current: dict[str, Signal], registers: dict[Register, Signal], writer: KVWriter
    ) -> None:
        """Queries, keys and values to attention; keys and values to DRAM as well."""
        attention, vector, packer = self.attention, self.vector, self.packer
        self.comb += [
            *_same(packer, vector, "kv", "valid", "kind", "index", "row", "data"),
            packer.head_dim.eq(registers[Register.HEAD_DIM]),
            packer.group.eq(registers[Register.GROUP]),
            attention.start.eq(self.sequencer.start_attention),
            attention.kv_heads.eq(registers[Register.KV_HEADS]),
            attention.head_words.eq(registers[Register.HEAD_WORDS]),
            *_each(attention.positions, self.positions),
            attention.shared.eq(self.shared),
            attention.score_shift.eq(current["out_shift"]),
            attention.value_shift.eq(current["fraction"]),
            attention.source.connect(vector.attention),
            *_each(writer.kv_bases, self.kv_bases),
            *_each(writer.positions, self.positions),
            writer.head_words.eq(registers[Register.HEAD_WORDS]),
            writer.head_stride.eq(registers[Register.HEAD_STRIDE]),
            writer.valid.eq(packer.word_valid & (packer.word_kind != Destination.QUERY)),
            writer.word.eq(packer.word),
            writer.row.eq(packer.word_row),
            writer.head.eq(packer.head),
            writer.chunk.eq(packer.chunk),
            writer.base.eq(
                Mux(packer.word_kind == Destination.VALUE, vector.value_base, vector.key_base)
            ),
            vector.kv_room.eq(writer.room),
        ]


def _each(targets: Sequence[Signal], sources: Sequence[Signal]) -> list[Any]:
    """Assigns signal by signal."""
    return [target.eq(source) for target, source in zip(targets, sources, strict=True)]


def _same(sink: Any, source: Any, prefix: str, *names: str) -> list[Any]:
    """Assigns a unit's signals, those of the source behind a prefix."""
    return [getattr(sink, name).eq(getattr(source, f"{prefix}_{name}")) for name in names]


class Engine(LiteXModule):
    """Runs a decoder model token by token, on its own once started.

    Interface: ``read_ports``, ``write_port``: LiteDRAM native ports of ``8 * lanes`` bits; CSRs:
    see :class:`~jalgateware.units.engine_registers.EngineRegisters`. Latency: about 40 cycles from
    a matrix' last word to the first block that depends on it. Throughput: one tape word per cycle.
    Golden model: :class:`jalgateware.golden.machine.Machine`.

    Raises:
        ValueError: the number or the width of the ports is not that of the configuration.
    """

    def __init__(
        self,
        config: EngineConfig,
        read_ports: Sequence[LiteDRAMNativePort],
        write_port: LiteDRAMNativePort,
    ) -> None:
        if len(read_ports) != config.read_ports:
            raise ValueError(
                f"the engine has {config.read_ports} read ports, not {len(read_ports)}"
            )
        self.registers = registers = EngineRegisters(config)

        # # #

        self.fetch = fetch = Fetch(config, read_ports)
        self.token_loop = loop = ResetInserter()(TokenLoop(config))
        self.prompt = prompt = ResetInserter()(
            stream.SyncFIFO(loop.prompt.description, PROMPT_DEPTH, buffered=True)
        )
        self.output = output = ResetInserter()(
            stream.SyncFIFO(loop.output.description, OUTPUT_DEPTH, buffered=True)
        )
        self.writer = writer = KVWriter(config, write_port)
        self.datapath = datapath = ResetInserter()(
            Datapath(config, fetch.registers, fetch.instructions, fetch.source, writer)
        )
        cut = Signal()
        error = Signal(8)
        # An error cuts the run off: what is being dropped comes to rest behind it. Registered: it
        # reaches everything.
        self.sync += cut.eq(registers.stop | registers.reset | (loop.running & (error != 0)))
        self.comb += [
            loop.reset.eq(cut),
            datapath.reset.eq(cut),
            fetch.abort.eq(cut),
            prompt.reset.eq(cut | registers.start),
            output.reset.eq(registers.reset | registers.start),
            fetch.reset_program.eq(registers.start | registers.reset),
        ]
        self.sync += [
            If(fetch.illegal & loop.running, error.eq(EngineError.ILLEGAL_INSTRUCTION)),
            If(writer.overflow, error.eq(EngineError.CACHE_OVERRUN)),
            If(registers.start | registers.reset, error.eq(0)),
        ]
        # Program, bases, prompt and samples.
        self.comb += [
            fetch.program_write.eq(registers.program_write),
            fetch.program_address.eq(registers.program_address),
            fetch.program_data.eq(registers.program_data),
            fetch.tape_base.eq(registers.tape_base),
            datapath.inverse_temperature.eq(registers.inverse_temperature),
            prompt.sink.valid.eq(registers.prompt_write),
            prompt.sink.token.eq(registers.prompt_data),
            prompt.sink.stream.eq(registers.prompt_data[STREAM_SHIFT : STREAM_SHIFT + STREAM_BITS]),
            prompt.sink.final.eq(registers.prompt_data[31]),
            prompt.source.connect(loop.prompt),
            loop.output.connect(output.sink),
            output.source.ready.eq(registers.output_pop),
        ]
        if loop.drafter:
            self.comb += [
                loop.drafter.table_write.eq(registers.draft_write),
                loop.drafter.table_address.eq(registers.draft_address),
                loop.drafter.table_data.eq(registers.draft_data),
            ]
        self.comb += [
            loop.start.eq(registers.start),
            loop.first_position.eq(registers.position),
            loop.generate_count.eq(registers.generate_count),
            loop.context.eq(registers.context),
            loop.streams.eq(registers.streams),
            loop.most_drafts.eq(registers.drafts),
            *_each(loop.stop_tokens, registers.stop_tokens),
            # The next pass reads what this one wrote to the cache.
            loop.pass_ready.eq(~fetch.walking & writer.idle),
            fetch.start.eq(loop.pass_start),
            datapath.pass_start.eq(loop.pass_start),
            loop.pass_done.eq(datapath.pass_done),
            *_each(loop.sampled_tokens, datapath.sampler.tokens),
        ]
        self._rows(config)
        done = Signal()
        self.sync += [
            If(registers.start | registers.reset, done.eq(0)),
            If(registers.stop, done.eq(1)),
            If(delayed(self, loop.running, 1) & ~loop.running, done.eq(1)),
        ]
        self.comb += [
            registers.busy.eq(loop.running | ~fetch.idle | ~writer.idle),
            registers.done.eq(done),
            registers.error.eq(error),
            registers.prompt_ready.eq(prompt.sink.ready),
            registers.output_valid.eq(output.source.valid),
            registers.output_token.eq(Cat(output.source.token, output.source.stream)),
            registers.output_cycles.eq(output.source.cycles),
        ]
        self._count()

    def get_csrs(self, sort: bool = False) -> list[Any]:
        """The registers, named after the engine instead of the module that holds them."""
        return list(self.registers.get_csrs(sort))

    def _rows(self, config: EngineConfig) -> None:
        """Token rows of the pass: to the fetch unit and to the datapath."""
        loop, registers = self.token_loop, self.registers
        stride = self.fetch.registers[Register.SEQUENCE_STRIDE]
        for unit in (self.fetch, self.datapath):
            self.comb += [
                *_each(unit.tokens, loop.tokens),
                *_each(unit.positions, loop.positions),
                unit.last_row.eq(loop.last_row),
                unit.shared.eq(loop.shared),
                unit.sample.eq(loop.sample),
            ]
        for row, sequence in enumerate(loop.sequences):
            # Registered: the program's registers are set long before a second sequence is used.
            base, seed = registers.kv_base, registers.seed
            if config.tokens > 1:
                base, seed = Signal(ADDRESS_BITS), Signal(32)
                offset = sum(Mux(sequence[bit], stride << bit, 0) for bit in range(len(sequence)))
                self.sync += [
                    base.eq(registers.kv_base + offset),
                    seed.eq(registers.seed + sequence),
                ]
            self.comb += [
                self.fetch.kv_bases[row].eq(base),
                self.datapath.kv_bases[row].eq(base),
                self.datapath.seeds[row].eq(seed),
            ]

    def _count(self) -> None:
        """Feeds the counters."""
        loop, data = self.token_loop, self.datapath
        attending = data.attention.busy
        self.comb += [
            self.registers.events["cycles"].eq(loop.running),
            self.registers.events["busy"].eq(loop.running & ~loop.waits),
            self.registers.events["stall_weights"].eq(data.lanes.stall_weights & ~attending),
            self.registers.events["stall_kv"].eq(data.attention.stall),
            self.registers.events["stall_vector"].eq(data.lanes.stall_vector),
            self.registers.events["stall_host"].eq(loop.waits),
            self.registers.events["dram_words"].eq(self.fetch.word_pulse),
            self.registers.events["kv_words"].eq(self.fetch.word_pulse & attending),
            self.registers.events["saturations"].eq(data.saturated),
            self.registers.events["tokens"].eq(data.pass_done),
        ]
