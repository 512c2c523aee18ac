"""The engine's registers on the CSR bus: control, program, results, counters and limits."""

from litex.gen import LiteXModule
from litex.soc.interconnect.csr import CSRField, CSRStatus, CSRStorage
from migen import If, Signal

from jalgateware.contract.config import EngineConfig
from jalgateware.contract.drafting import TABLE_WORDS
from jalgateware.contract.isa import INSTRUCTION_WORDS, VERSION
from jalgateware.contract.mailbox import COUNTERS
from jalgateware.units.counters import Counters

COUNTER_BITS = 48
"""Of counts and of cycles in a run: a month at 100 MHz, then they begin again at 0."""

EVENT_BITS = 6

COUNTER_TEXT = {
    "cycles": "Cycles since the start of the run.",
    "busy": "Cycles in which the engine did not wait for the host.",
    "stall_weights": "Cycles in which the lanes waited for words of the weight tape.",
    "stall_kv": "Cycles in which attention waited for words of the KV cache.",
    "stall_vector": "Cycles in which the lanes waited for activations or for room for rows.",
    "stall_host": "Cycles in which the engine waited for a prompt token or for room for a sample.",
    "dram_words": "Engine words read from DRAM and used.",
    "kv_words": "Of these, words of the KV cache.",
    "saturations": "Values that did not fit their format and were clipped.",
    "tokens": "Passes completed.",
}


class EngineRegisters(LiteXModule):
    """CSRs of the engine, and the plain signals behind them.

    Interface: ``start``, ``stop``, ``reset`` (pulses); parameters as signals; ``program_write``
    (pulse) with address and data, ``draft_write`` likewise; ``prompt_write`` (pulse) with
    ``prompt_data``; ``output_pop`` (pulse); inputs ``busy``, ``done``, ``error``,
    ``prompt_ready``, ``output_valid``, ``output_token``, ``output_cycles``; ``events`` (by counter
    name): what a counter counts up by this cycle. A ``start`` clears the counters; writing
    ``counters_latch`` copies them to their CSRs, all as they are then; the last one is there
    ``Counters.COPY`` cycles later and as many more as there are counters.
    """

    def __init__(self, config: EngineConfig) -> None:
        self.busy, self.done, self.prompt_ready, self.output_valid = (Signal() for _ in range(4))
        self.error = Signal(8)
        self.output_token, self.output_cycles = Signal(32), Signal(COUNTER_BITS)
        self.events = {
            name: Signal(EVENT_BITS if name == "saturations" else 1) for name in COUNTERS
        }

        # # #

        self._control(config)
        if config.tokens > 1:
            self._draft_table()
        self._parameters(config)
        if config.logits:
            self.logits_base = self._parameter(
                "logits_base", 32, "DRAM address of the logits, in words; bit 31 has them written."
            )
        self._samples()
        self._counters()
        self._limits(config)

    def _control(self, config: EngineConfig) -> None:
        self.control = CSRStorage(
            fields=[
                CSRField("start", pulse=True, description="Starts a run."),
                CSRField("stop", pulse=True, description="Ends the run at once; samples stay."),
                CSRField("reset", pulse=True, description="Ends the run and forgets its samples."),
            ],
            description="Control of runs.",
        )
        self.status = CSRStatus(
            fields=[
                CSRField("busy", description="A run is on, or DRAM still answers."),
                CSRField("done", description="A run has ended."),
                CSRField("prompt_ready", description="The prompt FIFO takes a token."),
                CSRField("output_valid", description="A sample is there to be read."),
                CSRField("error", size=8, offset=8, description="Why the engine gave up."),
            ],
            description="State of the engine.",
        )
        words = (config.max_instructions * INSTRUCTION_WORDS - 1).bit_length()
        self.program_address_csr = CSRStorage(
            words, name="program_address", description="Word of the program memory to write next."
        )
        self.program_data_csr = CSRStorage(
            32, name="program_data", description="Writes a word of the program, and advances."
        )
        self.program_address, self.program_data = Signal(words), Signal(32)
        self.program_write = Signal()
        fields, status = self.control.fields, self.status.fields
        self.start, self.stop, self.reset = fields.start, fields.stop, fields.reset
        self.sync += [
            If(self.program_write, self.program_address.eq(self.program_address + 1)),
            If(
                self.program_address_csr.re,
                self.program_address.eq(self.program_address_csr.storage),
            ),
        ]
        self.comb += [
            self.program_write.eq(self.program_data_csr.re),
            self.program_data.eq(self.program_data_csr.storage),
            status.busy.eq(self.busy),
            status.done.eq(self.done),
            status.prompt_ready.eq(self.prompt_ready),
            status.output_valid.eq(self.output_valid),
            status.error.eq(self.error),
        ]

    def _draft_table(self) -> None:
        """The drafter's preloaded entries."""
        bits = (TABLE_WORDS - 1).bit_length()
        address = CSRStorage(
            bits, name="draft_address", description="Entry of the drafter's table to write next."
        )
        data = CSRStorage(
            32, name="draft_data", description="Writes an entry of the table, and advances."
        )
        self.draft_address_csr, self.draft_data_csr = address, data
        self.draft_address, self.draft_data, self.draft_write = Signal(bits), Signal(32), Signal()
        self.sync += [
            If(self.draft_write, self.draft_address.eq(self.draft_address + 1)),
            If(address.re, self.draft_address.eq(address.storage)),
        ]
        self.comb += [self.draft_write.eq(data.re), self.draft_data.eq(data.storage)]

    def _parameter(self, name: str, bits: int, description: str) -> Signal:
        csr = CSRStorage(bits, name=name, description=description)
        setattr(self, f"{name}_csr", csr)
        return csr.storage

    def _parameters(self, config: EngineConfig) -> None:
        self.tape_base = self._parameter("tape_base", 32, "DRAM address of the tape, in words.")
        self.kv_base = self._parameter("kv_base", 32, "DRAM address of the KV cache, in words.")
        self.position = self._parameter("position", 16, "Position of the run's first token.")
        self.context = self._parameter("context", 17, "Positions that the KV cache holds.")
        self.generate_count = self._parameter("generate_count", 32, "Samples to draw at most.")
        self.inverse_temperature, self.seed = Signal(17), Signal(32)
        if config.noise:
            self.inverse_temperature = self._parameter(
                "inverse_temperature", 17, "log2(e) / temperature, 12 fraction bits; 0 is greedy."
            )
            self.seed = self._parameter("seed", 32, "Seed of the sampler's noise.")
        self.streams = self._parameter("streams", 3, "Streams that decode together.")
        self.drafts = self._parameter("drafts", 2, "Most drafted tokens in a pass.")
        self.stop_tokens = [
            self._parameter(
                f"stop_token{i}", 32, "A token that ends the run when sampled; bit 31 enables it."
            )
            for i in range(4)
        ]

    def _samples(self) -> None:
        self.prompt_csr = CSRStorage(
            32,
            name="prompt",
            description="Appends a prompt token; from bit 24: its stream, bit 31: the last.",
        )
        self.output_token_csr = CSRStatus(
            32,
            name="output_token",
            description="Oldest sample not yet taken; from bit 24 its stream.",
        )
        self.output_low = CSRStatus(
            32, name="output_cycles_low", description="Cycle of its drawing, low half."
        )
        self.output_high = CSRStatus(
            32, name="output_cycles_high", description="Cycle of its drawing, high half."
        )
        self.output_pop_csr = CSRStorage(
            1, name="output_pop", description="Written: the oldest sample is taken."
        )
        self.prompt_write, self.prompt_data = self.prompt_csr.re, self.prompt_csr.storage
        self.output_pop = self.output_pop_csr.re
        # Registered: block RAM answers late, and the bus is far away.
        self.sync += [
            self.output_token_csr.status.eq(self.output_token),
            self.output_low.status.eq(self.output_cycles[:32]),
            self.output_high.status.eq(self.output_cycles[32:]),
        ]

    def _counters(self) -> None:
        self.latch = CSRStorage(
            1, name="counters_latch", description="Written: copies all counters to their registers."
        )
        widths = {name: len(event) for name, event in self.events.items()}
        order = sorted(COUNTERS, key=lambda name: -widths[name])
        self.counters = counters = Counters([widths[name] for name in order], COUNTER_BITS)
        self.comb += counters.start.eq(self.start), counters.latch.eq(self.latch.re)
        for index, name in enumerate(order):
            low, high = (
                CSRStatus(
                    32, name=f"{name}_{half}", description=f"{COUNTER_TEXT[name]} Bits {bits}."
                )
                for half, bits in (("low", "31 to 0"), ("high", f"{COUNTER_BITS - 1} to 32"))
            )
            setattr(self, f"{name}_low", low)
            setattr(self, f"{name}_high", high)
            self.comb += [
                counters.events[index].eq(self.events[name]),
                low.status.eq(counters.copied[:32]),
                high.status.eq(counters.copied[32:]),
                If(low.we | high.we, counters.select.eq(index)),
            ]

    def _limits(self, config: EngineConfig) -> None:
        limits = {
            "max_dim": (config.max_dim, "Largest residual vector."),
            "max_hidden": (config.max_hidden, "Largest hidden vector or sum of all heads."),
            "max_heads": (config.max_heads, "Most query heads."),
            "max_kv_heads": (config.max_kv_heads, "Most key/value heads."),
            "max_group": (config.max_group, "Most query heads per key/value head."),
            "max_head_dim": (config.max_head_dim, "Largest head."),
            "max_context": (config.max_context, "Most positions."),
            "max_instructions": (config.max_instructions, "Longest program."),
            "lanes": (config.lanes, "Bytes of an engine word."),
            "token_rows": (config.tokens, "Token rows that share a weight."),
            "formats": (config.abilities, "Formats of matrices and options, as bits of the ISA's."),
            "isa_version": (VERSION, "Version of the instruction set."),
        }
        for name, (value, text) in limits.items():
            setattr(self, f"{name}_csr", CSRStatus(32, reset=value, name=name, description=text))
