"""The register between the CPU and the bus that it shares."""

import random

import pytest
from litex.soc.interconnect import wishbone
from migen import ResetInserter

from jalsoc.bus_register import BusRegister
from jaltest.gateware import Process, simulate

WORDS = 16


class Bench:
    """A master, the register, and a slave that answers when it likes and errs on odd words."""

    def __init__(self, seed: int) -> None:
        self.master = wishbone.Interface()
        self.unit = unit = ResetInserter()(BusRegister(self.master))
        self.bus, self.reset = unit.bus, unit.reset
        self.random = random.Random(seed)
        self.memory = [self.random.getrandbits(32) for _ in range(WORDS)]
        self.accesses = 0

    def slave(self) -> Process:
        yield "passive"
        bus = self.bus
        while True:
            yield bus.ack.eq(0)
            yield bus.err.eq(0)
            yield
            if not ((yield bus.cyc) and (yield bus.stb)):
                continue
            while self.random.random() < 0.5:
                yield
            if not (yield bus.cyc):
                continue
            address, select = (yield bus.adr) % WORDS, (yield bus.sel)
            self.accesses += 1
            yield bus.err.eq(int(address == WORDS - 1))
            yield bus.ack.eq(int(address != WORDS - 1))
            yield bus.dat_r.eq(self.memory[address])
            if (yield bus.we):
                mask = sum(0xFF << (8 * i) for i in range(4) if select >> i & 1)
                new = yield bus.dat_w
                self.memory[address] = self.memory[address] & ~mask | new & mask
            yield


@pytest.mark.parametrize("seed", range(4))
def test_each_access_gets_through_once(seed: int) -> None:
    bench = Bench(seed)
    expected, master = list(bench.memory), bench.master
    count = 60

    def main() -> Process:
        for number in range(count):
            address, data = bench.random.randrange(WORDS), bench.random.getrandbits(32)
            select, write = bench.random.randrange(16), bench.random.random() < 0.5
            yield master.adr.eq(address)
            yield master.dat_w.eq(data)
            yield master.sel.eq(select)
            yield master.we.eq(int(write))
            yield master.cyc.eq(1)
            yield master.stb.eq(1)
            yield
            waited = 0
            while not ((yield master.ack) or (yield master.err)):
                yield
                waited += 1
                assert waited < 60, number
            assert (yield master.err) == (address == WORDS - 1)
            if write:
                mask = sum(0xFF << (8 * i) for i in range(4) if select >> i & 1)
                expected[address] = expected[address] & ~mask | data & mask
            else:
                assert (yield master.dat_r) == expected[address]
            # Without a pause, the next access stands where the one before was answered.
            if bench.random.random() < 0.5:
                yield master.cyc.eq(0)
                yield master.stb.eq(0)
                for _ in range(bench.random.randrange(1, 4)):
                    yield

    simulate(bench.unit, [main(), bench.slave()])
    assert bench.memory == expected
    assert bench.accesses == count


def test_a_reset_drops_the_access_that_is_on() -> None:
    """What answers it later is not taken for the answer to the next one."""
    bench = Bench(0)
    master, bus = bench.master, bench.bus

    def main() -> Process:
        yield master.cyc.eq(1)
        yield master.stb.eq(1)
        yield
        yield
        yield
        assert (yield bus.cyc)
        yield bench.reset.eq(1)
        yield master.cyc.eq(0)
        yield master.stb.eq(0)
        yield
        yield bench.reset.eq(0)
        yield bus.ack.eq(1)
        yield
        yield bus.ack.eq(0)
        assert not (yield bus.cyc)
        for _ in range(4):
            assert not (yield master.ack)
            yield

    simulate(bench.unit, [main()])
