"""The device layer on a stand-in for a device, with everything that can go wrong."""

import json
from pathlib import Path

import pytest

from jalgateware.contract import mailbox
from jalgateware.contract.config import EngineConfig
from jalgateware.contract.image_header import CHUNK_BYTES
from jalgateware.contract.mailbox import BLOCK_BYTES, Command, Field, Result, State
from jalgateware.contract.memory_map import IMAGE_OFFSET, MAILBOX, MAIN_RAM_ORIGIN
from jalgateware.golden.sampler import Sampling
from jalhost import device as devices
from jalhost.bundle import read_fingerprint
from jalhost.device import Device
from jalhost.dram import read_logits
from jalhost.engine.emulator import Emulator
from jalhost.engine.target import Request
from jalhost.errors import DeviceError, LinkError, ModelError, UsageError
from jalhost.links.uartbone import UartBone
from jalhost.models.blob import Blob, build_blob
from jalhost.progress import Progress
from jaltest.bridge import BridgeStream
from jaltest.device import CLOCK_HZ, CYCLES_PER_PASS, FINGERPRINT, FakeDevice
from jaltest.tiny import tiny_image

IMAGE = tiny_image()
PROMPT = tuple(IMAGE.tokenizer.encode("the one"))
GREEDY = Sampling()
SHORT_S = 0.05


def connect(fake: FakeDevice, **options: int) -> Device:
    link = UartBone(BridgeStream(fake), retries=0)
    return Device(link, ready_timeout_s=SHORT_S, patience_s=SHORT_S, **options)


def ready(fake: FakeDevice, reports: list[str] | None = None) -> Device:
    device = connect(fake)
    device.transfer_image(
        build_blob(IMAGE, fake.config), print if reports is None else reports.append
    )
    device.load()
    return device


def expected_tokens(count: int, sampling: Sampling) -> list[int]:
    target = Emulator()
    target.load(IMAGE)
    return [item.token for item in target.run(Request((PROMPT,), count, sampling))]


def test_identity() -> None:
    config = EngineConfig(lanes=8, max_dim=256)
    identity = connect(FakeDevice(config=config, simulated=True)).identity
    assert identity.fingerprint == FINGERPRINT
    assert (identity.firmware, identity.clock_hz) == ("0.1.2", CLOCK_HZ)
    assert identity.config == config
    assert identity.simulated
    assert identity.port_bytes == 16
    assert not connect(FakeDevice()).identity.simulated


def test_device_of_another_build_is_refused() -> None:
    assert connect(FakeDevice(), expected_fingerprint=FINGERPRINT)
    with pytest.raises(DeviceError, match=r"another build: its fingerprint is 0123456789abcdef"):
        connect(FakeDevice(), expected_fingerprint=5)


def test_firmware_of_another_build_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = FakeDevice()
    monkeypatch.setattr(fake, "do_identify", lambda _: (Result.OK, [1, 2, 3, 4, 5, 6, 7]))
    with pytest.raises(DeviceError, match="firmware that was built for other gateware"):
        connect(fake)


def test_device_without_firmware_is_named() -> None:
    fake = FakeDevice()
    fake.put(Field.MAGIC, 0xFFFFFFFF)
    with pytest.raises(DeviceError, match=r"no jalhost firmware answers on bridge .*0xffffffff"):
        connect(fake)


def test_other_protocol_is_named() -> None:
    fake = FakeDevice()
    fake.put(Field.PROTOCOL, 77)
    with pytest.raises(
        DeviceError, match=f"speaks mailbox protocol 77, this program {mailbox.PROTOCOL}"
    ):
        connect(fake)


def test_impossible_engine_is_named() -> None:
    fake = FakeDevice()
    fake.put(Field.LANES, 24)
    with pytest.raises(DeviceError, match="impossible engine: lanes is a power of two"):
        connect(fake)


def test_faulty_device_is_named() -> None:
    fake = FakeDevice()
    fake.put(Field.STATE, State.FAULT)
    fake.put(Field.FAULT, Result.DRAM_FAILED)
    with pytest.raises(
        DeviceError, match=r"has no working DRAM \(fault: DRAM_FAILED\) \(check the"
    ):
        connect(fake)


@pytest.mark.parametrize("sampling", [Sampling(), Sampling.from_temperature(0.9, 4)])
@pytest.mark.parametrize("lanes", [4, 16])
def test_a_run_gives_the_golden_tokens(sampling: Sampling, lanes: int) -> None:
    device = ready(FakeDevice(config=EngineConfig(lanes=lanes)))
    entries = list(device.run((PROMPT,), 20, sampling))
    assert [entry.token for entry in entries] == expected_tokens(20, sampling)
    first = len(PROMPT) * CYCLES_PER_PASS
    assert [entry.cycles for entry in entries] == [
        first + i * CYCLES_PER_PASS for i in range(len(entries))
    ]


def test_runs_repeat_on_one_device() -> None:
    device = ready(FakeDevice())
    runs = [[entry.token for entry in device.run((PROMPT,), 9, Sampling())] for _ in range(3)]
    assert runs[0] == runs[1] == runs[2] == expected_tokens(9, Sampling())


def test_logits_of_the_last_sample_are_read() -> None:
    fake = FakeDevice(config=EngineConfig(lanes=8))
    device = ready(fake)
    with pytest.raises(UsageError, match="kept no logits"):
        read_logits(device, IMAGE.plan.architecture.vocabulary)
    list(device.run((PROMPT,), 1, GREEDY, logits=True))
    logits = read_logits(device, IMAGE.plan.architecture.vocabulary)
    assert fake.machine
    assert logits.tolist() == fake.machine.logits.tolist()
    assert logits.argmax() == expected_tokens(1, GREEDY)[0]
    list(device.run((PROMPT,), 1, GREEDY))
    with pytest.raises(UsageError, match="kept no logits"):
        read_logits(device, IMAGE.plan.architecture.vocabulary)


def test_logits_without_room_in_dram_are_refused() -> None:
    fake = FakeDevice()
    device = ready(fake)
    assert fake.header
    fake.dram_bytes = IMAGE_OFFSET + fake.header.kv_offset + fake.header.kv_bytes
    with pytest.raises(UsageError, match="no room for logits behind the model and its KV cache"):
        list(device.run((PROMPT,), 1, GREEDY, logits=True))
    assert list(device.run((PROMPT,), 1, GREEDY))


def test_ring_wraps(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (mailbox, devices):
        monkeypatch.setattr(module, "RING_ENTRIES", 7)
    device = ready(FakeDevice(tokens_per_look=5))
    tokens = [entry.token for entry in device.run((PROMPT,), 40, Sampling())]
    assert tokens == expected_tokens(40, Sampling())


def bytes_written(fake: FakeDevice) -> int:
    """Bytes that requests have written to DRAM."""
    start, end = MAIN_RAM_ORIGIN, MAIN_RAM_ORIGIN + fake.dram_bytes
    return sum(
        4 * words
        for command, words, address in fake.requests
        if command == 1 and start <= address < end
    )


def test_image_is_sent_once() -> None:
    fake = FakeDevice()
    blob = build_blob(IMAGE, fake.config)
    reports: list[str] = []
    device = ready(fake, reports)
    sent = bytes(fake.dram[IMAGE_OFFSET // 4 :][: len(blob.data) // 4].tobytes())
    assert sent == blob.data
    once = bytes_written(fake)
    device.transfer_image(blob, reports.append)
    assert bytes_written(fake) == once


def lines(reports: list[str]) -> list[str]:
    """Reports but for how far it is, which depends on this computer."""
    return [report for report in reports if not isinstance(report, Progress)]


def damage(blob: Blob, *places: tuple[int, int]) -> list[tuple[int, int]]:
    """Faults at bytes of chunks: (chunk, times), or of the header for chunk -1."""
    header = blob.header.header_bytes
    return [
        (IMAGE_OFFSET + (header + chunk * CHUNK_BYTES + 256 if chunk >= 0 else 100), times)
        for chunk, times in places
    ]


def test_damaged_chunk_is_named_and_sent_again() -> None:
    blob = build_blob(IMAGE, EngineConfig())
    fake = FakeDevice(corrupt=damage(blob, (1, 1)))
    reports: list[str] = []
    device = connect(fake)
    device.transfer_image(blob, reports.append)
    assert lines(reports)[1:] == ["damaged on the way: chunk 1; sending again"]
    assert bytes_written(fake) == len(blob.data) + BLOCK_BYTES
    device.load()


def test_chunk_that_stays_damaged_is_given_up() -> None:
    blob = build_blob(IMAGE, EngineConfig())
    fake = FakeDevice(corrupt=damage(blob, (0, 99), (1, 2)))
    with pytest.raises(DeviceError, match=r"keeps arriving damaged: chunk 0, after .* 4 times"):
        connect(fake).transfer_image(blob, print)


@pytest.mark.parametrize("place", [0, 100])
def test_damaged_header_is_sent_again(place: int) -> None:
    blob = build_blob(IMAGE, EngineConfig())
    reports: list[str] = []
    fake = FakeDevice(corrupt=[(IMAGE_OFFSET + place, 1)])
    connect(fake).transfer_image(blob, reports.append)
    assert "header was damaged" in lines(reports)[1]


def test_header_that_stays_damaged_is_given_up() -> None:
    blob = build_blob(IMAGE, EngineConfig())
    fake = FakeDevice(corrupt=damage(blob, (-1, 99)))
    with pytest.raises(DeviceError, match="keeps arriving damaged: its header"):
        connect(fake).transfer_image(blob, print)


def test_model_that_does_not_fit_is_refused_before_it_is_sent() -> None:
    fake = FakeDevice(dram_bytes=IMAGE_OFFSET + 65536)
    with pytest.raises(ModelError, match=r"needs [\d,]+ bytes of DRAM, the device has 65,536"):
        connect(fake).transfer_image(build_blob(IMAGE, fake.config), print)
    assert not fake.dram.any()


def test_limit_that_the_device_reports_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = FakeDevice()
    monkeypatch.setattr(fake, "do_load", lambda _: (Result.LIMIT_EXCEEDED, [24, 64, 32]))
    with pytest.raises(ModelError, match="the model's context is 64, this gateware's limit is 32"):
        ready(fake)


@pytest.mark.parametrize(
    ("command", "result", "message"),
    [
        (Command.LOAD, Result.WRONG_LANES, "engine words of another width"),
        (Command.LOAD, Result.WRONG_ISA, "another instruction set"),
        (Command.VERIFY_IMAGE, Result.CRC_TIMEOUT, "the CRC engine hangs"),
        (Command.IDENTIFY, Result.UNKNOWN_COMMAND, "does not know this command"),
    ],
)
def test_refusals_are_explained(command: Command, result: Result, message: str) -> None:
    with pytest.raises(DeviceError, match=f"{message}.*{command.name}: {result.name}"):
        ready(FakeDevice(refuse={command: result}))


@pytest.mark.parametrize("result", [item for item in Result if item not in devices.ENDS])
def test_runs_that_fail_say_why(result: Result) -> None:
    device = ready(FakeDevice(run_result=result))
    with pytest.raises(DeviceError, match=rf"RUN: {result.name}"):
        list(device.run((PROMPT,), 20, Sampling()))


def test_engine_error_is_passed_on() -> None:
    device = ready(FakeDevice(run_result=Result.ENGINE_ERROR))
    with pytest.raises(DeviceError, match="RUN: ENGINE_ERROR, engine error 5"):
        list(device.run((PROMPT,), 20, Sampling()))


@pytest.mark.parametrize("ends", [False, True])
def test_count_of_tokens_that_arrives_damaged_is_asked_for_again(
    monkeypatch: pytest.MonkeyPatch, ends: bool
) -> None:
    """Once in the middle, or in the look that says that the run is over."""
    fake = FakeDevice()
    device = ready(fake)
    load = fake.load
    damaged: list[int] = []

    def damage(address: int) -> int:
        value = load(address)
        if address == MAILBOX.origin + Field.OUTPUT_HEAD and value > 4 and not damaged:
            over = fake.get(Field.STATE) != State.RUNNING
            if over == ends:
                damaged.append(value)
                return value + 100
        return value

    monkeypatch.setattr(fake, "load", damage)
    tokens = [entry.token for entry in device.run((PROMPT,), 20, GREEDY)]
    assert damaged
    assert tokens == expected_tokens(20, GREEDY)


def test_leaving_a_run_stops_it() -> None:
    fake = FakeDevice()
    device = ready(fake)
    run = device.run((PROMPT,), 50, Sampling())
    next(run)
    run.close()
    assert fake.commands[-1] is Command.STOP
    assert fake.get(Field.STATE) == State.LOADED
    assert len(list(device.run((PROMPT,), 5, Sampling()))) == 5


def test_run_that_was_left_over_is_stopped() -> None:
    fake = FakeDevice()
    run = ready(fake).run((PROMPT,), 50, Sampling())
    next(run)
    connect(fake)
    assert Command.STOP in fake.commands
    with pytest.raises(DeviceError, match="was stopped by someone else"):
        list(run)


def test_run_of_another_program_is_noticed() -> None:
    fake = FakeDevice()
    run = ready(fake).run((PROMPT,), 50, Sampling())
    next(run)
    fake.put(Field.RUN_ID, 99)
    with pytest.raises(DeviceError, match="was replaced by another"):
        list(run)


def test_reset_in_the_middle_is_noticed() -> None:
    fake = FakeDevice()
    device = ready(fake)
    fake.reset_after = fake.looks + 5
    with pytest.raises(DeviceError, match=r"CPU .* started again \(WATCHDOG\)"):
        list(device.run((PROMPT,), 50, Sampling()))


def test_reset_during_a_command_is_noticed() -> None:
    fake = FakeDevice()
    device = ready(fake)
    fake.reset_after = fake.looks + 1
    with pytest.raises(DeviceError, match=r"started again in the middle \(STATUS: RESTARTED\)"):
        device.counters()


def test_dead_firmware_is_noticed() -> None:
    fake = FakeDevice()
    device = ready(fake)
    fake.dead_after = fake.looks + 4
    with pytest.raises(DeviceError, match="its heartbeat stands still"):
        list(device.run((PROMPT,), 50, Sampling()))
    with pytest.raises(DeviceError, match="its heartbeat stands still"):
        device.counters()


def test_lost_link_ends_a_run_at_once() -> None:
    fake = FakeDevice()
    stream = BridgeStream(fake)
    device = Device(UartBone(stream, retries=0))
    device.transfer_image(build_blob(IMAGE, fake.config), print)
    device.load()
    run = device.run((PROMPT,), 50, Sampling())
    next(run)
    stream.close()
    with pytest.raises(LinkError, match="closed"):
        list(run)
    assert fake.commands[-1] is Command.RUN


def test_prompt_beyond_the_mailbox_is_refused() -> None:
    device = ready(FakeDevice())
    with pytest.raises(UsageError, match="has 2049 tokens, the device takes 2048"):
        next(device.run(((1,) * 2049,), 1, Sampling()))


def test_counters_are_64_bits() -> None:
    counters = ready(FakeDevice()).counters()
    del counters["tokens"]
    assert counters == {name: i | 1 << 32 for i, name in enumerate(mailbox.COUNTERS[:-1])}


def test_fingerprint_of_a_build(tmp_path: Path) -> None:
    path = tmp_path / "soc.json"
    path.write_text(json.dumps({"fingerprint": f"{FINGERPRINT:016x}"}))
    assert read_fingerprint(path) == FINGERPRINT
    path.write_text("{}")
    with pytest.raises(UsageError, match="does not describe a build"):
        read_fingerprint(path)
    with pytest.raises(UsageError, match="cannot read"):
        read_fingerprint(tmp_path / "none.json")
