"""SwiGLU of row pairs against the golden model."""

import random

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from migen import run_simulation

from jalgateware.contract.formats import VECTOR
from jalgateware.golden.rounding import Tally
from jalgateware.golden.vector import swiglu
from jalgateware.units.swiglu import SwiGlu
from jaltest.gateware import Process

ENDS = (VECTOR.minimum, -(8 << 16), -65536, -1, 0, 1, 65536, 8 << 16, VECTOR.maximum)


def check(rows: list[int], gaps: float = 0.0) -> None:
    unit = SwiGlu()
    pick = random.Random(len(rows))
    results: list[int] = []
    saturated, clock = [0], [0]
    sent: list[int] = []
    arrived: list[int] = []

    def feed() -> Process:
        for index, value in enumerate(rows):
            while pick.random() < gaps:
                yield
            yield unit.value.eq(value)
            yield unit.odd.eq(index % 2)
            yield unit.valid.eq(1)
            yield
            if index % 2:
                sent.append(clock[0] - 1)
            yield unit.valid.eq(0)
        for _ in range(unit.LATENCY + 2):
            yield

    def watch() -> Process:
        yield "passive"
        while True:
            if (yield unit.result_valid):
                results.append((yield unit.result))
                arrived.append(clock[0])
            saturated[0] += yield unit.saturated
            clock[0] += 1
            yield

    run_simulation(unit, [watch(), feed()])
    tally = Tally()
    assert results == swiglu(np.array(rows, dtype=np.int64), tally).tolist()
    assert saturated[0] == tally.saturations
    assert {a - s for a, s in zip(arrived, sent, strict=True)} == {SwiGlu.LATENCY}


def test_extremes() -> None:
    check([value for gate in ENDS for up in ENDS for value in (gate, up)])


ROW = st.integers(-(20 << 16), 20 << 16) | st.integers(VECTOR.minimum, VECTOR.maximum)


@given(
    pairs=st.lists(st.tuples(ROW, ROW), min_size=1, max_size=60),
    gaps=st.sampled_from([0.0, 0.5]),
)
@settings(max_examples=10)
def test_any_value(pairs: list[tuple[int, int]], gaps: float) -> None:
    check([value for pair in pairs for value in pair], gaps)
