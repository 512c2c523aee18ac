"""Several streams, and drafts, on the whole system in simulation: the emulator's texts, sooner."""

from collections.abc import Iterator
from dataclasses import replace

import pytest

from jalgateware.contract.config import STANDARD
from jalgateware.golden.sampler import Sampling
from jalhost.engine.emulator import Emulator
from jalhost.engine.filters import Filters
from jalhost.engine.generation import FinishReason, Generation, Summary
from jalhost.engine.simulator import Simulator
from jalhost.engine.target import Request
from jalhost.models.image import Image
from jaltest.texts import PROMPTS, generate, prompts_for, run_json

pytestmark = [pytest.mark.sim, pytest.mark.slow]

ROWS = STANDARD.tokens


@pytest.fixture(scope="module")
def simulator(image: Image) -> Iterator[Simulator]:
    """A simulator; one for all requests."""
    target = Simulator("sim", print)
    target.load(image)
    yield target
    target.close()


@pytest.fixture(scope="module")
def emulator(image: Image) -> Emulator:
    """The emulator with the same model."""
    target = Emulator()
    target.load(image)
    return target


def nearly_full(image: Image, room: int) -> str:
    """A prompt that leaves room for about so many tokens in the context; it repeats itself."""
    text = " ".join(PROMPTS * 40)
    while len(image.tokenizer.encode(text)) > image.plan.architecture.context - room:
        text = text[: int(0.98 * len(text))]
    return text


def prefill_passes(summary: Summary) -> int:
    return sum(-(-len(stream.prompt_token_ids) // ROWS) for stream in summary.streams)


def passes(target: Simulator) -> int:
    """All passes of the last run, by the engine's counters."""
    counters = target.counters()
    assert counters
    return counters["tokens"]


@pytest.mark.parametrize("temperature", [0.0, 0.8])
@pytest.mark.parametrize("streams", [2, 3, 4])
def test_streams_are_the_emulators(
    simulator: Simulator, emulator: Emulator, image: Image, streams: int, temperature: float
) -> None:
    simulated = generate(simulator, image, PROMPTS[:streams], temperature, 3)
    emulated = generate(emulator, image, PROMPTS[:streams], temperature, 3)
    for ours, expected in zip(simulated.streams, emulated.streams, strict=True):
        assert ours.token_ids == expected.token_ids, ours.prompt
        assert ours.finish_reason is expected.finish_reason


def test_each_stream_is_a_run_of_its_own(simulator: Simulator, image: Image) -> None:
    together = generate(simulator, image, [PROMPTS[0]] * ROWS, 0.8, 5)
    for index, stream in enumerate(together.streams):
        alone = generate(simulator, image, PROMPTS[0], 0.8, 5 + index)
        assert stream.token_ids == alone.token_ids
    assert len({stream.text for stream in together.streams}) == ROWS


FILTERS = ["--temperature=0.9", "--seed=5", "--top-k=40", "--top-p=0.95", "--min-p=0.02"]


@pytest.mark.parametrize("way", ["sim", "sim:uart"])
def test_what_the_host_samples_is_the_emulators(way: str) -> None:
    """From logits that the gateware wrote to DRAM, read back over two links."""
    arguments = ["generate", PROMPTS[0], "--max-tokens=16", "--json", *FILTERS]
    arguments.append("--repetition-penalty=1.2")
    expected = run_json(*arguments, "--target=emu")
    found = run_json(*arguments, f"--target={way}")
    assert found["token_ids"] == expected["token_ids"]
    assert found["token_ids"] != run_json(*arguments[:4], "--target=emu")["token_ids"]


def test_filters_that_pass_all_change_nothing(simulator: Simulator, image: Image) -> None:
    """What the host draws from the gateware's logits is what the gateware draws."""
    filters = Filters(top_k=1 << 20, top_p=1.0, min_p=0.0, repetition_penalty=1.0)
    expected = generate(simulator, image, PROMPTS[1], 0.8, 11)
    generation = Generation(simulator, image, PROMPTS[1], 24, 0.8, 11, filters=filters)
    found = [event.token for event in generation]
    assert found[: len(expected.streams[0].token_ids)] == expected.streams[0].token_ids
    assert len(found) == 24


def test_samples_come_in_the_emulators_order(
    simulator: Simulator, emulator: Emulator, image: Image
) -> None:
    prompts = tuple(tuple(image.tokenizer.encode(prompt)) for prompt in PROMPTS[:3])
    request = Request(prompts, 9, Sampling.from_temperature(0.8, 1))
    ours, expected = (
        [(item.stream, item.token) for item in target.run(request)]
        for target in (simulator, emulator)
    )
    assert ours == expected


def test_prompts_take_all_rows(simulator: Simulator, image: Image) -> None:
    for prompt in PROMPTS[:4]:
        summary = generate(simulator, image, prompt, max_tokens=1)
        assert passes(simulator) == prefill_passes(summary)


def test_streams_share_passes(simulator: Simulator, image: Image) -> None:
    endless = replace(image, stop_tokens=())
    simulator.load(endless)
    summary = generate(simulator, endless, PROMPTS[:ROWS], max_tokens=17)
    alone = generate(simulator, endless, PROMPTS[0], max_tokens=17)
    simulator.load(image)
    assert summary.tokens_per_weight_pass == ROWS
    assert alone.tokens_per_weight_pass == 1
    assert summary.decode_tokens_per_s
    assert alone.decode_tokens_per_s
    assert summary.decode_tokens_per_s > 2 * alone.decode_tokens_per_s
    assert summary.dram_utilisation
    assert 0 < summary.dram_utilisation < 1


def test_streams_end_one_by_one(simulator: Simulator, emulator: Emulator, image: Image) -> None:
    """At stop tokens, and at the end of the context."""
    prompts = [PROMPTS[0], nearly_full(image, 9), PROMPTS[9], PROMPTS[2]]
    first = generate(emulator, image, prompts, 0.8, 2, max_tokens=40).streams
    # Tokens that some of the streams draw, early and late.
    stops = (first[0].token_ids[7], first[3].token_ids[30])
    stopping = replace(image, stop_tokens=stops)
    results = []
    for target in (simulator, emulator):
        target.load(stopping)
        results.append(generate(target, stopping, prompts, 0.8, 2, max_tokens=40))
        target.load(image)
    simulated, emulated = results
    for ours, expected in zip(simulated.streams, emulated.streams, strict=True):
        assert ours.token_ids == expected.token_ids
        assert ours.finish_reason is expected.finish_reason
    reasons = {stream.finish_reason for stream in simulated.streams}
    assert reasons >= {FinishReason.STOP, FinishReason.CONTEXT}
    drawn = [
        len(stream.token_ids) + (stream.finish_reason is FinishReason.STOP)
        for stream in simulated.streams
    ]
    assert len(set(drawn)) > 1
    assert simulated.tokens_per_weight_pass == pytest.approx((sum(drawn) - ROWS) / (max(drawn) - 1))


def test_runs_of_all_kinds_take_turns(
    simulator: Simulator, emulator: Emulator, image: Image
) -> None:
    for prompts, drafts in ((PROMPTS[:4], 0), (PROMPTS[1:2], 3), (PROMPTS[2:5], 0), (["I"], 0)):
        simulated = generate(simulator, image, prompts, drafts=drafts, max_tokens=12)
        emulated = generate(emulator, image, prompts, max_tokens=12)
        assert [item.token_ids for item in simulated.streams] == [
            item.token_ids for item in emulated.streams
        ]


def test_speculation_changes_the_time_alone(
    simulator: Simulator, emulator: Emulator, image: Image
) -> None:
    tokens = spent = 0
    for prompt in prompts_for(image):
        drafted = generate(simulator, image, prompt, max_tokens=48, drafts=ROWS - 1)
        plain = generate(emulator, image, prompt, max_tokens=48)
        assert drafted.token_ids == plain.token_ids, prompt
        assert drafted.finish_reason is plain.finish_reason
        drawn = len(plain.token_ids) + (plain.finish_reason is FinishReason.STOP)
        decoding = passes(simulator) - prefill_passes(drafted)
        assert decoding <= drawn - 1
        tokens, spent = tokens + drawn - 1, spent + decoding
    assert spent < tokens


@pytest.mark.parametrize("drafts", [1, 2, 3])
def test_speculation_samples_as_without(
    simulator: Simulator, emulator: Emulator, image: Image, drafts: int
) -> None:
    for seed, prompt in enumerate(prompts_for(image)[::3]):
        drafted = generate(simulator, image, prompt, 0.8, seed, 40, drafts)
        assert drafted.token_ids == generate(emulator, image, prompt, 0.8, seed, 40).token_ids


def test_speculation_ends_where_the_context_does(
    simulator: Simulator, emulator: Emulator, image: Image
) -> None:
    """Rows beyond the last position, or beyond the last sample that was asked for, are not used."""
    endless = replace(image, stop_tokens=())
    long = nearly_full(image, 20)
    results = []
    for target, drafts in ((simulator, ROWS - 1), (emulator, 0)):
        target.load(endless)
        results.append(generate(target, endless, long, 0.0, 0, 100, drafts))
        for max_tokens in (1, 2, 3, 4, 5):
            results.append(generate(target, endless, PROMPTS[0], 0.0, 0, max_tokens, drafts))
        target.load(image)
    half = len(results) // 2
    for drafted, plain in zip(results[:half], results[half:], strict=True):
        assert drafted.token_ids == plain.token_ids
    assert results[0].finish_reason is FinishReason.CONTEXT


def test_command_line() -> None:
    request = ("generate", "Once upon a time", "Lily", "--max-tokens=16", "--json")
    together, expected = (
        run_json(*request, "--streams=2", f"--target={target}") for target in ("sim", "emu")
    )
    for ours, theirs in zip(together["streams"], expected["streams"], strict=True):
        assert ours["text"] == theirs["text"]
    assert together["tokens_per_weight_pass"] == 2
    drafted, plain = (
        run_json("generate", "Once upon a time", "--max-tokens=60", "--target=sim", "--json", *more)
        for more in ([], ["--no-speculate"])
    )
    assert drafted["text"] == plain["text"]
    assert plain["tokens_per_weight_pass"] == 1
    assert drafted["tokens_per_weight_pass"] > 1
    assert drafted["cycles_per_token"] < plain["cycles_per_token"]
