"""The block RAM FIFO against a list."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from migen import run_simulation

from jalgateware.units.fifo import BlockFifo
from jaltest.gateware import Process


@given(
    seed=st.integers(0, 1000),
    feed=st.sampled_from([0.2, 0.8, 1.0]),
    drain=st.sampled_from([0.2, 0.8, 1.0]),
)
@settings(max_examples=12)
def test_order_and_levels(seed: int, feed: float, drain: float) -> None:
    fifo, pick = BlockFifo(16, 8), random.Random(seed)
    words = [pick.getrandbits(16) for _ in range(100)]
    received: list[int] = []

    def send() -> Process:
        yield "passive"
        for word in words:
            while pick.random() >= feed:
                yield
            yield fifo.sink.data.eq(word)
            yield fifo.sink.valid.eq(1)
            yield
            while not (yield fifo.sink.ready):
                yield
            yield fifo.sink.valid.eq(0)

    def receive() -> Process:
        held = None
        assert (yield fifo.empty)
        while len(received) < len(words):
            valid, data = (yield fifo.source.valid), (yield fifo.source.data)
            if valid:
                assert held in (None, data)
                assert not (yield fifo.empty)
                held = data
                if (yield fifo.source.ready):
                    received.append(data)
                    held = None
            else:
                assert held is None
            assert (yield fifo.level) <= 8
            yield fifo.source.ready.eq(int(pick.random() < drain))
            yield
        assert (yield fifo.empty)

    run_simulation(fifo, [send(), receive()])
    assert received == words


def test_latency_and_a_word_per_cycle() -> None:
    fifo = BlockFifo(16, 8)
    arrivals = []

    def main() -> Process:
        yield fifo.source.ready.eq(1)
        yield fifo.sink.valid.eq(1)
        yield
        for cycle in range(40):
            yield fifo.sink.data.eq(cycle + 1)
            assert (yield fifo.sink.ready)
            if (yield fifo.source.valid):
                arrivals.append((cycle, (yield fifo.source.data)))
            yield

    run_simulation(fifo, main())
    assert arrivals == [(cycle, cycle - BlockFifo.LATENCY) for cycle in range(3, 40)]


def test_fills_up_and_stalls() -> None:
    fifo = BlockFifo(16, 8)

    def main() -> Process:
        yield fifo.sink.valid.eq(1)
        accepted = 0
        for _ in range(30):
            yield
            accepted += yield fifo.sink.ready
        # Two more than its depth: at the RAM's output and in the register.
        assert accepted == 10
        assert (yield fifo.level) == 8

    run_simulation(fifo, main())


@pytest.mark.parametrize("depth", [2, 12])
def test_depth_is_a_power_of_two(depth: int) -> None:
    with pytest.raises(ValueError, match=f"depth is a power of two from 4, not {depth}"):
        BlockFifo(16, depth)
