"""Logits of one token row become words of DRAM."""

import random

import pytest

from jalgateware.contract.config import EngineConfig
from jalgateware.contract.formats import VECTOR
from jalgateware.units.logit_packer import LogitPacker
from jaltest.gateware import Process, simulate


def run(lanes: int, tokens: int, chosen: int, count: int, gap: float, enable: bool = True) -> None:
    """Sends logits of all token rows in the engine's order, and checks the words."""
    unit, rng = LogitPacker(EngineConfig(lanes, tokens=tokens)), random.Random(count)
    ends = [VECTOR.minimum, VECTOR.maximum, -1, 0]
    rows = [
        [rng.choice([*ends, rng.randint(VECTOR.minimum, VECTOR.maximum)]) for _ in range(count)]
        for _ in range(tokens)
    ]
    memory: dict[int, int] = {}

    def watch() -> Process:
        yield "passive"
        while True:
            if (yield unit.word_valid):
                offset = yield unit.offset
                assert offset not in memory, "each word comes once"
                memory[offset] = yield unit.word
            yield

    def main() -> Process:
        yield unit.enable.eq(enable)
        yield unit.chosen.eq(chosen)
        step = 2 if tokens > 1 else 1
        for first in range(0, count, step):
            for row in range(tokens):
                for index in range(first, min(first + step, count)):
                    yield unit.logit.eq(rows[row][index])
                    yield unit.index.eq(index)
                    yield unit.row.eq(row)
                    yield unit.last.eq(index == count - 1)
                    yield unit.valid.eq(1)
                    yield
                    while lanes == 2 or rng.random() < gap:
                        yield unit.valid.eq(0)
                        yield unit.logit.eq(rng.getrandbits(VECTOR.bits - 1))
                        yield
                        if rng.random() >= gap:
                            break
        yield unit.valid.eq(0)
        for _ in range(4):
            yield

    simulate(unit, [main(), watch()])
    if not enable:
        assert not memory
        return
    data = b"".join(memory[i].to_bytes(lanes, "little") for i in range(len(memory)))
    assert len(memory) == -(-4 * count // lanes)
    found = [int.from_bytes(data[4 * i : 4 * i + 4], "little", signed=True) for i in range(count)]
    assert found == rows[chosen]


@pytest.mark.parametrize("gap", [0.0, 0.5])
@pytest.mark.parametrize("tokens", [1, 4])
@pytest.mark.parametrize("lanes", [2, 4, 8, 16, 32, 64])
def test_words_hold_the_chosen_rows_logits(lanes: int, tokens: int, gap: float) -> None:
    for count in (1, 3, 16, 51):
        run(lanes, tokens, chosen=tokens // 2, count=count, gap=gap)


def test_nothing_is_written_unless_asked_for() -> None:
    run(16, 2, chosen=0, count=20, gap=0.3, enable=False)
