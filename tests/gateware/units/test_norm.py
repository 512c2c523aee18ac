"""1/rms of the token rows' vectors against the golden model."""

import pytest

from jalgateware.contract.formats import SQUARE_SUM_BITS
from jalgateware.golden.functions import rsqrt
from jalgateware.golden.machine import RSQRT_SHIFT
from jalgateware.units.norm import Norm
from jalgateware.units.rsqrt import ReciprocalRoot
from jaltest.gateware import Process, pulse, simulate

SUMS = [0, 1, 2, 3, 4, 1 << 32, 64 << 32, (1 << SQUARE_SUM_BITS) - (1 << 33), 987654321]
EPSILONS = [1, 0xFFFF_FFFF, 2**20]


def golden(square_sum: int, epsilon: int) -> tuple[int, int]:
    mantissa, k = rsqrt(square_sum + epsilon)
    return mantissa, k - RSQRT_SHIFT


def tell(unit: Norm, row: int, square_sum: int) -> Process:
    """A complete vector, for one cycle; the other rows' sums are anything."""
    for t, signal in enumerate(unit.square_sums):
        yield signal.eq(square_sum if t == row else 12345 * t + 1)
    yield unit.square_sum_valid.eq(1 << row)
    yield
    yield unit.square_sum_valid.eq(0)
    yield unit.square_sums[row].eq(0)


def test_one_vector_after_the_other_and_the_latency() -> None:
    unit = Norm(1)
    found, after = [], []

    def main() -> Process:
        for epsilon in EPSILONS:
            yield unit.epsilon.eq(epsilon)
            for value in SUMS:
                yield from tell(unit, 0, value)
                cycles = 0
                while not (yield unit.valid):
                    cycles += 1
                    yield
                after.append(cycles)
                found.append(((yield unit.mantissas[0]), (yield unit.shifts[0])))
                yield
                assert (yield unit.valid)
                yield from pulse(unit.invalidate)
                yield
                assert not (yield unit.valid)

    simulate(unit, [main()])
    assert found == [golden(value, epsilon) for epsilon in EPSILONS for value in SUMS]
    # From the cycle of the pulse, which is the one behind the assignment.
    assert set(after) == {ReciprocalRoot.LATENCY + 2}


@pytest.mark.parametrize("gap", [0, 1, 40])
@pytest.mark.parametrize(("tokens", "active"), [(2, 2), (4, 4), (4, 3), (4, 1)])
def test_valid_waits_for_all_token_rows(tokens: int, active: int, gap: int) -> None:
    unit = Norm(tokens)
    passes = [[SUMS[(3 * n + t) % len(SUMS)] for t in range(active)] for n in range(5)]
    found: list[list[tuple[int, int]]] = []

    def main() -> Process:
        yield unit.epsilon.eq(77)
        yield unit.last_row.eq(active - 1)
        for sums in passes:
            for row, value in enumerate(sums):
                assert not (yield unit.valid)
                yield from tell(unit, row, value)
                for _ in range(gap if row + 1 < active else 0):
                    yield
                    assert not (yield unit.valid)
            cycles = 0
            while not (yield unit.valid):
                cycles += 1
                yield
            assert cycles == ReciprocalRoot.LATENCY + 2
            rows = []
            for row in range(active):
                rows.append(((yield unit.mantissas[row]), (yield unit.shifts[row])))
            found.append(rows)
            yield from pulse(unit.invalidate)
            yield

    simulate(unit, [main()])
    assert found == [[golden(value, 77) for value in sums] for sums in passes]
