"""The decode engine: from a program and a tape of weights in DRAM to sampled tokens."""

from collections.abc import Sequence
from typing import Any

from litedram.common import LiteDRAMNativePort
from litex.gen import LiteXModule
from litex.soc.interconnect import stream
from migen import Cat, If, Mux, ResetInserter, Signal

from jalgateware.contract.config import EngineConfig
from jalgateware.contract.isa import EngineError, Register
from jalgateware.contract.mailbox import STREAM_SHIFT
from jalgateware.units.datapath import Datapath
from jalgateware.units.engine_registers import EngineRegisters
from jalgateware.units.fetch import Fetch
from jalgateware.units.kv_writer import KVWriter
from jalgateware.units.pipeline import delayed, each
from jalgateware.units.reader import ADDRESS_BITS
from jalgateware.units.token_loop import OUTPUT_DEPTH, PROMPT_DEPTH, STREAM_BITS, TokenLoop


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
        cut, error = Signal(), Signal(8)
        # An error cuts the run off: what is being dropped comes to rest behind it. Registered, as
        # it reaches everything; the datapath follows when the fetch unit's last word has come.
        dropping = delayed(self, cut, 1)
        last = delayed(self, dropping, 1)
        self.sync += cut.eq(registers.stop | registers.reset | (loop.running & (error != 0)))
        self.comb += [
            loop.reset.eq(cut),
            datapath.reset.eq(last),
            datapath.ending.eq(dropping | last),
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
            *each(loop.stop_tokens, registers.stop_tokens),
            # The next pass reads what this one wrote to the cache.
            loop.pass_ready.eq(~fetch.walking & writer.idle),
            fetch.start.eq(loop.pass_start),
            datapath.pass_start.eq(loop.pass_start),
            loop.pass_done.eq(datapath.pass_done),
            *each(loop.sampled_tokens, datapath.sampler.tokens),
        ]
        if config.logits:
            self.comb += [
                datapath.write_logits.eq(registers.logits_base[-1]),
                writer.logits_base.eq(registers.logits_base),
            ]
        self._rows(config)
        done = Signal()
        self.sync += [
            If(registers.start | registers.reset, done.eq(0)),
            If(registers.stop, done.eq(1)),
            If(delayed(self, loop.running, 1) & ~loop.running, done.eq(1)),
        ]
        # Registered: the bus is far away.
        self.sync += registers.busy.eq(loop.running | ~fetch.idle | ~writer.idle)
        self.comb += [
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
                *each(unit.tokens, loop.tokens),
                *each(unit.positions, loop.positions),
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
