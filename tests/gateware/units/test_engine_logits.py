"""The engine's logits in DRAM against those of the golden machine."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from jalgateware.contract.isa import Format
from jalgateware.golden.sampler import Sampling
from jalhost.models.architecture import Architecture
from jalhost.models.plan import free_matrices
from jaltest.dram_model import DramModel
from jaltest.engine import LOGITS, ODD, SMALL, WIDE_GROUP, Bench, Run
from jaltest.gateware import Process

WARM = Sampling.from_temperature(1.0, 77)


SHORT = replace(SMALL, hidden=16, heads=1)


class SlowWrites(DramModel):
    """DRAM whose last port, that of writes, is rarely free."""

    def _drive(self, state: Any) -> Process:
        usual = self.ready
        if state is self.ports[-1]:
            self.ready = 0.03
        yield from super()._drive(state)
        self.ready = usual


def check(bench: Bench, runs: list[Run]) -> None:
    """Tokens, and behind each run the logits."""

    def main() -> Process:
        yield from bench.load()
        for run in runs:
            yield from bench.begin(run)
            yield from bench.finish(run)
            assert run.tokens == bench.expected(run)
            assert np.array_equal(bench.written_logits(), bench.golden.logits)

    bench.simulate(main())


@pytest.mark.parametrize(
    ("a", "lanes", "tokens", "mxfp4", "slow"),
    [
        (SMALL, 16, 1, False, False),
        (SHORT, 2, 1, False, True),
        (replace(SHORT, vocabulary=49), 2, 3, True, False),
        (replace(ODD, vocabulary=35), 16, 4, True, True),
        (replace(WIDE_GROUP, layers=1, vocabulary=71), 64, 2, True, True),
    ],
    ids=["plain", "narrow", "narrow-rows", "rows", "wide"],
)
def test_logits_are_in_dram(
    a: Architecture, lanes: int, tokens: int, mxfp4: bool, slow: bool
) -> None:
    """Behind a prompt that fills no whole number of passes, and behind each token."""
    formats = dict.fromkeys(free_matrices(a)[::2], Format.MXFP4) if mxfp4 else {}
    bench = Bench(a, lanes, lanes, formats=formats, tokens=tokens, mxfp4=mxfp4)
    if slow:
        memory = bench.memory
        bench.memory = SlowWrites([item.port for item in memory.ports], memory.read, (4, 16), 0.8)
    runs = [
        Run([3, 4, 1, 7, 2, 9][: tokens + 2], count=1, sampling=WARM, logits=True),
        Run([5], count=1, position=tokens + 2, logits=True),
    ]
    check(bench, runs)
    bench.check_cache()


def test_runs_that_do_not_ask_write_none() -> None:
    bench = Bench(SMALL, 16, tokens=2)
    runs = [Run([3, 4], logits=logits) for logits in (False, True, False)]
    written: list[dict[int, int]] = []

    def main() -> Process:
        yield from bench.load()
        for run in runs:
            yield from bench.begin(run)
            yield from bench.finish(run)
            memory = bench.memory.memory
            written.append({place: word for place, word in memory.items() if place >= LOGITS})

    bench.simulate(main())
    assert not written[0]
    assert written[1]
    assert written[2] == written[1]
    assert runs[0].tokens == runs[1].tokens == runs[2].tokens
