"""What was synthesised is what was simulated: the engine's ECP5 netlist gives the golden tokens."""

from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from jalgateware.golden.sampler import Sampling
from jaltest.engine import SMALL, Bench, Run
from jaltest.netlist import NetlistSimulator
from jaltest.side_by_side import tool_folder

# One worker, as all share a simulator that takes long to build.
pytestmark = [pytest.mark.long, pytest.mark.timeout(3600), pytest.mark.xdist_group("netlist")]

SIZES: dict[str, Any] = {
    "max_dim": 32,
    "max_hidden": 64,
    "max_heads": 2,
    "max_kv_heads": 1,
    "max_group": 2,
    "max_head_dim": 16,
    "max_context": 16,
    "max_instructions": 32,
    "attention_slots": 1,
    "port_fifo_words": 32,
    "port_burst_words": 16,
}
"""What the model needs, and little more."""

FAULTS = {
    "LUT4": 6,
    "CCU2C": 2,
    "TRELLIS_FF": 2,
    "TRELLIS_DPR16X4": 2,
    "DP16KD": 2,
    "MULT18X18D": 2,
}
"""Cells that are broken, one at a time: by type, so many."""


@pytest.fixture(scope="module")
def simulator() -> Iterator[NetlistSimulator]:
    with tool_folder() as folder:
        yield NetlistSimulator(Bench(SMALL, 4, **SIZES), folder, FAULTS)


def sampled() -> Run:
    return Run([1, 5], count=3, sampling=Sampling.from_temperature(1.0, 77))


def test_a_netlist_gives_the_golden_tokens(simulator: NetlistSimulator) -> None:
    """Tokens, cache and counters."""
    run, bench = sampled(), simulator.bench
    assert simulator.go(run) == "end"
    assert run.tokens == bench.expected(run)
    assert len(set(run.tokens)) > 1
    bench.check_cache()
    words, cache = bench.words_of(run)
    assert run.counters["dram_words"] == words
    assert run.counters["kv_words"] == cache
    assert run.counters["tokens"] == 4
    assert run.counters["saturations"] == bench.golden.tally.saturations


def test_broken_cells_are_found(simulator: NetlistSimulator) -> None:
    """Cells' outputs are inverted, one at a time: most runs end otherwise, or not at all."""
    bench, whole = simulator.bench, sampled()
    simulator.go(whole)
    memory = bench.memory.memory
    found: Counter[str] = Counter()
    for number, site in enumerate(simulator.sites):
        run = sampled()
        end = simulator.go(run, number)
        same = (run.tokens, run.counters, bench.memory.memory) == (
            whole.tokens,
            whole.counters,
            memory,
        )
        found[site.kind] += end != "end" or not same
    # Some do nothing in so short a run: low bits of noise, addresses that are never reached.
    assert found.total() > len(simulator.sites) / 2, found
