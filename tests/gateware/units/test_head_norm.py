"""Norms over heads against the golden model."""

import random
from collections import deque

import numpy as np
import pytest

from jalgateware.contract.config import EngineConfig
from jalgateware.contract.formats import GAIN, VECTOR
from jalgateware.golden.blocks import scale_output
from jalgateware.golden.functions import rsqrt
from jalgateware.golden.rounding import Integers
from jalgateware.golden.vector import normalise_heads
from jalgateware.units.head_norm import HeadNorm
from jaltest.gateware import Clock, Process, simulate

WAY = 9
"""Cycles from a row's admission until it arrives: those of the scaler."""

ROOT = 9
"""Latency of the reciprocal root."""

EPSILON = 4398


class Bench:
    """The unit between a scaler and a root that are models; queries, then keys."""

    def __init__(
        self, head_dim: int, tokens: int, active: int, stall: float, size: int, seed: int = 0
    ) -> None:
        self.config = EngineConfig(
            tokens=tokens, max_head_dim=16, max_hidden=64, max_dim=32, qk_norm=True
        )
        self.unit = HeadNorm(self.config)
        self.head_dim, self.active, self.stall = head_dim, active, stall
        self.random = random.Random(seed)
        pick = np.random.default_rng(seed)
        self.gains = pick.integers(0, GAIN.maximum + 1, (2, head_dim))
        self.gains[:, 0] = 0, GAIN.maximum
        self.matrices = []
        for heads in (3, 2):
            bits = pick.integers(1, size, (active, heads, 1))
            rows = np.floor(pick.uniform(-1, 1, (active, heads, head_dim)) * 2.0**bits)
            self.matrices.append(rows.reshape(active, -1).astype(np.int64))
        if size >= VECTOR.bits:
            self.matrices[0][:, :head_dim] = VECTOR.minimum
        self.clock = Clock()
        self.found: list[tuple[int, int, int]] = []
        self.left: list[int] = []

    def expected(self) -> list[tuple[int, int, int]]:
        """Token row, row and value, in the order in which rows leave."""
        found = []
        for rows, gains in zip(self.matrices, self.gains, strict=True):
            normed = [normalise_heads(item, gains, EPSILON) for item in rows]
            found += [(t, i, int(normed[t][i])) for t, i in self.order(rows)]
        return found

    def order(self, rows: Integers) -> list[tuple[int, int]]:
        pairs = range(0, rows.shape[1], 2)
        return [(t, i) for pair in pairs for t in range(self.active) for i in (pair, pair + 1)]

    def fill(self) -> Process:
        unit = self.unit
        yield unit.head_dim.eq(self.head_dim)
        yield unit.last_row.eq(self.active - 1)
        yield unit.epsilon.eq(EPSILON)
        for index, gain in enumerate(self.gains.reshape(-1)):
            yield unit.write.eq(1)
            yield unit.table_index.eq(index)
            yield unit.table_value.eq(int(gain))
            yield
        yield unit.write.eq(0)

    def admit(self) -> Process:
        unit = self.unit
        yield from self.fill()
        for key, rows in enumerate(self.matrices):
            yield unit.key.eq(key)
            yield unit.start.eq(1)
            yield
            yield unit.start.eq(0)
            for token, index in self.order(rows):
                while not (yield unit.room) or self.random.random() < self.stall:
                    yield
                yield unit.admit.eq(1)
                self.on_the_way.append((self.clock.cycle + WAY, int(rows[token, index])))
                yield
                yield unit.admit.eq(0)
                yield
            while not (yield unit.empty):
                assert self.clock.cycle < 20000, len(self.found)
                yield

    def surroundings(self) -> Process:
        """The scaler on the rows' way here, the root, and who takes them."""
        yield "passive"
        unit = self.unit
        self.on_the_way: deque[tuple[int, int]] = deque()
        roots: deque[tuple[int, int, int]] = deque()
        while True:
            arrives = bool(self.on_the_way) and self.on_the_way[0][0] <= self.clock.cycle
            yield unit.valid.eq(int(arrives))
            yield unit.value.eq(
                self.on_the_way.popleft()[1] if arrives else self.random.getrandbits(31)
            )
            if (yield unit.sum_valid):
                roots.append((self.clock.cycle + ROOT, *rsqrt((yield unit.sum))))
            known = bool(roots) and roots[0][0] <= self.clock.cycle
            yield unit.root_valid.eq(int(known))
            if known:
                _, mantissa, k = roots.popleft()
                yield unit.mantissa.eq(mantissa)
                yield unit.k.eq(k)
            yield unit.take.eq(int(self.random.random() >= self.stall))
            if (yield unit.leave):
                value, factor, shift = (yield unit.leave_value), (yield unit.factor), 0
                shift = yield unit.shift
                result = scale_output(np.array([value]), factor, shift)
                row = yield unit.leave_row
                self.found.append((row, (yield unit.leave_index), int(result[0])))
                self.left.append(self.clock.cycle)
            yield

    def check(self) -> None:
        simulate(self.unit, [self.clock.process(), self.surroundings(), self.admit()])
        assert self.found == self.expected()


@pytest.mark.parametrize("stall", [0.0, 0.5])
@pytest.mark.parametrize(
    ("head_dim", "tokens", "active"),
    [(8, 1, 1), (16, 1, 1), (2, 2, 2), (6, 4, 3), (16, 4, 4), (12, 4, 1)],
)
def test_heads(head_dim: int, tokens: int, active: int, stall: float) -> None:
    Bench(head_dim, tokens, active, stall, size=24, seed=head_dim).check()
