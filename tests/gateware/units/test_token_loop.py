"""The token loop alone: which passes it runs, when it ends and what it waits for."""

from collections.abc import Sequence

import pytest

from jalgateware.contract.drafting import SETS
from jaltest.gateware import Process, pulse
from jaltest.token_loop import Bench, Pass, mixed, rhythmic


@pytest.mark.parametrize("stall", [0.0, 0.8])
@pytest.mark.parametrize("prompt", [[7], [7, 8, 9]])
def test_prompt_then_samples(prompt: list[int], stall: float) -> None:
    bench = Bench([prompt], count=4, position=20, stall=stall)
    bench.check()
    last = len(prompt) - 1
    fed = [Pass((t,), (n,), (0,), True, n == last) for n, t in enumerate(prompt)]
    own = [Pass((100 + p,), (p + 1,), (0,), True, True) for p in range(last, last + 3)]
    assert bench.passes == fed + own


@pytest.mark.parametrize("rows", [1, 4])
def test_a_single_sample(rows: int) -> None:
    bench = Bench([[5]], count=1, rows=rows)
    bench.check()
    assert bench.passes == [Pass((5,), (0,), (0,), True, True)]
    assert bench.streams == [[100]]


@pytest.mark.parametrize("rows", [2, 3, 4])
@pytest.mark.parametrize("length", [1, 2, 4, 5, 9])
def test_a_prompt_takes_as_few_passes_as_it_can(length: int, rows: int) -> None:
    prompt = list(range(3, 3 + length))
    bench = Bench([prompt], count=2, rows=rows, model=mixed, stall=0.5)
    bench.check()
    starts = range(0, length, rows)
    assert [now.tokens for now in bench.passes[: len(starts)]] == [
        tuple(prompt[start : start + rows]) for start in starts
    ]
    # Only the pass with the prompt's last token samples.
    assert [now.sample for now in bench.passes] == [False] * (len(starts) - 1) + [True, True]


@pytest.mark.parametrize("stall", [0.0, 0.7])
@pytest.mark.parametrize(
    ("rows", "lengths"), [(2, [3, 1]), (3, [1, 4, 2]), (4, [5, 1]), (4, [1, 2, 9, 4])]
)
def test_streams_share_passes(rows: int, lengths: list[int], stall: float) -> None:
    prompts = [list(range(10 * s, 10 * s + n)) for s, n in enumerate(lengths)]
    bench = Bench(prompts, count=4, rows=rows, model=mixed, stall=stall)
    bench.check()
    together = bench.passes[sum(-(-n // rows) for n in lengths) :]
    assert [now.sequences for now in together] == [tuple(range(len(lengths)))] * 3
    assert not any(now.shared for now in together)


def test_streams_end_one_by_one() -> None:
    """By a stop token, by the context, by the count: the others go on."""
    prompts = [[1] * 13, [2], [3, 4]]
    free = Bench(prompts, count=6, rows=4, context=16, model=mixed)
    free.check()
    assert [len(tokens) for tokens in free.streams] == [4, 6, 6]
    stop = free.streams[1][2]
    bench = Bench(
        prompts, 6, rows=4, context=16, model=mixed, stop_tokens=[stop | 1 << 31], stall=0.3
    )
    bench.check()
    assert [len(tokens) for tokens in bench.streams] == [4, 3, 6]
    assert bench.passes[-1].sequences == (2,)


@pytest.mark.parametrize("rows", [1, 2])
@pytest.mark.parametrize(("index", "enabled"), [(0, True), (3, True), (1, False)])
def test_stop_tokens(index: int, enabled: bool, rows: int) -> None:
    stops = [0, 0, 0, 0]
    stops[index] = 102 | int(enabled) << 31
    bench = Bench([[5]], count=6, stop_tokens=stops, rows=rows)
    bench.check()
    assert bench.streams == [[100, 101, 102] if enabled else [100, 101, 102, 103, 104, 105]]


@pytest.mark.parametrize("rows", [1, 4])
@pytest.mark.parametrize("position", [0, 5, 7, 8])
def test_the_context_ends_the_run(position: int, rows: int) -> None:
    bench = Bench([[5]], count=20, position=position, context=8, rows=rows)
    bench.run()
    assert [now.positions for now in bench.passes] == [(p,) for p in range(8 - position)]
    assert bench.streams == [list(range(100, 108 - position))]


@pytest.mark.parametrize("drafts", [0, 3])
def test_the_last_position_of_all(drafts: int) -> None:
    bench = Bench(
        [[5]], 20, position=0xFFFC, context=1 << 16, rows=4, drafts=drafts, model=rhythmic
    )
    bench.check()
    assert bench.passes[-1].positions[-1] == 3


@pytest.mark.parametrize("stall", [0.0, 0.6])
@pytest.mark.parametrize(("rows", "drafts"), [(2, 1), (3, 2), (4, 1), (4, 3), (2, 3)])
def test_drafts_change_nothing_but_the_number_of_passes(
    rows: int, drafts: int, stall: float
) -> None:
    bench = Bench([[1, 2, 3]], 60, rows=rows, drafts=drafts, model=rhythmic, stall=stall)
    bench.check()
    prefill = -(-3 // rows)
    assert all(len(now.tokens) <= 1 + min(drafts, rows - 1) for now in bench.passes[prefill:])
    assert len(bench.passes) < prefill + 50


def test_wrong_drafts_cost_nothing() -> None:
    """Nothing repeats itself as the drafts say: one sample per pass."""

    def rising(tokens: Sequence[int]) -> int:
        return 3 if len(tokens) % 2 else len(tokens)

    bench = Bench([[3]], 20, rows=4, drafts=3, model=rising)
    bench.check()
    assert any(len(now.tokens) > 1 for now in bench.passes)


@pytest.mark.parametrize("count", range(4, 12))
def test_drafts_stop_at_the_count(count: int) -> None:
    bench = Bench([[1, 1, 1]], count, rows=4, drafts=3, model=lambda tokens: 1)
    bench.check()
    drawn = 1
    for now in bench.passes[1:]:
        assert now.positions[-1] < 3 + count - 1
        drawn += len(now.tokens)
    assert drawn == count


@pytest.mark.parametrize("context", range(8, 14))
def test_drafts_stop_at_the_context(context: int) -> None:
    bench = Bench([[1, 1, 1]], 99, context=context, rows=4, drafts=3, model=lambda tokens: 1)
    bench.check()
    assert bench.passes[-1].positions[-1] == context - 1


@pytest.mark.parametrize("stop", range(3))
def test_a_stop_token_among_drafts_ends_the_run(stop: int) -> None:
    def cycling(tokens: Sequence[int]) -> int:
        return 9 if len(tokens) == 30 + stop else tokens[-3:][0]

    bench = Bench([[1, 2, 3]], 99, rows=4, drafts=3, model=cycling, stop_tokens=[9 | 1 << 31])
    bench.check()
    assert bench.streams[0][-1] == 9


@pytest.mark.parametrize("start", range(3))
def test_nothing_follows_a_stop_token_that_was_drafted(start: int) -> None:
    """The prompt has the stop token and what follows it, so drafts do as well."""
    prompt = [1, 2, 3, 9, 5] * 2 + [1, 2, 3][: 1 + start]
    bench = Bench(
        [prompt],
        99,
        rows=4,
        drafts=3,
        model=lambda tokens: tokens[-5:][0],
        stop_tokens=[9 | 1 << 31],
    )
    bench.check()
    assert bench.streams == [[2, 3, 9][start:]]
    assert start == 2 or 9 in bench.passes[-1].tokens


def test_several_streams_do_not_draft() -> None:
    bench = Bench([[1, 1], [1, 1]], 20, rows=4, drafts=3, model=lambda tokens: 1)
    bench.check()
    assert all(len(now.tokens) == 2 for now in bench.passes)


@pytest.mark.parametrize("rows", [1, 3])
def test_what_the_host_delays_is_waiting(rows: int) -> None:
    """Waiting for a token of the prompt, or for room for a sample; nothing else."""
    fast, slow = (Bench([[5, 6, 7]], count=3, rows=rows, stall=stall) for stall in (0.0, 0.98))
    fast.run()
    slow.run()
    assert fast.waits <= 3
    assert slow.waits > 5
    assert slow.cycles - slow.waits < fast.cycles + 30


def test_the_drafter_is_not_the_host() -> None:
    """It forgets the run before, and learns the prompt, before a pass begins."""
    bench = Bench([[5, 6, 7]], count=3, rows=4, drafts=3)
    bench.run()
    assert bench.waits <= 3
    assert bench.cycles > SETS


@pytest.mark.parametrize("stall", [0.0, 0.9])
@pytest.mark.parametrize("prompts", [[[5]], [[5], [6], [7, 7]]])
def test_samples_carry_the_cycle_in_which_they_were_drawn(
    prompts: list[list[int]], stall: float
) -> None:
    bench = Bench(prompts, count=5, stall=stall, rows=len(prompts))
    bench.run()
    start = bench.clock.cycle - bench.cycles - 31
    # pass_done comes a cycle behind the tokens.
    together = [len(now.sequences) if not now.shared else 1 for now in bench.passes if now.sample]
    drawn = [d - start for d, n in zip(bench.drawn, together, strict=True) for _ in range(n)]
    assert [cycles for *_, cycles in bench.output.values] == drawn


@pytest.mark.parametrize("rows", [1, 4])
def test_samples_follow_at_once(rows: int) -> None:
    """Four cycles behind ``pass_done`` the first one, then three behind each other."""
    bench = Bench([[5]] * rows, count=5, rows=rows)
    bench.run()
    arrivals, drawn = bench.output.arrivals[rows:], bench.drawn[rows:]
    assert [a - d for a, d in zip(arrivals[::rows], drawn, strict=True)] == [5] * 4
    for first in range(0, len(arrivals), rows):
        assert arrivals[first + rows - 1] - arrivals[first] == 3 * (rows - 1)


@pytest.mark.parametrize("rows", [1, 2, 4])
def test_latency_from_a_pass_to_the_next(rows: int) -> None:
    bench = Bench([[5]] * rows, count=5, rows=rows)
    unit, delays = bench.unit, []

    def engine() -> Process:
        """As fast as can be."""
        yield "passive"
        yield unit.pass_ready.eq(1)
        done = 0
        while True:
            if (yield unit.pass_start):
                if done:
                    delays.append(bench.clock.cycle - done)
                yield from pulse(unit.pass_done)
                done = bench.clock.cycle
            yield

    bench.run(engine())
    assert set(delays[rows:]) == {9 + 5 * (rows - 1)}
