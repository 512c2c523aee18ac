"""Benchmarks behind a KV cache that nobody filled."""

from collections.abc import Generator
from dataclasses import replace

import pytest

from jalhost.engine.bench import Bench, Workload
from jalhost.engine.emulator import Emulator
from jalhost.engine.target import Request, Sampled
from jalhost.errors import UsageError
from jaltest.tiny import ARCHITECTURE, tiny_image

IMAGE = tiny_image()


class Witness(Emulator):
    """The emulator; it remembers what it was asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.requests: list[Request] = []

    def run(self, request: Request) -> Generator[Sampled, None, None]:
        self.requests.append(request)
        yield from super().run(request)


def bench(cold: bool) -> tuple[Bench, Witness]:
    target = Witness()
    runner = Bench(target, IMAGE, cold_cache=cold)
    runner.load()
    return runner, target


@pytest.mark.parametrize("streams", [1, 4])
def test_streams_start_with_the_last_token_of_the_depth(streams: int) -> None:
    test = Workload(0, 3, depth=6, streams=streams)
    runner, target = bench(True)
    cold = runner.run(test, 1)
    (request,) = target.requests
    assert request.position == 5
    runner, target = bench(False)
    warm = runner.run(test, 1)
    (whole,) = target.requests
    assert whole.position == 0
    assert request.prompts == tuple(prompt[5:] for prompt in whole.prompts)
    assert (cold.cold_cache, warm.cold_cache) == (True, False)
    assert cold.ttft_s is None
    assert warm.ttft_s
    assert cold.bytes_needed == warm.bytes_needed
    assert replace(cold, samples=(), cold_cache=False) == replace(warm, samples=())


def test_guesses_behind_a_cold_cache_are_refused() -> None:
    runner, _ = bench(True)
    with pytest.raises(UsageError, match="how often a guess is right would mean nothing"):
        runner.run(Workload(0, 3, depth=6, speculate=True), 1)
    assert runner.run(Workload(0, 3, speculate=True), 1).test.speculate
    runner, _ = bench(False)
    assert runner.run(Workload(0, 3, depth=6, speculate=True), 1).ttft_s


def test_the_whole_context_is_in_reach() -> None:
    runner, target = bench(True)
    runner.run(Workload(0, 1, depth=ARCHITECTURE.context - 1, streams=2), 1)
    assert target.requests[0].position == ARCHITECTURE.context - 2
