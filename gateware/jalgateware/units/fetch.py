"""Walks the program ahead of its execution and reads from DRAM what it will consume."""

from collections.abc import Sequence

from litedram.common import LiteDRAMNativePort
from litex.gen import LiteXModule
from litex.soc.interconnect import stream
from migen import FSM, Case, If, Mux, NextState, ResetInserter, Signal

from jalgateware.contract.config import EngineConfig
from jalgateware.contract.isa import FIELDS, INSTRUCTION_WORDS, Opcode, Register
from jalgateware.units.program import ProgramMemory
from jalgateware.units.read_commands import REGISTER_BITS, ReadCommands
from jalgateware.units.reader import ADDRESS_BITS, StreamReader

INSTRUCTION_DEPTH = 8
"""Instructions fetched ahead of their execution."""

COMMAND_DEPTH = 16
"""Reads decided on ahead of the reader: hides decoding behind the words of earlier instructions."""


class Fetch(LiteXModule):
    """Runs through the program once per ``start``; streams its instructions and their words.

    Which words an instruction needs: see :class:`~jalgateware.units.read_commands.ReadCommands`. A
    MATVEC that is only for sampling is left out altogether when the pass does not sample.

    Interface: ``program_write``, ``program_address``, ``program_data``: writes the program while
    idle; ``reset_program`` (pulse, while idle): the next pass starts at instruction 0. ``start``
    (pulse, while not ``walking``) with ``tokens``, ``positions``, ``kv_bases`` (one per token row),
    ``last_row``, ``shared`` and ``sample``, which stay while ``walking``; ``tape_base``: stable.
    ``registers``: as written by SET. ``instructions``: stream of the fields, all but SET;
    ``source``: stream of words; ``word_pulse``: a word was handed over. ``abort`` (pulse) ends the
    pass and forgets what was fetched; the next one starts where this one did. ``idle``: nothing
    fetched, nothing on its way.
    Latency: ``LATENCY`` cycles from ``start`` to the DRAM request of a MATVEC that comes first, 8
    more for an EMBED and one per significant bit of its ``blocks``. Throughput: one word per cycle;
    a MATVEC takes 13 cycles, hidden behind the words of the ones before.
    Overflow: ``illegal`` tells that the pass met an unknown opcode or the end of the program memory
    and stopped; ``reset_program`` clears it.
    Golden model: :class:`jalgateware.golden.machine.Machine` (order and addresses).
    """

    LATENCY = 18

    def __init__(self, config: EngineConfig, read_ports: Sequence[LiteDRAMNativePort]) -> None:
        self.program_write = Signal()
        self.program_address = Signal(max=config.max_instructions * INSTRUCTION_WORDS)
        self.program_data = Signal(32)
        self.reset_program = Signal()
        self.start = Signal()
        self.sample = Signal()
        self.tape_base = Signal(ADDRESS_BITS)
        self.abort = Signal()
        self.walking = Signal()
        self.idle = Signal()
        self.illegal = Signal()
        self.registers = {register: Signal(REGISTER_BITS, reset_less=True) for register in Register}
        self.instructions = stream.Endpoint([(name, width) for name, (_, width) in FIELDS.items()])
        self.source = stream.Endpoint([("data", config.word_bits)])
        self.word_pulse = Signal()

        # # #

        self.program = ProgramMemory(config)
        self.read_commands = commands = ReadCommands(config, self.program.field, self.registers)
        self.tokens, self.positions = commands.tokens, commands.positions
        self.kv_bases, self.last_row = commands.kv_bases, commands.last_row
        self.shared = commands.shared
        self.queue = ResetInserter()(
            stream.SyncFIFO(self.instructions.description, INSTRUCTION_DEPTH)
        )
        self.commands = ResetInserter()(
            stream.SyncFIFO(self.read_commands.source.description, COMMAND_DEPTH)
        )
        self.reader = StreamReader(config, read_ports)
        self.comb += [
            self.program.write.eq(self.program_write),
            self.program.write_address.eq(self.program_address),
            self.program.write_data.eq(self.program_data),
            self.queue.source.connect(self.instructions),
            self.read_commands.source.connect(self.commands.sink),
            self.commands.source.connect(self.reader.sink),
            self.reader.source.connect(self.source),
            self.word_pulse.eq(self.source.valid & self.source.ready),
            self.queue.reset.eq(self.abort),
            self.read_commands.reset.eq(self.abort),
            self.commands.reset.eq(self.abort),
            self.reader.abort.eq(self.abort),
            self.idle.eq(
                self.reader.idle
                & ~(self.walking | self.commands.source.valid | self.instructions.valid)
            ),
        ]
        self._pass()
        self._walk(config)

    def _pass(self) -> None:
        """What is constant during a pass, and where the program starts."""
        field = self.program.field
        self._accept, self._advance, self._end = Signal(), Signal(), Signal()
        self._set, self._stop = Signal(), Signal()
        # One bit more than an index, so that running off the end shows.
        self._counter, self._first = (Signal(len(self.program.index) + 1) for _ in range(2))
        self.comb += [
            self.program.index.eq(self._counter),
            self.read_commands.tape_base.eq(self.tape_base),
        ]
        self.sync += [
            If(self._accept, self._counter.eq(self._first)),
            If(self._advance, self._counter.eq(self._counter + 1)),
            If(self._end, self._first.eq(field["base"])),
            If(self._stop, self.illegal.eq(1)),
            If(self.reset_program, self._first.eq(0), self.illegal.eq(0)),
        ]
        select, setting = field["rows"][: max(Register).bit_length()], Signal()
        # A cycle behind the state machine: the fields stay until the next instruction comes.
        self.sync += setting.eq(self._set)
        self.sync += [
            If(setting & (select == register), signal.eq(field["base"]))
            for register, signal in self.registers.items()
        ]

    def _walk(self, config: EngineConfig) -> None:
        """Read, decode, hand over, and wait until all reads of the instruction are decided on."""
        field, opcode = self.program.field, self.program.field["opcode"]
        hand_over = [int(item) for item in Opcode if item not in (Opcode.SET, Opcode.MATVEC)]
        for item, known in ((Opcode.BIASES, config.qkv_bias), (Opcode.GAINS, config.qk_norm)):
            if not known:
                hand_over.remove(item)
        next_instruction = [self._advance.eq(1), NextState("READ")]
        self.walker = walker = ResetInserter()(FSM(reset_state="IDLE"))
        self.comb += [
            walker.reset.eq(self.abort),
            self.walking.eq(~walker.ongoing("IDLE")),
            *[getattr(self.queue.sink, name).eq(signal) for name, signal in field.items()],
        ]
        walker.act("IDLE", If(self.start, self._accept.eq(1), NextState("READ")))
        walker.act("READ", self.program.read.eq(1), NextState("WAIT"))
        walker.act("WAIT", If(self.program.done, NextState("DECODE")))
        walker.act(
            "DECODE",
            Case(
                Mux(self._counter[-1], 0, opcode),
                {
                    int(Opcode.SET): [self._set.eq(1), *next_instruction],
                    int(Opcode.MATVEC): If(
                        field["sampled_only"] & ~self.sample, *next_instruction
                    ).Else(NextState("PUSH")),
                    **dict.fromkeys(hand_over, NextState("PUSH")),
                    "default": [self._stop.eq(1), NextState("IDLE")],
                },
            ),
        )
        walker.act(
            "PUSH",
            self.queue.sink.valid.eq(1),
            If(
                self.queue.sink.ready,
                self.read_commands.start.eq(1),
                NextState("COMMANDS"),
                If(opcode == Opcode.END, self._end.eq(1), NextState("IDLE")),
            ),
        )
        walker.act("COMMANDS", If(self.read_commands.idle, *next_instruction))
