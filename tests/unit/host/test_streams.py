"""Several prompts in one run, and drafts: the same texts as one by one, and honest figures."""

import dataclasses
from collections.abc import Generator

import pytest

from jalgateware.contract.config import EngineConfig
from jalgateware.contract.mailbox import PROMPT_CAPACITY, Command, Field, Result, State
from jalgateware.contract.memory_map import IMAGE_OFFSET
from jalgateware.golden.rounding import Integers
from jalgateware.golden.sampler import Sampling
from jalhost.device import Device
from jalhost.dram import read_logits
from jalhost.engine.emulator import Emulator
from jalhost.engine.generation import FinishReason, Generation, Summary
from jalhost.engine.hardware import device_info, run_on
from jalhost.engine.target import (
    Provenance,
    Request,
    Sampled,
    Target,
    TargetInfo,
    choose_drafts,
)
from jalhost.errors import DeviceError, ModelError, UsageError
from jalhost.links.uartbone import UartBone
from jalhost.models.blob import build_blob
from jalhost.models.convert import needed_bytes, token_bytes, weight_bytes
from jalhost.models.image import Image
from jaltest.bridge import BridgeStream
from jaltest.device import CLOCK_HZ, CYCLES_PER_PASS, FakeDevice
from jaltest.tiny import ARCHITECTURE, tiny_image

IMAGE = tiny_image()
ENDLESS = dataclasses.replace(IMAGE, stop_tokens=())
PROMPTS = ["the one", "a", "the hot tea on the town", "no"]
FOUR_ROWS = EngineConfig(tokens=4)


class Behind:
    """A target with a stand-in for a device."""

    def __init__(self, config: EngineConfig = FOUR_ROWS) -> None:
        self.fake = FakeDevice(config=config)
        self.device = Device(UartBone(BridgeStream(self.fake), retries=0), patience_s=0.05)

    @property
    def info(self) -> TargetInfo:
        return device_info("fake", self.device)

    def load(self, image: Image) -> None:
        self.device.transfer_image(build_blob(image, self.fake.config), lambda _: None)
        self.device.load()

    def run(self, request: Request) -> Generator[Sampled, None, None]:
        yield from run_on(self.device, request)

    def counters(self) -> dict[str, int]:
        return self.device.counters()

    def logits(self) -> Integers:
        return read_logits(self.device, ARCHITECTURE.vocabulary)

    def close(self) -> None:
        pass


@pytest.fixture(params=[Emulator, Behind], ids=["emulator", "device"])
def target(request: pytest.FixtureRequest) -> Target:
    """Each kind of target, with four token rows."""
    made: Target = request.param()
    return made


def finish(
    target: Target, image: Image, prompts: str | list[str], *options: float, **named: int
) -> Summary:
    target.load(image)
    generation = Generation(target, image, prompts, *options, **named)  # type: ignore[arg-type]  # passed on
    for _ in generation:
        pass
    return generation.summary()


@pytest.mark.parametrize("temperature", [0.0, 0.9])
def test_streams_have_the_texts_of_single_runs(target: Target, temperature: float) -> None:
    together = finish(target, ENDLESS, PROMPTS, 20, temperature, 7)
    for index, stream in enumerate(together.streams):
        alone = finish(Emulator(), ENDLESS, PROMPTS[index], 20, temperature, 7 + index)
        assert stream.prompt == PROMPTS[index]
        assert stream.seed == 7 + index
        assert stream.text == alone.text
        assert stream.token_ids == alone.token_ids
        assert stream.finish_reason is FinishReason.LENGTH


def test_one_prompt_gives_variations(target: Target) -> None:
    together = finish(target, ENDLESS, ["the one"] * 3, 20, 1.0, 5)
    texts = [stream.text for stream in together.streams]
    assert len(set(texts)) == 3
    assert texts[1] == finish(Emulator(), ENDLESS, "the one", 20, 1.0, 6).text


def test_seeds_wrap(target: Target) -> None:
    last = (1 << 32) - 1
    together = finish(target, ENDLESS, ["a", "a"], 9, 1.0, last)
    assert [stream.seed for stream in together.streams] == [last, 0]
    assert together.streams[1].text == finish(Emulator(), ENDLESS, "a", 9, 1.0, 0).text


def test_samples_come_in_the_gatewares_order(target: Target) -> None:
    target.load(ENDLESS)
    prompts = tuple(tuple(IMAGE.tokenizer.encode(prompt)) for prompt in PROMPTS[:3])
    order = [item.stream for item in target.run(Request(prompts, 4, Sampling()))]
    assert order == [0, 1, 2] * 4


def test_streams_end_one_by_one(target: Target) -> None:
    """One at a stop token, one at the end of the context, and one when it has all its tokens."""
    long = "w" * (ARCHITECTURE.context - 6)
    free = finish(Emulator(), ENDLESS, PROMPTS[0], 20, 0.9, 7).token_ids
    stop = free[4]
    image = dataclasses.replace(IMAGE, stop_tokens=(stop,))
    together = finish(target, image, [PROMPTS[0], long, PROMPTS[2]], 20, 0.9, 7)
    for index, (prompt, reason) in enumerate(
        [
            (PROMPTS[0], FinishReason.STOP),
            (long, FinishReason.CONTEXT),
            (PROMPTS[2], FinishReason.LENGTH),
        ]
    ):
        alone = finish(Emulator(), image, prompt, 20, 0.9, 7 + index)
        stream = together.streams[index]
        assert stream.token_ids == alone.token_ids
        assert stream.finish_reason is alone.finish_reason is reason
    assert together.streams[0].token_ids == free[: free.index(stop)]


def test_runs_with_and_without_streams_take_turns(target: Target) -> None:
    """Nothing of a run's KV caches is seen by the next one."""
    texts = []
    for prompts in (PROMPTS, PROMPTS[0], PROMPTS[::-1], PROMPTS[0]):
        texts.append(finish(target, ENDLESS, prompts, 12))
    assert texts[0].text == texts[1].text == texts[2].streams[3].text == texts[3].text


def test_position_is_where_streams_begin(target: Target) -> None:
    target.load(ENDLESS)
    one, two = ((1, 260, 261), (1, 262))
    first = [item.token for item in target.run(Request((one,), 1, Sampling()))]
    # The second run goes on where the first one was: its KV cache is still there.
    request = Request(((first[0],),), 5, Sampling(), position=3)
    tokens = first + [item.token for item in target.run(request)]
    assert tokens == [item.token for item in target.run(Request((one,), 6, Sampling()))]
    last = Request((one, two), 9, Sampling(), position=ARCHITECTURE.context - 3)
    counts = [item.stream for item in target.run(last)]
    assert (counts.count(0), counts.count(1)) == (1, 2)


def test_figures_are_those_of_all_streams() -> None:
    summary = finish(Behind(), ENDLESS, PROMPTS, 9)
    lengths = [len(stream.prompt_token_ids) for stream in summary.streams]
    passes = [-(-length // 4) for length in lengths]
    prefill_s = sum(passes) * CYCLES_PER_PASS / CLOCK_HZ
    assert summary.ttft_s == pytest.approx(prefill_s)
    assert summary.streams[0].ttft_s == pytest.approx(passes[0] * CYCLES_PER_PASS / CLOCK_HZ)
    assert summary.prefill_tokens_per_s == pytest.approx(sum(lengths) / prefill_s)
    assert summary.tokens_per_weight_pass == 4
    assert summary.cycles_per_token == CYCLES_PER_PASS / 4
    assert summary.decode_tokens_per_s == pytest.approx(4 * CLOCK_HZ / CYCLES_PER_PASS)
    weights = weight_bytes(IMAGE)
    own = [token_bytes(IMAGE, length + i) for length in lengths for i in range(8)]
    needed = 8 * weights + sum(own)
    assert summary.dram_utilisation == pytest.approx(needed / (8 * CYCLES_PER_PASS * 16))


def test_streams_that_end_early_leave_rows_unused() -> None:
    free = finish(Emulator(), ENDLESS, ["the one", "the"], 9, 0.9, 7)
    stop = free.streams[0].token_ids[4]
    image = dataclasses.replace(IMAGE, stop_tokens=(stop,))
    summary = finish(Behind(), image, ["the one", "the"], 9, 0.9, 7)
    # The stop token is sampled, too.
    drawn = [
        tokens.index(stop) + 1 if stop in tokens else 9
        for tokens in (stream.token_ids for stream in free.streams)
    ]
    assert drawn[0] < drawn[1]
    assert summary.tokens_per_weight_pass == (sum(drawn) - 2) / (drawn[1] - 1)


def test_drafts_save_passes_and_nothing_else() -> None:
    plain, drafted = (finish(Behind(), ENDLESS, "the one", 13, drafts=n) for n in (0, 3))
    assert drafted.token_ids == plain.token_ids
    assert plain.tokens_per_weight_pass == 1
    # The stand-in's drafts are all right: twelve tokens in three passes.
    assert drafted.tokens_per_weight_pass == 4
    assert drafted.cycles_per_token == CYCLES_PER_PASS / 4
    start = len(plain.prompt_token_ids)
    assert plain.dram_utilisation == pytest.approx(
        sum(needed_bytes(IMAGE, start + i) for i in range(12)) / (12 * CYCLES_PER_PASS * 16)
    )
    own = token_bytes(IMAGE, 0)
    cached = sum(token_bytes(IMAGE, start + i) - own for i in range(12))
    needed = 3 * weight_bytes(IMAGE) + 12 * own + cached // 4
    assert drafted.dram_utilisation == pytest.approx(needed / (3 * CYCLES_PER_PASS * 16))


def test_emulator_takes_drafts_and_has_no_passes() -> None:
    drafted = finish(Emulator(), ENDLESS, "the one", 9, drafts=3)
    assert drafted.token_ids == finish(Emulator(), ENDLESS, "the one", 9).token_ids
    assert drafted.tokens_per_weight_pass is None


def test_without_counters_passes_follow_from_the_tokens() -> None:
    class NoCounters(Behind):
        def counters(self) -> dict[str, int]:
            return {}

    assert finish(NoCounters(), ENDLESS, ["a", "the"], 9).tokens_per_weight_pass == 2
    drafted = finish(NoCounters(), ENDLESS, "a", 9, drafts=2)
    assert drafted.tokens_per_weight_pass is None
    assert drafted.dram_utilisation is None


@pytest.mark.parametrize("rows", [1, 2])
def test_more_streams_than_token_rows_are_refused(rows: int) -> None:
    message = rf"decodes at most {rows} streams? together, not 3 \(lower --streams"
    config = EngineConfig(tokens=rows)
    for target in (Emulator(config), Behind(config)):
        target.load(IMAGE)
        with pytest.raises(UsageError, match=message):
            Generation(target, IMAGE, ["a"] * 3)
        with pytest.raises(UsageError, match=message):
            next(target.run(Request(((1,),) * 3, 1, Sampling())))


@pytest.mark.parametrize(("streams", "drafts", "most"), [(1, 4, 3), (2, 1, 0), (1, -1, 3)], ids=str)
def test_more_drafts_than_rows_are_refused(streams: int, drafts: int, most: int) -> None:
    request = Request(((1,),) * streams, 1, Sampling(), drafts)
    with pytest.raises(UsageError, match=f"room for {most} drafted tokens, not {drafts}"):
        request.check(4)


def test_drafts_are_chosen_where_there_is_room() -> None:
    assert [choose_drafts(None, streams, rows) for streams, rows in ((1, 1), (1, 4), (2, 4))] == [
        *(0, 3, 0)
    ]
    assert choose_drafts(False, 1, 4) == 0
    assert choose_drafts(True, 1, 3) == 2
    with pytest.raises(UsageError, match="--speculate works on one stream, not on 2"):
        choose_drafts(True, 2, 4)
    with pytest.raises(UsageError, match="cannot speculate: it has one token row"):
        choose_drafts(True, 1, 1)


def test_prompts_beyond_the_mailbox_are_refused() -> None:
    target = Behind()
    target.load(IMAGE)
    half = (1,) * (PROMPT_CAPACITY // 2)
    with pytest.raises(UsageError, match="the prompts together have 2049 tokens"):
        next(target.device.run((half, (*half, 1)), 1, Sampling()))


def test_caches_that_do_not_fit_are_refused() -> None:
    target = Behind()
    blob = build_blob(IMAGE, FOUR_ROWS)
    assert blob.memory_for(1) == blob.memory_bytes
    assert blob.memory_for(3) == blob.memory_bytes + 2 * blob.header.kv_bytes
    target.load(IMAGE)
    target.fake.dram_bytes = IMAGE_OFFSET + blob.memory_for(3)
    assert len(list(target.device.run(((1,),) * 3, 1, Sampling()))) == 3
    with pytest.raises(UsageError, match="holds the KV caches of 3 streams, not of 4"):
        next(target.device.run(((1,),) * 4, 1, Sampling()))
    assert target.fake.get(Field.STATE) == State.LOADED


def test_arguments_that_the_firmware_refuses_are_named() -> None:
    target = Behind()
    target.load(IMAGE)
    with pytest.raises(DeviceError, match="BAD_ARGUMENT, argument 7 has the limit 3"):
        next(target.device.run(((1,),), 1, Sampling(), drafts=9))


def test_device_says_how_many_rows_and_which_formats_it_has() -> None:
    config = EngineConfig(tokens=3, mxfp4=True)
    assert Behind(config).device.identity.config == config
    assert Behind(config).info.token_rows == 3
    least = EngineConfig(max_group=1, attention_slots=1)
    assert Behind(least).device.identity.config == least


def test_formats_that_the_device_refuses_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    target = Behind()
    monkeypatch.setattr(target.fake, "do_load", lambda _: (Result.WRONG_FORMAT, [43, 3, 1]))
    with pytest.raises(ModelError, match="matrices in MXINT8, MXFP4, this gateware takes MXINT8"):
        target.load(IMAGE)
    assert target.fake.commands[-1] is Command.LOAD


def test_sample_of_a_stream_that_is_none_is_the_devices_fault() -> None:
    class Confused(Behind):
        def run(self, request: Request) -> Generator[Sampled, None, None]:
            yield Sampled(5, 0.1, 100, stream=2)

    with pytest.raises(DeviceError, match="fake sampled for stream 2 of 2"):
        finish(Confused(), IMAGE, ["a", "a"])


def test_json_of_several_streams() -> None:
    single = finish(Behind(), ENDLESS, "a", 5).as_dict()
    several = finish(Behind(), ENDLESS, ["a", "the"], 5, 0.0, 3).as_dict()
    assert [item["prompt"] for item in several["streams"]] == ["a", "the"]
    assert [item["seed"] for item in several["streams"]] == [3, 4]
    assert (
        several["streams"][0].items()
        >= {
            name: single[name] for name in ("text", "token_ids", "prompt_tokens", "finish_reason")
        }.items()
    )
    assert several["generated_tokens"] == 10
    assert several["prompt_tokens"] == sum(item["prompt_tokens"] for item in several["streams"])
    assert several["provenance"] == Provenance.MEASURED
    assert several["tokens_per_weight_pass"] == 2 * single["tokens_per_weight_pass"]
