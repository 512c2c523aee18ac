"""Prompts to text: what every target has in common, and the figures."""

import dataclasses
from collections.abc import Generator
from pathlib import Path

import pytest

from jalgateware.golden.machine import Machine
from jalgateware.golden.rounding import Integers
from jalgateware.golden.sampler import Sampling
from jalhost.engine.emulator import Emulator
from jalhost.engine.generation import FinishReason, Generation
from jalhost.engine.target import Provenance, Request, Sampled, TargetInfo
from jalhost.errors import DeviceError, ModelError, UsageError
from jalhost.models.convert import needed_bytes, prepare, read_model
from jalhost.models.image import GEOMETRY, Image
from jalhost.models.tokenizer import BOS, EOS
from jaltest.tiny import ARCHITECTURE, tiny_image

IMAGE = tiny_image()
PUBLISHED = (
    "Once upon a time, there was a little girl named Lily. She loved to play outside in the park."
    " One day, she saw a big, red ball."
)
"""What llama2.c prints for stories260K at temperature 0."""


class Script:
    """A target that plays prepared tokens, one per 1000 cycles after a prefill of 500 cycles."""

    def __init__(self, *tokens: int) -> None:
        self.tokens = tokens
        self.requests: list[Request] = []

    @property
    def info(self) -> TargetInfo:
        return TargetInfo("script", Provenance.SIMULATED, clock_hz=1_000_000, port_bytes=16)

    def load(self, image: Image) -> None:
        pass

    def run(self, request: Request) -> Generator[Sampled, None, None]:
        self.requests.append(request)
        for index, token in enumerate(self.tokens[: request.max_tokens]):
            cycles = 500 + 1000 * index
            yield Sampled(token, cycles / 1e6, cycles)

    def counters(self) -> None:
        pass

    def logits(self) -> Integers:
        raise AssertionError("nobody asks for them")

    def close(self) -> None:
        pass


def emulate(image: Image, *arguments: object, **options: object) -> Generation:
    target = Emulator()
    target.load(image)
    generation = Generation(target, image, *arguments, **options)  # type: ignore[arg-type]  # passed on
    for _ in generation:
        pass
    return generation


def test_published_continuation(stories260k: Path, tok512: Path) -> None:
    image = read_model(stories260k, tok512)
    summary = emulate(image, "Once upon a time", max_tokens=60).summary()
    assert summary.text.startswith(PUBLISHED)
    assert len(summary.token_ids) == 60
    assert summary.finish_reason is FinishReason.LENGTH


def test_streamed_text_is_the_whole_text() -> None:
    target = Emulator()
    target.load(IMAGE)
    generation = Generation(target, IMAGE, "the one", 20)
    pieces = [event.text for event in generation]
    summary = generation.summary()
    assert summary.text == "the one" + "".join(pieces) + generation.streams[0].tail
    assert summary.prompt_token_ids == IMAGE.tokenizer.encode("the one")


def test_emulator_runs_the_golden_machine() -> None:
    executable = prepare(IMAGE, GEOMETRY)
    machine = Machine(GEOMETRY, executable.memory, executable.program, ARCHITECTURE.context)
    sampling = Sampling.from_temperature(0.8, 7)
    prompt = IMAGE.tokenizer.encode("the one")
    for position, token in enumerate(prompt[:-1]):
        assert machine.step(token, position, None) is None
    token, expected = prompt[-1], []
    for position in range(len(prompt) - 1, len(prompt) + 9):
        sampled = machine.step(token, position, sampling)
        assert sampled is not None
        expected.append(sampled)
        token = sampled
    summary = emulate(IMAGE, "the one", max_tokens=10, temperature=0.8, seed=7).summary()
    assert summary.token_ids == expected


def test_seed_decides_the_text() -> None:
    texts = {
        emulate(IMAGE, "a", max_tokens=20, temperature=1, seed=s).summary().text for s in (1, 2)
    }
    again = emulate(IMAGE, "a", max_tokens=20, temperature=1, seed=2).summary().text
    assert len(texts) == 2
    assert again in texts


def test_one_target_serves_many_generations() -> None:
    target = Emulator()
    target.load(IMAGE)
    texts = []
    for prompt in ("the one", "a", "the one"):
        generation = Generation(target, IMAGE, prompt, 12)
        for _ in generation:
            pass
        texts.append(generation.summary().text)
    assert texts[0] == texts[2] != texts[1]


def test_emulation_claims_no_hardware_figures() -> None:
    figures = emulate(IMAGE, "the one", max_tokens=4).summary().as_dict()
    assert figures["provenance"] == "emulated"
    assert figures["generated_tokens"] == 4
    assert figures["prompt_tokens"] == len(IMAGE.tokenizer.encode("the one"))
    for name in ("cycles_per_token", "dram_utilisation", "clock_hz"):
        assert figures[name] is None, name
    for name in ("ttft_s", "prefill_tokens_per_s", "decode_tokens_per_s"):
        assert figures[name] > 0, name


def test_figures_come_from_cycle_stamps() -> None:
    target = Script(260, 261, 262)
    generation = Generation(target, IMAGE, "the", 3)
    for _ in generation:
        pass
    summary = generation.summary()
    prompt = len(summary.prompt_token_ids)
    assert summary.ttft_s == pytest.approx(500e-6)
    assert summary.prefill_tokens_per_s == pytest.approx(prompt / 500e-6)
    assert summary.decode_tokens_per_s == pytest.approx(1000)
    assert summary.cycles_per_token == 1000
    needed = needed_bytes(IMAGE, prompt) + needed_bytes(IMAGE, prompt + 1)
    assert summary.dram_utilisation == pytest.approx(needed / (2000 * 16))


def test_single_token_has_no_decode_rate() -> None:
    generation = Generation(Script(260), IMAGE, "the", 1)
    for _ in generation:
        pass
    summary = generation.summary()
    assert summary.decode_tokens_per_s is None
    assert summary.cycles_per_token is None
    assert summary.dram_utilisation is None


def test_token_beyond_the_vocabulary_is_the_devices_fault() -> None:
    generation = Generation(Script(260, ARCHITECTURE.vocabulary), IMAGE, "the", 9)
    with pytest.raises(DeviceError, match="script sampled token 274, the vocabulary has 274"):
        list(generation)


@pytest.mark.parametrize("stop", [BOS, EOS])
def test_stop_token_ends_the_text_and_is_not_shown(stop: int) -> None:
    generation = Generation(Script(260, stop), IMAGE, "the", 9)
    events = list(generation)
    summary = generation.summary()
    assert [event.token for event in events] == [260, stop]
    assert summary.token_ids == [260]
    assert summary.finish_reason is FinishReason.STOP
    assert "s>" not in summary.text


def test_emulator_stops_at_a_stop_token() -> None:
    free = emulate(IMAGE, "the one", max_tokens=6).summary().token_ids
    stopping = dataclasses.replace(IMAGE, stop_tokens=(free[2],))
    summary = emulate(stopping, "the one", max_tokens=6).summary()
    assert summary.finish_reason is FinishReason.STOP
    assert summary.token_ids == free[: free.index(free[2])]


def test_context_ends_a_generation() -> None:
    endless = dataclasses.replace(IMAGE, stop_tokens=())
    summary = emulate(endless, "the one", max_tokens=10_000).summary()
    assert summary.finish_reason is FinishReason.CONTEXT
    # The last token is sampled at the last position and not run any more.
    assert len(summary.prompt_token_ids) + len(summary.token_ids) - 1 == ARCHITECTURE.context


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"prompt": ""}, "the prompt is empty"),
        ({"prompt": " \n"}, "the prompt is empty"),
        ({"prompt": "caf\udce9"}, "the prompt is not valid UTF-8"),
        ({"prompt": "o w" * 40}, r"the prompt has \d+ tokens, the model's context is 64"),
        ({"prompt": "o w" * 100_000}, "the prompt has more than 64 tokens"),
        ({"max_tokens": 0}, "tokens is 1 or more, not 0"),
        ({"seed": -1}, "the seed is 0 to 4294967295, not -1"),
        ({"seed": 1 << 32}, "the seed is 0 to 4294967295"),
        ({"temperature": -0.5}, "temperature is 0 or more, not -0.5"),
        ({"temperature": float("nan")}, "temperature is 0 or more, not nan"),
        ({"temperature": 0.001}, "temperature 0.001 is outside"),
    ],
)
def test_requests_that_make_no_sense_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Generation(Script(), IMAGE, **options)  # type: ignore[arg-type]  # bad on purpose


def test_prompt_as_long_as_the_context_gives_one_token() -> None:
    prompt = "w" * (ARCHITECTURE.context - 2)  # with BOS and the space in front: all of the context
    endless = dataclasses.replace(IMAGE, stop_tokens=())
    summary = emulate(endless, prompt, max_tokens=5).summary()
    assert len(summary.prompt_token_ids) == ARCHITECTURE.context
    assert len(summary.token_ids) == 1


def test_model_too_large_for_the_gateware_is_refused() -> None:
    small = Emulator(type(GEOMETRY)(max_hidden=64))
    with pytest.raises(ModelError, match="hidden size is 96, this gateware's limit is 64"):
        small.load(IMAGE)


def test_target_without_image_says_so() -> None:
    with pytest.raises(UsageError, match="no model is loaded"):
        next(Emulator().run(Request(((1,),), 1, Sampling())))
