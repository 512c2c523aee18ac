"""Interpolated tables against the golden model, for each table of the contract."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jalgateware.contract import tables
from jalgateware.contract.tables import Table
from jalgateware.golden.functions import interpolate
from jalgateware.units.interpolate import InterpolatedTable
from jaltest.gateware import Pipeline

TABLES = [
    tables.RECIPROCAL,
    tables.RSQRT,
    tables.SIGMOID_TABLE,
    tables.LOG2_TABLE,
    tables.GUMBEL_CORRECTION,
]


def check(table: Table, rows: list[tuple[int, int]]) -> None:
    unit = InterpolatedTable(table)
    pipeline = Pipeline(unit, [unit.index, unit.fraction], [unit.value], unit.LATENCY)
    index, fraction = np.array(rows, dtype=np.int64).T
    expected = interpolate(table, index, fraction).tolist()
    assert [value for (value,) in pipeline.run(rows)] == expected


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
def test_ends_and_middle_of_every_interval(table: Table) -> None:
    half = 1 << (table.fraction_bits - 1)
    check(
        table,
        [
            (index, fraction)
            for index in range(1 << table.index_bits)
            for fraction in (0, 1, half - 1, half, 2 * half - 1)
        ],
    )


@given(data=st.data())
@settings(max_examples=15)
def test_anywhere(data: st.DataObject) -> None:
    table = data.draw(st.sampled_from(TABLES))
    index = st.integers(0, (1 << table.index_bits) - 1)
    fraction = st.integers(0, (1 << table.fraction_bits) - 1)
    check(table, data.draw(st.lists(st.tuples(index, fraction), min_size=1, max_size=100)))
