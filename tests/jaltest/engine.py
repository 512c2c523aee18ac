"""The engine with its DRAM and a model, next to golden machines."""

from collections.abc import Generator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from litedram.common import LiteDRAMNativePort

from jalgateware.contract import isa
from jalgateware.contract.config import EngineConfig
from jalgateware.contract.mailbox import COUNTERS, PROMPT_FINAL, STREAM_SHIFT
from jalgateware.golden.machine import Machine
from jalgateware.golden.rounding import Integers
from jalgateware.golden.sampler import Sampling
from jalgateware.units.counters import Counters
from jalgateware.units.engine import Engine
from jalhost.models.architecture import Architecture, Model
from jalhost.models.compiler import build_tape, compile_program, layout, quantise_model, rope_table
from jalhost.models.plan import MXINT8_ONLY, Formats
from jaltest.dram_model import DramModel
from jaltest.gateware import Process, pulse, simulate
from jaltest.tiny import tiny_model

TAPE, CACHE, LOGITS = 1 << 12, 1 << 16, 1 << 20
"""Where tape, KV cache and logits lie, in words."""

SMALL = Architecture(
    dim=32, hidden=48, layers=1, heads=2, kv_heads=1, head_dim=16, vocabulary=48, context=16
)
WIDE_GROUP = replace(SMALL, heads=6, kv_heads=2, head_dim=8, layers=2)
"""Groups of 3 query heads for 2 slots; heads of half an engine word where that has 64 lanes."""

ODD = replace(SMALL, dim=64, hidden=41, heads=4, kv_heads=4, head_dim=24, vocabulary=51)
"""A hidden vector that ends within a block, heads that end within a word, no groups."""


def amplified(model: Model, gain: float) -> Model:
    """The model with feed-forward weights multiplied by ``gain``."""
    layers = [
        replace(item, gate=item.gate * gain, up=item.up * gain, down=item.down * gain)
        for item in model.layers
    ]
    return replace(model, layers=layers)


GREEDY = Sampling()


@dataclass
class Run:
    """What the host sets for a run, and what came of it."""

    prompt: Sequence[int]
    count: int = 3
    position: int = 0
    sampling: Sampling = GREEDY
    stop_tokens: Sequence[int] = ()
    context: int | None = None
    pause: int = 0
    """Cycles between the tokens of the prompt."""

    others: Sequence[Sequence[int]] = ()
    """Prompts of further streams."""

    drafts: int = 0
    logits: bool = False

    tokens: list[int] = field(default_factory=list)
    streams: list[list[int]] = field(default_factory=list)
    """Samples by stream; ``tokens`` are those of the first one."""
    cycles: list[int] = field(default_factory=list)
    counters: dict[str, int] = field(default_factory=dict)


class Bench:
    """An engine and its DRAM, with a model in it; and the same model in a golden machine."""

    def __init__(
        self,
        a: Architecture,
        lanes: int,
        seed: int = 0,
        gain: float = 1.0,
        formats: Formats = MXINT8_ONLY,
        **sizes: Any,
    ) -> None:
        self.architecture = a
        sizes = {"read_ports": 2, "max_context": 16, "max_kv_heads": 4} | sizes
        self.config = config = EngineConfig(lanes, **sizes)
        model = amplified(tiny_model(a, seed + 1), gain)
        plan, matrices, entries = quantise_model(model, formats)
        self.place = layout(a, config, formats)
        self.program = compile_program(plan, config)
        tape = build_tape(plan, matrices, rope_table(a), config, entries)
        self.goldens = [
            Machine(config, tape, self.program, a.context) for _ in range(config.tokens)
        ]
        self.golden = self.goldens[0]
        words = [int.from_bytes(word.tobytes(), "little") for word in tape.reshape(-1, lanes)]
        self.image = image = dict(enumerate(words, TAPE))
        ports = [LiteDRAMNativePort("read", 24, 8 * lanes) for _ in range(config.read_ports)]
        ports.append(LiteDRAMNativePort("write", 24, 8 * lanes))
        self.unit = Engine(config, ports[:-1], ports[-1])
        self.memory = DramModel(ports, lambda a: image.get(a, 0), (4, 16), 0.8, seed)

    def expected(self, run: Run, stream: int = 0) -> list[int]:
        """The golden machine's samples for a run; its cache keeps what runs before wrote."""
        sampling = replace(run.sampling, seed=run.sampling.seed + stream)
        tokens: list[int] = []
        position, context = run.position, run.context or self.architecture.context
        prompt = list([run.prompt, *run.others][stream])
        while position < context:
            prefill = len(prompt) > 1
            token = prompt.pop(0) if prompt else tokens[-1]
            golden = self.goldens[stream]
            sample = golden.step(token, position, None if prefill else sampling)
            position += 1
            if sample is not None:
                tokens.append(sample)
                if len(tokens) >= run.count or sample in run.stop_tokens:
                    break
        return tokens

    def write(self, csr: Any, value: int) -> Process:
        """As the CSR bus does: storage and strobe for a cycle."""
        yield csr.storage.eq(value)
        yield csr.re.eq(1)
        yield
        yield csr.re.eq(0)
        yield

    def read(self, csr: Any) -> Generator[Any, Any, int]:
        """As the CSR bus does: the strobe of the read comes with the value."""
        yield csr.we.eq(1)
        yield
        value: int = yield csr.status
        yield csr.we.eq(0)
        yield
        return value

    def load(self) -> Process:
        registers = self.unit.registers
        yield from self.write(registers.program_address_csr, 0)
        for item in self.program:
            for word in isa.encode(item):
                yield from self.write(registers.program_data_csr, word)
        yield registers.tape_base_csr.storage.eq(TAPE)
        yield registers.kv_base_csr.storage.eq(CACHE)

    def begin(self, run: Run) -> Process:
        registers, sampling = self.unit.registers, run.sampling
        noise = (
            ("inverse_temperature", sampling.inverse_temperature),
            ("seed", sampling.seed),
        )
        for name, value in (
            ("position", run.position),
            ("context", run.context or self.architecture.context),
            ("generate_count", run.count),
            *(noise if self.config.noise else ()),
            ("streams", 1 + len(run.others)),
            ("drafts", run.drafts),
        ):
            yield getattr(registers, f"{name}_csr").storage.eq(value)
        if self.config.logits:
            base = LOGITS | isa.LOGITS_ENABLED if run.logits else 0
            yield registers.logits_base_csr.storage.eq(base)
        stops = [token | 1 << 31 for token in run.stop_tokens]
        for index, value in enumerate((stops + [0] * 4)[:4]):
            yield getattr(registers, f"stop_token{index}_csr").storage.eq(value)
        yield from pulse(registers.start)
        yield
        run.streams = [[] for _ in range(1 + len(run.others))]
        for stream, prompt in enumerate([run.prompt, *run.others]):
            for number, token in enumerate(prompt, 1):
                for _ in range(run.pause):
                    yield
                final = PROMPT_FINAL if number == len(prompt) else 0
                word = token | stream << STREAM_SHIFT | final
                yield from self.write(registers.prompt_csr, word)

    def finish(self, run: Run) -> Process:
        """Takes samples until the run is over, then reads the counters."""
        registers = self.unit.registers
        for _ in range(60000):
            if (yield registers.output_valid):
                word = yield registers.output_token
                stream = word >> STREAM_SHIFT
                run.streams[stream].append(word & ((1 << STREAM_SHIFT) - 1))
                if not stream:
                    run.tokens.append(run.streams[0][-1])
                run.cycles.append((yield registers.output_cycles))
                yield from self.write(registers.output_pop_csr, 1)
            elif (yield registers.done) and not (yield registers.busy):
                break
            yield
        else:
            raise AssertionError(f"the run does not end, after {run.tokens}")
        yield from self.write(registers.latch, 1)
        for _ in range(len(COUNTERS) + Counters.COPY):
            yield
        for name in COUNTERS:
            low = yield from self.read(getattr(registers, f"{name}_low"))
            high = yield from self.read(getattr(registers, f"{name}_high"))
            run.counters[name] = low | high << 32

    def simulate(self, main: Process) -> None:
        simulate(self.unit, [main, self.memory.process()])

    def go(self, *runs: Run) -> None:
        def main() -> Process:
            yield from self.load()
            for run in runs:
                yield from self.begin(run)
                yield from self.finish(run)

        self.simulate(main())

    def check_cache(self) -> None:
        """DRAM holds the golden machines' keys and values, words filled up with zeros."""
        a, place = self.architecture, self.place
        lanes, found = self.config.lanes, 0
        regions = [
            (stream * place.kv_words + base, region)
            for stream, golden in enumerate(self.goldens)
            for base, region in golden.cache.items()
        ]
        for base, region in regions:
            for head in range(a.kv_heads):
                for position in range(a.context):
                    start = CACHE + base + head * place.head_stride + position * place.head_words
                    words = [self.memory.memory.get(start + c, 0) for c in range(place.head_words)]
                    data = b"".join(word.to_bytes(lanes, "little") for word in words)
                    row = region[head, position].astype("<i2").tobytes()
                    assert data == row.ljust(len(data), b"\0"), f"{base}, {head}, {position}"
                    found += any(data)
        cached = [address for address in self.memory.memory if address < LOGITS]
        assert found == len(cached) / place.head_words

    def written_logits(self) -> Integers:
        """Logits (vocabulary,) VECTOR that DRAM holds."""
        size, lanes = 4 * self.architecture.vocabulary, self.config.lanes
        words = [self.memory.memory[LOGITS + i] for i in range(-(-size // lanes))]
        assert max(self.memory.memory) == LOGITS + len(words) - 1, "nothing is written behind them"
        data = b"".join(word.to_bytes(lanes, "little") for word in words)
        return np.frombuffer(data[:size], "<i4").astype(np.int64)

    def words_of(self, run: Run) -> tuple[int, int]:
        """Words that a run reads: all, and those of the cache."""
        a, place = self.architecture, self.place
        passes = len(run.prompt) + len(run.tokens) - 1
        tables = (a.dim // 32) * (1 + self.config.words_per_block) + place.rope_words
        matrices = [item for item in self.program if item.opcode is isa.Opcode.MATVEC]
        classifier = sum(item.words for item in matrices if item.sampled_only)
        body = sum(item.words for item in matrices) - classifier
        positions = sum(range(run.position, run.position + passes))
        cache = 2 * a.layers * a.kv_heads * positions * place.head_words
        tape = passes * (tables + body) + len(run.tokens) * classifier
        return tape + cache, cache
