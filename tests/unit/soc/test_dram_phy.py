"""The DRAM model does cycle for cycle what LiteDRAM's own does."""

import random
from types import SimpleNamespace
from typing import Any

import pytest
from litedram.phy.model import SDRAMPHYModel
from litex.gen import LiteXModule
from migen import run_simulation

from jalsoc.dram import ADDRESS_LINES, DRAM_KINDS, DramKind, dram_chip
from jalsoc.dram_phy import DramPhyModel

CYCLES = 600

ROWS = 4

ACTIVATE, PRECHARGE, WRITE, READ = (0, 1, 1), (0, 1, 0), (1, 0, 0), (1, 0, 1)
"""Levels of RAS, CAS and WE, all active low."""

CHANCES = {ACTIVATE: 0.2, PRECHARGE: 0.05, WRITE: 0.4, READ: 0.4}
"""How likely a command is in a cycle."""


def size(kind: DramKind) -> int:
    """Of a DRAM with few rows."""
    banks, columns = (4, 512) if kind.name == "sdr16" else (8, 1024)
    return ROWS * banks * columns * kind.data_bits // 8


def both(kind: DramKind) -> Any:
    """A module with both models of the same chip: ``ours`` and ``theirs``."""
    chip = dram_chip(kind, size(kind), 100e6)
    result = LiteXModule()
    result.ours = DramPhyModel(chip, data_width=kind.data_bits, clk_freq=100e6)
    result.theirs = SDRAMPHYModel(chip, data_width=kind.data_bits, clk_freq=100e6)
    return result


def commands(generator: random.Random, phases: int) -> dict[int, dict[str, int]]:
    """One cycle's commands by phase; each kind at most once, as a controller sends them."""
    places = generator.sample(range(phases), phases)
    kinds = [kind for kind, chance in CHANCES.items() if generator.random() < chance]
    generator.shuffle(kinds)
    result = {}
    for place, (ras, cas, we) in zip(places, kinds, strict=False):
        # Few rows, columns and banks, so that reads meet what was written. A10 closes all banks.
        address = generator.choice((0, 8, 1016, generator.randrange(1 << ADDRESS_LINES)))
        result[place] = {
            "cs_n": 0,
            "ras_n": ras,
            "cas_n": cas,
            "we_n": we,
            "bank": generator.randrange(3),
            "address": address,
        }
    return result


@pytest.mark.parametrize("kind", DRAM_KINDS.values(), ids=lambda kind: kind.name)
def test_reads_and_writes_are_those_of_litedram_in_every_cycle(kind: DramKind) -> None:
    generator = random.Random(kind.name)
    pair = both(kind)
    idle = {"cs_n": 1, "ras_n": 1, "cas_n": 1, "we_n": 1}
    seen = SimpleNamespace(valid=0, data=set())

    def process() -> Any:
        for cycle in range(CYCLES):
            given = commands(generator, pair.ours.settings.nphases)
            width = len(pair.ours.dfi.p0.wrdata)
            for index in range(pair.ours.settings.nphases):
                values = given.get(index, idle) | {
                    "wrdata": generator.getrandbits(width),
                    "wrdata_mask": generator.choice((0, generator.getrandbits(width // 8))),
                }
                for phy in (pair.ours, pair.theirs):
                    for name, value in values.items():
                        yield getattr(phy.dfi.phases[index], name).eq(value)
            yield
            for ours, theirs in zip(pair.ours.dfi.phases, pair.theirs.dfi.phases, strict=True):
                for name in ("rddata_valid", "rddata"):
                    got, expected = (yield getattr(ours, name)), (yield getattr(theirs, name))
                    assert got == expected, f"cycle {cycle}: {name} is {got:#x}, not {expected:#x}"
                seen.valid += yield ours.rddata_valid
                seen.data.add((yield ours.rddata))

    run_simulation(pair, process())
    assert seen.valid > CYCLES // 10
    assert len(seen.data) > CYCLES // 20


@pytest.mark.parametrize("kind", DRAM_KINDS.values(), ids=lambda kind: kind.name)
def test_words_are_those_of_the_port(kind: DramKind) -> None:
    memory = both(kind).ours.memory
    assert memory.width == 8 * kind.port_bytes
    assert memory.depth * kind.port_bytes == size(kind)
