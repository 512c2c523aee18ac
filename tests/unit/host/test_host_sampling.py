"""Texts that the host samples: the gateware's where all tokens pass, and the filters' elsewhere."""

import dataclasses
import subprocess
from collections.abc import Generator
from typing import Any

import numpy as np
import pytest

from jalgateware.golden.rounding import Integers
from jalgateware.golden.sampler import Sampling
from jalhost.cli.render import summary_line
from jalhost.engine.chat import Conversation, Settings
from jalhost.engine.emulator import Emulator
from jalhost.engine.filters import Filters
from jalhost.engine.generation import FinishReason, Generation, Summary
from jalhost.engine.host_sampling import HostSampler
from jalhost.engine.target import Provenance, Request, Sampled, TargetInfo, choose_drafts
from jalhost.errors import DeviceError, DeviceRestarted, UsageError
from jalhost.models.chat_template import ChatTemplate
from jalhost.models.convert import needed_bytes
from jalhost.models.image import GEOMETRY, Image
from jaltest.texts import JALHOST, run_json
from jaltest.tiny import ARCHITECTURE, tiny_image

IMAGE = tiny_image()
ENDLESS = dataclasses.replace(IMAGE, stop_tokens=())
EVERYTHING = Filters(top_k=100_000, top_p=1)
TEMPLATE = "{% for m in messages %}{{ m['content'] }}\n{% endfor %}"


class Recorder(Emulator):
    """Keeps the requests; starts again in front of some of them, and has lost the text then.

    A run takes 500 cycles for each token of its prompt.
    """

    def __init__(self, *restarts: int) -> None:
        super().__init__()
        self.requests: list[Request] = []
        self.restarts = restarts

    @property
    def info(self) -> TargetInfo:
        return TargetInfo("recorder", Provenance.SIMULATED, 1_000_000, 16, 16, 4)

    def run(self, request: Request) -> Generator[Sampled, None, None]:
        self.requests.append(request)
        if len(self.requests) in self.restarts:
            self.load(IMAGE)
            raise DeviceRestarted("it started again")
        for index, sampled in enumerate(super().run(request)):
            cycles = 500 * (len(request.prompts[0]) + index)
            yield dataclasses.replace(sampled, seconds=cycles / 1e6, cycles=cycles)

    def counters(self) -> None:
        raise AssertionError("they tell of one token")


def generate(
    filters: Filters | None,
    image: Image = ENDLESS,
    target: Emulator | None = None,
    temperature: float = 0.9,
    max_tokens: int = 20,
    prompt: str = "the one",
) -> Summary:
    target = target or Emulator()
    target.load(image)
    generation = Generation(target, image, prompt, max_tokens, temperature, seed=5, filters=filters)
    for _ in generation:
        pass
    return generation.summary()


@pytest.mark.parametrize("temperature", [0.0, 0.5, 2.0])
def test_filters_that_admit_everything_give_the_gatewares_text(temperature: float) -> None:
    plain = generate(None, temperature=temperature)
    by_host = generate(EVERYTHING, temperature=temperature)
    assert by_host.token_ids == plain.token_ids
    assert (plain.by_host, by_host.by_host) == (False, True)


def test_stops_and_full_contexts_end_texts_as_on_the_gateware() -> None:
    free = generate(None).token_ids
    stopping = dataclasses.replace(IMAGE, stop_tokens=(free[4],))
    for image, most, reason in (
        (stopping, 20, FinishReason.STOP),
        (ENDLESS, 1000, FinishReason.CONTEXT),
        (ENDLESS, 1, FinishReason.LENGTH),
    ):
        plain, by_host = (
            generate(filters, image, max_tokens=most) for filters in (None, EVERYTHING)
        )
        assert (by_host.token_ids, by_host.finish_reason) == (plain.token_ids, reason)


def test_filters_change_texts() -> None:
    texts = [
        generate(filters).token_ids
        for filters in (
            None,
            Filters(top_k=2),
            Filters(top_p=0.1),
            Filters(min_p=0.9),
            Filters(repetition_penalty=1.8),
        )
    ]
    assert len({tuple(text) for text in texts}) > 3
    assert generate(Filters(top_k=1)).token_ids == generate(None, temperature=0).token_ids


def test_a_penalty_keeps_greedy_texts_from_repeating() -> None:
    plain = generate(None, temperature=0, max_tokens=40)
    penalised = generate(Filters(repetition_penalty=1000.0), temperature=0, max_tokens=40)
    everything = [*penalised.prompt_token_ids, *penalised.token_ids]
    assert len(set(plain.token_ids)) < 40
    assert len(set(penalised.token_ids)) == 40
    assert not set(penalised.token_ids) & set(penalised.prompt_token_ids), everything


def test_each_token_is_a_run_behind_the_cache_of_those_before() -> None:
    target = Recorder()
    summary = generate(Filters(top_k=3), target=target, max_tokens=4)
    prompt = summary.prompt_token_ids
    assert [request.prompts[0] for request in target.requests] == [
        tuple(prompt), *((token,) for token in summary.token_ids[:-1])
    ]  # fmt: skip
    assert [request.position for request in target.requests] == [
        0, *range(len(prompt), len(prompt) + 3)
    ]  # fmt: skip
    assert all(request.logits and request.max_tokens == 1 for request in target.requests)


def test_figures_are_those_of_the_engines_runs() -> None:
    summary = generate(EVERYTHING, target=Recorder(), max_tokens=4)
    prompt = len(summary.prompt_token_ids)
    assert summary.ttft_s == pytest.approx(prompt * 500e-6)
    assert summary.cycles_per_token == 500
    assert summary.decode_tokens_per_s == pytest.approx(2000)
    assert summary.tokens_per_weight_pass == 1
    needed = sum(needed_bytes(ENDLESS, place) for place in range(prompt, prompt + 3))
    assert summary.dram_utilisation == pytest.approx(needed / (1500 * 16))
    line = summary_line(summary)
    assert line.endswith("; sampled by the host, times are the engine's alone; simulated at 1 MHz]")
    assert summary.as_dict()["sampled_by"] == "host"


def test_a_text_that_a_restart_has_lost_runs_once_more() -> None:
    whole = generate(EVERYTHING)
    target = Recorder(6)
    summary = generate(EVERYTHING, target=target)
    assert summary.token_ids == whole.token_ids
    text = (*whole.prompt_token_ids, *whole.token_ids)
    assert (target.requests[6].position, target.requests[6].prompts[0]) == (
        0, text[: len(whole.prompt_token_ids) + 5]
    )  # fmt: skip
    # What it read again is in the cycles, and nobody has counted its passes.
    assert summary.dram_utilisation is None
    assert summary.tokens_per_weight_pass is None
    for places in ((6, 7), (6, 9)):
        with pytest.raises(DeviceRestarted, match="it started again"):
            generate(EVERYTHING, target=Recorder(*places))


def test_conversations_are_those_of_the_gateware() -> None:
    turns = []
    for filters, drafts in ((None, 3), (EVERYTHING, 0)):
        target = Recorder()
        target.load(IMAGE)
        settings = Settings(6, Sampling.from_temperature(0.8, 3), drafts, (), filters)
        conversation = Conversation(target, IMAGE, ChatTemplate(TEMPLATE, {}), settings)
        answers = ["".join(conversation.ask(text)) for text in ("the one", "on", "then")]
        assert conversation.last
        turns.append((answers, conversation.last.reused, conversation.last.prefilled))
    assert turns[0] == turns[1]
    assert turns[0][1] > 0


def test_penalties_are_on_the_whole_conversation() -> None:
    target = Recorder()
    target.load(ENDLESS)
    settings = Settings(5, Sampling(), filters=Filters(repetition_penalty=1000.0))
    conversation = Conversation(target, ENDLESS, ChatTemplate(TEMPLATE, {}), settings)
    tokens: list[int] = []
    for text in ("the one", "on", "then"):
        "".join(conversation.ask(text))
        known = len(tokens)
        tokens = conversation._tokens
        answer, before = tokens[-5:], tokens[:-5]
        assert len(before) > known
        assert not set(answer) & set(before)


def test_a_turn_that_a_restart_has_broken_follows_the_rules_of_conversations() -> None:
    settings = Settings(4, Sampling(), filters=EVERYTHING)
    # In the first turn; in front of the second one's first token, and behind it.
    for place, reused in ((2, True), (5, False), (6, None)):
        target = Recorder(place)
        target.load(IMAGE)
        conversation = Conversation(target, IMAGE, ChatTemplate(TEMPLATE, {}), settings)
        "".join(conversation.ask("the one"))
        if reused is None:
            with pytest.raises(DeviceRestarted):
                "".join(conversation.ask("on"))
            continue
        "".join(conversation.ask("on"))
        assert conversation.last
        assert (conversation.last.reused > 0) is reused


def test_logits_that_are_not_those_of_the_sample_are_refused() -> None:
    class Stale(Emulator):
        def logits(self) -> Integers:
            return -super().logits()

    with pytest.raises(DeviceError, match=r"which is not the likeliest by the logits that it giv"):
        generate(EVERYTHING, target=Stale())


def test_logits_of_the_emulator() -> None:
    target = Emulator()
    target.load(IMAGE)
    request = Request(((1, 260),), 1, Sampling(), logits=True)
    (sampled,) = target.run(request)
    logits = target.logits()
    assert logits.shape == (ARCHITECTURE.vocabulary,)
    assert np.argmax(logits) == sampled.token
    list(target.run(dataclasses.replace(request, logits=False)))
    with pytest.raises(UsageError, match=r"^the last run kept no logits$"):
        target.logits()


@pytest.mark.parametrize(
    "changes", [{"max_tokens": 2}, {"drafts": 1}, {"prompts": ((1,), (1,))}], ids=str
)
def test_requests_for_logits_of_more_than_a_token_are_refused(changes: dict[str, Any]) -> None:
    request = dataclasses.replace(Request(((1,),), 1, Sampling(), logits=True), **changes)
    with pytest.raises(UsageError, match="logits are kept of one token, of one stream without"):
        request.check(4)


def test_targets_without_logits_are_refused() -> None:
    target = Emulator(dataclasses.replace(GEOMETRY, logits=False))
    with pytest.raises(UsageError, match=r"emu has gateware that keeps no logits: .* \(build gate"):
        HostSampler(target, IMAGE, EVERYTHING)
    with pytest.raises(UsageError, match="keeps no logits"):
        Generation(target, IMAGE, "the", filters=EVERYTHING)
    with pytest.raises(UsageError, match="of one stream without drafts"):
        Generation(Emulator(), IMAGE, ["the", "one"], filters=EVERYTHING)


def test_engines_without_noise_take_the_likeliest_token() -> None:
    target = Emulator(dataclasses.replace(GEOMETRY, noise=False))
    target.load(IMAGE)
    assert not target.info.noise
    warm = Sampling.from_temperature(0.8, 1)
    message = r"takes the likeliest token: .* \(leave --temperature out, or use gateware with noise"
    with pytest.raises(UsageError, match=message):
        Generation(target, IMAGE, "the", temperature=0.8)
    with pytest.raises(UsageError, match=message):
        next(target.run(Request(((1,),), 1, warm)))
    likeliest = Request(((1, 260),), 1, Sampling())
    expected = next(iter(_loaded().run(likeliest)))
    assert next(iter(target.run(likeliest))).token == expected.token
    # The host draws by itself.
    Generation(target, IMAGE, "the", temperature=0.8, filters=EVERYTHING)


def _loaded() -> Emulator:
    target = Emulator(GEOMETRY)
    target.load(IMAGE)
    return target


def test_drafts_and_streams_are_the_engines() -> None:
    assert choose_drafts(None, 1, 4, by_host=True) == 0
    assert choose_drafts(False, 1, 4, by_host=True) == 0
    for speculate, streams, option in ((True, 1, "--speculate"), (None, 2, "--streams")):
        with pytest.raises(UsageError, match=f"^{option} needs the engine to sample"):
            choose_drafts(speculate, streams, 4, by_host=True)


def refused(*arguments: str) -> str:
    run = subprocess.run(
        [*JALHOST, "generate", "--target", "emu", "--max-tokens", "2", *arguments],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert run.returncode == 2
    assert run.stderr.count("\n") == 1, run.stderr
    assert not run.stdout
    return run.stderr


def test_on_the_command_line() -> None:
    options = ["generate", "Tom", "--target=emu", "--max-tokens=9", "--temperature=0.9", "--json"]
    plain, by_host = run_json(*options), run_json(*options, "--top-k=100000")
    assert by_host["token_ids"] == plain["token_ids"]
    assert (plain["sampled_by"], by_host["sampled_by"]) == ("engine", "host")
    run = subprocess.run(
        [*JALHOST, *options[:-2], "--min-p=0.1"], capture_output=True, text=True, check=True
    )
    first, last = run.stderr.splitlines()
    assert first == "--top-k, --top-p and --min-p change nothing without --temperature"
    assert "; emulated: " in last
    assert "sampled by the host" not in last
    assert run.stdout.strip() == run_json(*options[:-2], "--json")["text"].strip()


def test_refusals_on_the_command_line() -> None:
    assert "--speculate needs the engine to sample" in refused("--top-k=3", "--speculate",
                                                               "--temperature=1")  # fmt: skip
    assert "--streams needs the engine" in refused("--repetition-penalty=1.2", "--streams=2")
    assert "top-k is 1 or more, not -1" in refused("--top-k=-1")
    without = refused("--repetition-penalty=1.2", "--gateware=logits=false")
    assert "keeps no logits" in without
    assert "build gateware with logits" in without
