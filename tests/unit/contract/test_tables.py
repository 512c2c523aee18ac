"""Lookup tables: sizes that the gateware relies on, and their shape."""

import pytest

from jalgateware.contract import tables
from jalgateware.contract.formats import MANTISSA, PROBABILITY, SCORE

TABLES = [
    tables.RECIPROCAL,
    tables.RSQRT,
    tables.SIGMOID_TABLE,
    tables.LOG2_TABLE,
    tables.GUMBEL_CORRECTION,
]


@pytest.mark.parametrize("table", TABLES, ids=lambda table: str(table.name))
def test_intervals_join(table: tables.Table) -> None:
    assert len(table.base) == len(table.delta) == 1 << table.index_bits
    assert min(table.base) >= 0
    assert table.base_bits <= 18
    sign = 1 if table.rising else -1
    ends = [base + sign * delta for base, delta in zip(table.base, table.delta, strict=True)]
    assert ends[:-1] == list(table.base[1:])


@pytest.mark.parametrize("table", [tables.RECIPROCAL, tables.RSQRT], ids=["reciprocal", "rsqrt"])
def test_mantissas_stay_in_their_format(table: tables.Table) -> None:
    assert max(table.base) <= MANTISSA.maximum
    lowest = min(base - delta for base, delta in zip(table.base, table.delta, strict=True))
    assert lowest == 1 << MANTISSA.fraction


def test_exponentials_fall_from_one_to_a_half() -> None:
    assert len(tables.EXP2) == 1 << SCORE.fraction
    assert tables.EXP2[0] == 1 << PROBABILITY.fraction
    assert tables.EXP2[-1] > 1 << (PROBABILITY.fraction - 1)
    assert list(tables.EXP2) == sorted(tables.EXP2, reverse=True)
