"""The CRC engine against its golden model, and that against zlib."""

import random
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from litedram.common import LiteDRAMNativePort
from migen import run_simulation

from jalgateware.golden.crc32 import crc32
from jalgateware.units.crc32 import Crc32, CrcEngine
from jaltest.dram_model import DramModel
from jaltest.gateware import Clock, Process, pulse

WORDS = st.lists(st.integers(0, 2**32 - 1), max_size=20)


def packed(words: list[int]) -> bytes:
    return b"".join(word.to_bytes(4, "little") for word in words)


@given(WORDS)
def test_golden_model_is_the_common_crc(words: list[int]) -> None:
    assert crc32(packed(words)) == zlib.crc32(packed(words))


def test_golden_model_takes_whole_words() -> None:
    with pytest.raises(ValueError, match="5 bytes"):
        crc32(b"12345")


@settings(max_examples=10)
@given(runs=st.lists(WORDS, min_size=1, max_size=3), seed=st.integers(0, 99))
def test_words_of_several_runs(runs: list[list[int]], seed: int) -> None:
    unit, pick = Crc32(), random.Random(seed)
    results = []

    def process() -> Process:
        for words in runs:
            yield from pulse(unit.clear)
            for word in words:
                yield unit.valid.eq(0)
                yield unit.word.eq(pick.getrandbits(32))
                for _ in range(pick.choice([0, 0, 1, 3])):
                    yield
                yield unit.valid.eq(1)
                yield unit.word.eq(word)
                yield
            yield unit.valid.eq(0)
            yield
            results.append((yield unit.result))

    run_simulation(unit, process())
    assert results == [crc32(packed(words)) for words in runs]


def test_latency_of_a_word() -> None:
    unit = Crc32()
    seen = []

    def process() -> Process:
        yield unit.valid.eq(1)
        yield unit.word.eq(0x12345678)
        yield
        yield unit.valid.eq(0)
        for _ in range(Crc32.LATENCY + 2):
            seen.append((yield unit.result))
            yield

    run_simulation(unit, process())
    expected = crc32((0x12345678).to_bytes(4, "little"))
    assert seen.index(expected) == Crc32.LATENCY


class Bench:
    """An engine on a port of the given width with random memory behind it."""

    def __init__(self, width: int, latency: tuple[int, int], ready: float, seed: int = 0) -> None:
        self.port = LiteDRAMNativePort("read", 20, width)
        self.engine = CrcEngine(self.port, with_csr=False)
        pick = random.Random(width)
        self.data = pick.randbytes(64 * 64)
        step = width // 8
        self.memory = DramModel(
            [self.port],
            lambda address: int.from_bytes(self.data[address * step :][:step], "little"),
            latency=latency,
            ready=ready,
            seed=seed,
        )
        self.clock = Clock()
        self.results: list[tuple[int, int]] = []

    def check(self, runs: list[tuple[int, int]]) -> Process:
        for address, length in runs:
            yield self.engine.address.eq(address)
            yield self.engine.length.eq(length)
            yield from pulse(self.engine.start)
            start = self.clock.cycle
            yield
            while (yield self.engine.busy):
                yield
            self.results.append(((yield self.engine.result), self.clock.cycle - start))

    def run(self, runs: list[tuple[int, int]]) -> None:
        processes = [self.clock.process(), self.memory.process(), self.check(runs)]
        run_simulation(self.engine, processes)
        expected = [crc32(self.data[start : start + length]) for start, length in runs]
        assert [result for result, _ in self.results] == expected


@pytest.mark.parametrize("width", [32, 128, 512])
@pytest.mark.parametrize("seed", [0, 1])
def test_runs_of_any_length(width: int, seed: int) -> None:
    pick, step = random.Random(seed), width // 8
    lengths = [0, 4, step, step + 4, 4 * pick.randrange(300), 4 * pick.randrange(300)]
    runs = [(step * pick.randrange(16), length) for length in lengths]
    Bench(width, latency=(1, 30), ready=0.5, seed=seed).run(runs)


def test_throughput_is_a_word_per_cycle() -> None:
    bench = Bench(128, latency=(8, 8), ready=1.0)
    bench.run([(0, 400), (0, 2400)])
    (_, short), (_, long) = bench.results
    assert long - short == 500
    assert short == 100 + CrcEngine.LATENCY + 8


def test_ports_narrower_than_a_word_are_refused() -> None:
    with pytest.raises(ValueError, match="16 bits"):
        CrcEngine(LiteDRAMNativePort("read", 20, 16))
