"""The decode engine: from a program and a tape of weights in DRAM to sampled tokens."""

from collections.abc import Sequence
from typing import Any

from litedram.common import LiteDRAMNativePort
from litex.gen import LiteXModule
from litex.soc.interconnect import stream
from migen import If, ResetInserter, Signal

from jalgateware.contract.config import EngineConfig
from jalgateware.contract.isa import Destination, EngineError, Register
from jalgateware.units.attention import Attention
from jalgateware.units.engine_registers import EngineRegisters
from jalgateware.units.fetch import Fetch
from jalgateware.units.kv_writer import KVWriter
from jalgateware.units.lanes import Lanes
from jalgateware.units.lanes import command_layout as lanes_layout
from jalgateware.units.loader import Loader
from jalgateware.units.quantiser import Quantiser
from jalgateware.units.reader import ADDRESS_BITS
from jalgateware.units.sampler import Sampler
from jalgateware.units.sequencer import Sequencer
from jalgateware.units.token_loop import OUTPUT_DEPTH, PROMPT_DEPTH, TokenLoop
from jalgateware.units.vector_unit import VectorUnit
from jalgateware.units.vector_unit import command_layout as vector_layout


class Datapath(LiteXModule):
    """Everything that a pass runs through behind the fetch unit; cut-off runs reset it as a whole.

    Interface: ``instructions``, ``words``: from the fetch unit; ``token``, ``position``: of the
    pass; ``registers``: the model's constants; ``kv_base`` (absolute word address), ``seed``,
    ``inverse_temperature``; ``pass_start``; ``pass_done``, ``sampled_token``; ``write_port``: for
    keys and values; stall and saturation signals for counters. Latency: see the units. Throughput:
    one tape word per cycle. Golden model: :class:`jalgateware.golden.machine.Machine`.
    """

    def __init__(
        self,
        config: EngineConfig,
        registers: dict[Register, Signal],
        instructions: stream.Endpoint,
        words: stream.Endpoint,
        write_port: LiteDRAMNativePort,
    ) -> None:
        self.loop_token = Signal(24)
        self.position = Signal(16)
        self.sample = Signal()
        self.pass_start = Signal()
        self.kv_base = Signal(ADDRESS_BITS)
        self.seed = Signal(32)
        self.inverse_temperature = Signal(17)
        self.saturated = Signal(5)
        self.pass_done = Signal()

        # # #

        self.sequencer = sequencer = Sequencer(config)
        self.lanes = lanes = Lanes(config)
        self.quantiser = quantiser = Quantiser(config)
        self.vector = vector = VectorUnit(config)
        self.loader = loader = Loader(config)
        self.attention = attention = Attention(config)
        self.sampler = sampler = Sampler(config)
        self.writer = KVWriter(config, write_port)
        # Whether a word can go is known late; the FIFO that it comes from is far away.
        self.skid = skid = stream.Buffer(words.description, pipe_valid=False, pipe_ready=True)
        current = sequencer.current
        self.comb += [
            instructions.connect(sequencer.instructions),
            words.connect(skid.sink),
            skid.source.connect(sequencer.sink),
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
        # Lanes read, rows come back, the quantiser keeps what the next matrix reads.
        self.comb += [
            quantiser.read_buffer.eq(lanes.buffer),
            quantiser.read_address.eq(lanes.address),
            lanes.activations.eq(quantiser.activations),
            lanes.shift.eq(quantiser.shift),
            lanes.ready_blocks.eq(quantiser.ready_x),
            If(lanes.buffer, lanes.ready_blocks.eq(quantiser.ready_h)),
            lanes.source.connect(vector.rows),
            quantiser.invalidate.eq(sequencer.invalidate),
            quantiser.invalidate_buffer.eq(sequencer.invalidate_buffer),
            quantiser.value.eq(vector.vector_value),
            quantiser.buffer.eq(vector.vector_buffer),
            quantiser.last.eq(vector.vector_last),
            quantiser.valid.eq(vector.vector_valid),
            vector.norm.square_sum.eq(quantiser.square_sum),
            vector.norm.square_sum_valid.eq(quantiser.square_sum_valid),
            vector.norm.epsilon.eq(registers[Register.EPSILON]),
            vector.embed_start.eq(sequencer.start_embed),
        ]
        # Sampler.
        sampled = Signal()
        self.sync += [If(self.pass_start, sampled.eq(0)), If(sampler.done, sampled.eq(1))]
        self.comb += [
            sampler.start.eq(self.pass_start),
            sampler.seed.eq(self.seed),
            sampler.position.eq(self.position),
            sampler.inverse_temperature.eq(self.inverse_temperature),
            sampler.valid.eq(vector.logit_valid),
            sampler.logit.eq(vector.logit_value),
            sampler.index.eq(vector.logit_index),
            sampler.last.eq(vector.logit_last),
            sequencer.sampled.eq(sampled),
            self.saturated.eq(vector.saturated + lanes.saturated + attention.saturated),
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
        """Embedding row and rotary angles."""
        loader, vector, sequencer = self.loader, self.vector, self.sequencer
        self.comb += [
            loader.start_embed.eq(sequencer.start_embed),
            loader.start_rope.eq(sequencer.start_rope),
            loader.token.eq(self.loop_token),
            loader.blocks.eq(current["blocks"]),
            loader.words.eq(current["words"]),
            loader.head_dim.eq(registers[Register.HEAD_DIM]),
            vector.embed_value.eq(loader.value),
            vector.embed_index.eq(loader.index),
            vector.embed_last.eq(loader.last),
            vector.embed_valid.eq(loader.valid),
            loader.pair.eq(vector.pair),
            vector.cosine.eq(loader.cosine),
            vector.sine.eq(loader.sine),
            vector.head_dim.eq(registers[Register.HEAD_DIM]),
        ]

    def _attend(self, current: dict[str, Signal], registers: dict[Register, Signal]) -> None:
        """Queries, keys and values to attention; keys and values to DRAM as well."""
        attention, vector, writer = self.attention, self.vector, self.writer
        for buffer, kind in (
            (attention.query_write, Destination.QUERY),
            (attention.key_write, Destination.KEY),
            (attention.value_write, Destination.VALUE),
        ):
            self.comb += [
                buffer.valid.eq(vector.kv_valid & (vector.kv_kind == kind)),
                buffer.index.eq(vector.kv_index),
                buffer.data.eq(vector.kv_data),
            ]
        self.comb += [
            attention.start.eq(self.sequencer.start_attention),
            attention.kv_heads.eq(registers[Register.KV_HEADS]),
            attention.group.eq(registers[Register.GROUP]),
            attention.head_dim.eq(registers[Register.HEAD_DIM]),
            attention.head_words.eq(registers[Register.HEAD_WORDS]),
            attention.position.eq(self.position),
            attention.score_shift.eq(current["out_shift"]),
            attention.value_shift.eq(current["fraction"]),
            attention.source.connect(vector.attention),
            writer.begin.eq(vector.kv_begin),
            writer.base.eq(self.kv_base + vector.kv_base),
            writer.position.eq(self.position),
            writer.head_dim.eq(registers[Register.HEAD_DIM]),
            writer.head_words.eq(registers[Register.HEAD_WORDS]),
            writer.head_stride.eq(registers[Register.HEAD_STRIDE]),
            writer.valid.eq(vector.kv_valid & (vector.kv_kind != Destination.QUERY)),
            writer.data.eq(vector.kv_data),
            vector.kv_room.eq(writer.room),
        ]


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
        self.token_loop = loop = ResetInserter()(TokenLoop())
        self.prompt = prompt = ResetInserter()(
            stream.SyncFIFO(loop.prompt.description, PROMPT_DEPTH, buffered=True)
        )
        self.output = output = ResetInserter()(
            stream.SyncFIFO(loop.output.description, OUTPUT_DEPTH, buffered=True)
        )
        self.datapath = datapath = ResetInserter()(
            Datapath(config, fetch.registers, fetch.instructions, fetch.source, write_port)
        )
        cut = Signal()
        error = Signal(8)
        self.comb += [
            # An error cuts the run off once: what is being dropped comes to rest behind it.
            cut.eq(registers.stop | registers.reset | (loop.running & (error != 0))),
            loop.reset.eq(cut),
            datapath.reset.eq(cut),
            fetch.abort.eq(cut),
            prompt.reset.eq(cut | registers.start),
            output.reset.eq(registers.reset | registers.start),
            fetch.reset_program.eq(registers.start | registers.reset),
        ]
        self.sync += [
            If(fetch.illegal & loop.running, error.eq(EngineError.ILLEGAL_INSTRUCTION)),
            If(datapath.writer.overflow, error.eq(EngineError.CACHE_OVERRUN)),
            If(registers.start | registers.reset, error.eq(0)),
        ]
        # Program, bases, prompt and samples.
        self.comb += [
            fetch.program_write.eq(registers.program_write),
            fetch.program_address.eq(registers.program_address),
            fetch.program_data.eq(registers.program_data),
            fetch.tape_base.eq(registers.tape_base),
            fetch.kv_base.eq(registers.kv_base),
            datapath.kv_base.eq(registers.kv_base),
            datapath.seed.eq(registers.seed),
            datapath.inverse_temperature.eq(registers.inverse_temperature),
            prompt.sink.valid.eq(registers.prompt_write),
            prompt.sink.token.eq(registers.prompt_data),
            prompt.sink.final.eq(registers.prompt_data[31]),
            prompt.source.connect(loop.prompt),
            loop.output.connect(output.sink),
            output.source.ready.eq(registers.output_pop),
        ]
        # A pass.
        self.comb += [
            loop.start.eq(registers.start),
            loop.first_position.eq(registers.position),
            loop.generate_count.eq(registers.generate_count),
            loop.context.eq(registers.context),
            *[a.eq(b) for a, b in zip(loop.stop_tokens, registers.stop_tokens, strict=True)],
            # The next pass reads what this one wrote to the cache.
            loop.pass_ready.eq(~fetch.walking & datapath.writer.idle),
            fetch.start.eq(loop.pass_start),
            datapath.pass_start.eq(loop.pass_start),
            loop.pass_done.eq(datapath.pass_done),
            loop.sampled_token.eq(datapath.sampler.token),
        ]
        for unit in (fetch, datapath):
            token = unit.token if unit is fetch else unit.loop_token
            self.comb += [
                token.eq(loop.token),
                unit.position.eq(loop.position),
                unit.sample.eq(loop.sample),
            ]
        done = Signal()
        self.sync += [
            If(registers.start | registers.reset, done.eq(0)),
            If(registers.stop, done.eq(1)),
            If(was_running(self, loop.running) & ~loop.running, done.eq(1)),
        ]
        self.comb += [
            registers.busy.eq(loop.running | ~fetch.idle | ~datapath.writer.idle),
            registers.done.eq(done),
            registers.error.eq(error),
            registers.prompt_ready.eq(prompt.sink.ready),
            registers.output_valid.eq(output.source.valid),
            registers.output_token.eq(output.source.token),
            registers.output_cycles.eq(output.source.cycles),
        ]
        self._count(config)

    def get_csrs(self, sort: bool = False) -> list[Any]:
        """The registers, named after the engine instead of the module that holds them."""
        return list(self.registers.get_csrs(sort))

    def _count(self, config: EngineConfig) -> None:
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


def was_running(module: LiteXModule, running: Signal) -> Signal:
    """``running`` of the cycle before."""
    before = Signal()
    module.sync += before.eq(running)
    return before
