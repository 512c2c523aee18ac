"""The stream reader against a list of what its commands ask for."""

import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from litedram.common import LiteDRAMNativePort
from migen import run_simulation

from jalgateware.contract.config import EngineConfig
from jalgateware.units.reader import QUEUE_DEPTH, StreamReader
from jaltest.dram_model import DramModel
from jaltest.gateware import Clock, Process, Receiver, pulse, wait_for

ADDRESS_BITS = 25
Command = tuple[int, int]


def word_at(address: int) -> int:
    """The content of the memory: wide words that tell their address."""
    return address * 0x9E3779B97F4A7C15 & 0xFFFFFFFF


class Bench:
    """A reader, its memory, and processes that feed and empty it."""

    def __init__(
        self,
        ports: int = 4,
        seed: int = 0,
        stall: float = 0.0,
        after_valid: bool = False,
        **memory: Any,
    ) -> None:
        config = EngineConfig(lanes=4, read_ports=ports, port_fifo_words=32, port_burst_words=16)
        self.ports = [
            LiteDRAMNativePort("read", ADDRESS_BITS, config.word_bits) for _ in range(ports)
        ]
        self.unit = StreamReader(config, self.ports)
        self.memory = DramModel(self.ports, word_at, seed=seed, **memory)
        self.random = random.Random(seed + 1)
        self.stall = stall
        self.clock = Clock()
        source = self.unit.source
        self.received = Receiver(
            source, [source.data], self.clock, stall=stall, after_valid=after_valid, seed=seed
        )

    def send(self, commands: list[Command]) -> Process:
        sink = self.unit.sink
        for address, words in commands:
            while self.random.random() < self.stall:
                yield
            yield sink.address.eq(address)
            yield sink.words.eq(words)
            yield sink.valid.eq(1)
            yield
            yield from wait_for(sink.ready)
            yield sink.valid.eq(0)

    def wait_idle(self) -> Process:
        yield
        yield from wait_for(self.unit.idle)

    def run(self, *main: Process) -> None:
        processes = [self.clock.process(), *main, self.memory.process(), self.received.process()]
        run_simulation(self.unit, processes)


def expected(commands: list[Command]) -> list[int]:
    return [word_at(address + i) for address, words in commands for i in range(words)]


def play(bench: Bench, commands: list[Command]) -> Process:
    yield from bench.send(commands)
    yield from bench.wait_idle()


command_lists = st.lists(
    st.tuples(
        st.integers(0, (1 << ADDRESS_BITS) - 200),
        st.one_of(st.integers(0, 3), st.integers(0, 100), st.sampled_from([15, 16, 17, 32])),
    ),
    min_size=1,
    max_size=10,
)


@given(
    commands=command_lists,
    ports=st.sampled_from([2, 3, 4]),
    stall=st.sampled_from([0.0, 0.3, 0.8]),
    ready=st.sampled_from([0.2, 0.7, 1.0]),
    after_valid=st.booleans(),
    seed=st.integers(0, 1000),
)
@settings(max_examples=15)
def test_words_come_in_the_order_of_the_commands(
    commands: list[Command], ports: int, stall: float, ready: float, after_valid: bool, seed: int
) -> None:
    bench = Bench(ports=ports, seed=seed, stall=stall, after_valid=after_valid, ready=ready)
    bench.run(play(bench, commands))
    assert bench.received.values == expected(commands)


def test_one_word_commands_come_in_order() -> None:
    commands = [(random.Random(5).randrange(1 << 20) + i, 1) for i in range(80)]
    bench = Bench(stall=0.2, latency=(2, 60))
    bench.run(play(bench, commands))
    assert bench.received.values == expected(commands)


def test_nothing_is_lost_while_nobody_takes_words() -> None:
    bench = Bench(ready=1.0, stall=1.0)
    commands = [(50, 400)]

    def main() -> Process:
        sink = bench.unit.sink
        yield sink.address.eq(commands[0][0])
        yield sink.words.eq(commands[0][1])
        yield from pulse(sink.valid)
        for _ in range(200):
            yield
        # Each port asked for as many words as its FIFO holds, and some of them wait behind it.
        asked = sum(map(len, bench.memory.read_addresses))
        assert 4 * 32 < asked <= 4 * 32 + QUEUE_DEPTH
        bench.received.stall = 0.0
        yield from wait_for(bench.unit.idle)

    bench.run(main())
    assert bench.received.values == expected(commands)


def test_pieces_end_at_burst_boundaries_and_take_turns() -> None:
    bench = Bench(ready=1.0)
    bench.run(play(bench, [(10, 60)]))
    pieces = [range(10, 16), range(16, 32), range(32, 48), range(48, 64)]
    assert [list(piece) for piece in pieces] == [
        addresses[: len(piece)]
        for addresses, piece in zip(bench.memory.read_addresses, pieces, strict=True)
    ][:4]
    assert bench.memory.read_addresses[0][6:] == list(range(64, 70))


@pytest.mark.parametrize(
    "commands",
    [
        [(0, 400)],
        [(i * 64, 2) for i in range(200)],
        [(i * 64, 2 + i % 3) for i in range(150)],
    ],
    ids=["long", "two-words", "some-words"],
)
def test_a_word_per_cycle_once_it_flows(commands: list[Command]) -> None:
    bench = Bench(ready=1.0, latency=(8, 8))
    sink = bench.unit.sink

    def feed() -> Process:
        # As fast as they are accepted: each takes two cycles.
        yield sink.valid.eq(1)
        for address, words in commands:
            yield sink.address.eq(address)
            yield sink.words.eq(words)
            yield
            while not (yield sink.ready):
                yield
        yield sink.valid.eq(0)
        yield from bench.wait_idle()

    bench.run(feed())
    assert bench.received.values == expected(commands)
    assert bench.received.arrivals[-1] - bench.received.arrivals[0] + 1 == len(
        bench.received.values
    )


def test_latencies_from_command_to_request_and_from_answer_to_word() -> None:
    bench = Bench(ready=1.0, latency=(9, 9))
    unit = bench.unit

    def main() -> Process:
        yield unit.sink.address.eq(3)
        yield unit.sink.words.eq(1)
        yield from pulse(unit.sink.valid)
        accepted = bench.clock.cycle
        assert (yield unit.sink.ready)
        yield from wait_for(bench.ports[0].cmd.valid)
        assert bench.clock.cycle - accepted == StreamReader.LATENCY
        yield from wait_for(bench.ports[0].rdata.valid)
        answered = bench.clock.cycle
        yield from wait_for(unit.source.valid)
        assert bench.clock.cycle - answered == StreamReader.ANSWER_LATENCY

    bench.run(main())


@pytest.mark.parametrize("ready", [0.1, 0.6, 1.0])
@pytest.mark.parametrize("wait", [0, 1, 3, 20, 70])
def test_abort_forgets_everything_and_then_starts_afresh(wait: int, ready: float) -> None:
    bench = Bench(ready=ready, stall=0.3, latency=(2, 30), seed=wait)
    unit = bench.unit
    after = [(777, 40), (5, 1)]

    def main() -> Process:
        yield unit.sink.address.eq(1000)
        yield unit.sink.words.eq(500)
        yield from pulse(unit.sink.valid)
        for _ in range(wait):
            yield
        yield from pulse(unit.abort)
        yield
        # The last word leaves in the cycle behind it.
        yield
        assert not (yield unit.source.valid)
        bench.received.clear()
        yield from bench.wait_idle()
        assert not bench.received.values
        yield from bench.send(after)
        yield from bench.wait_idle()

    bench.run(main())
    assert bench.received.values == expected(after)
    assert sum(map(len, bench.memory.read_addresses)) < 500 + 41


def test_port_width_is_checked() -> None:
    ports = [LiteDRAMNativePort("read", ADDRESS_BITS, 64)]
    with pytest.raises(ValueError, match="a port is 64 bits wide, an engine word 128"):
        StreamReader(EngineConfig(), ports)
