"""Images and tokens over a serial line that damages, loses and repeats bytes, in simulated time."""

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from jalgateware.contract.config import EngineConfig
from jalgateware.contract.image_header import CHUNK_BYTES, chunk_crcs, header_bytes
from jalgateware.contract.memory_map import FINGERPRINT_ADDRESS, IMAGE_OFFSET
from jalgateware.golden.sampler import Sampling
from jalhost.device import Device
from jalhost.engine import hardware
from jalhost.engine.emulator import Emulator
from jalhost.engine.hardware import Board
from jalhost.engine.target import Request
from jalhost.errors import DeviceError, DeviceRestarted, JalError, LinkError
from jalhost.links.link import Link
from jalhost.links.serial_link import SerialLink
from jalhost.models.blob import Blob, build_blob
from jaltest.device import FakeDevice
from jaltest.tiny import tiny_image
from jaltest.uart import (
    BYTE_BITS,
    NO_FAULTS,
    Clock,
    Cut,
    Faults,
    SerialDevice,
    Uart,
    simulated_time,
)

IMAGE = tiny_image()
PROMPT = tuple(IMAGE.tokenizer.encode("the one"))
REQUEST = Request((PROMPT,), 40, Sampling())

BAD_LINE = Faults(1e-4, 1e-4, 1e-4)
"""Of each byte, in both directions."""

LEAST_SHARE = 0.95
"""Of the line's rate, when an image is loaded."""


@pytest.fixture(scope="module")
def expected() -> list[int]:
    """The tokens of REQUEST."""
    target = Emulator()
    target.load(IMAGE)
    return [item.token for item in target.run(REQUEST)]


@dataclass
class Line:
    """A device, and the host's end of a serial line to it."""

    clock: Clock
    uart: Uart
    device: SerialDevice
    said: list[str] = field(default_factory=list)

    def connect(self) -> tuple[SerialLink, Device]:
        link = SerialLink(self.uart, self.said.append)
        link.find()
        device = Device(link)
        link.tune(device.identity.clock_hz)
        return link, device

    @property
    def lines(self) -> list[str]:
        """What was said but for progress."""
        return [line for line in self.said if "% sent" not in line]

    def holds(self, blob: Blob) -> bool:
        words = self.device.dram[IMAGE_OFFSET // 4 :][: len(blob.data) // 4]
        return bool(words.tobytes() == blob.data)


@contextmanager
def line(faults: Faults = NO_FAULTS, seed: int = 0, cuts: tuple[Cut, ...] = ()) -> Iterator[Line]:
    with simulated_time(seed) as clock:
        device = SerialDevice()
        uart = Uart(device, clock, faults, seed)
        uart.cuts = list(cuts)
        yield Line(clock, uart, device)


@contextmanager
def board(on: Line, monkeypatch: pytest.MonkeyPatch) -> Iterator[Board]:
    def connect(_: str, report: Callable[[str], None], __: object) -> tuple[Link, SerialLink]:
        link = SerialLink(on.uart, report)
        link.find()
        return link, link

    monkeypatch.setattr(hardware, "connect", connect)
    target = Board("", on.said.append)
    yield target
    target.close()


def large_blob(size: int) -> Blob:
    """Random bytes with a header that fits to them."""
    payload = random.Random(1).randbytes(size)
    start = header_bytes(-(-size // CHUNK_BYTES))
    header = replace(
        build_blob(IMAGE, EngineConfig()).header,
        blob_bytes=start + size,
        chunk_crcs=chunk_crcs(payload),
        program_offset=start,
        tape_offset=start + 4096,
        kv_offset=start + size,
    )
    return Blob(header, header.pack() + payload)


def test_loading_uses_the_line() -> None:
    blob = large_blob(400_000)
    with line() as on:
        _, device = on.connect()
        begin = on.clock.now
        device.transfer_image(blob, on.said.append)
        elapsed = on.clock.now - begin
    assert on.uart.baud == 3_000_000
    assert on.holds(blob)
    share = len(blob.data) * BYTE_BITS / on.uart.baud / elapsed
    assert share >= LEAST_SHARE, f"{share:.1%} of the line's rate"
    assert "% sent, " in on.said[-1]
    assert "kB/s, 0:0" in on.said[-1]


@settings(max_examples=5, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(seed=st.integers(0, 1 << 32), cut_at=st.floats(0.3, 1.5))
@example(seed=1021, cut_at=0.5)  # writes to where the firmware describes itself
def test_bad_line_gives_a_verified_image_and_right_tokens_or_an_error(
    expected: list[int], seed: int, cut_at: float
) -> None:
    with line(BAD_LINE, seed, (Cut(cut_at, 2.0),)) as on:
        _, device = on.connect()
        blob = build_blob(IMAGE, device.identity.config)
        device.transfer_image(blob, on.said.append)
        assert on.holds(blob)
        tokens: list[int] = []
        failed = False
        try:
            device.load()
            tokens.extend(entry.token for entry in device.run((PROMPT,), 40, Sampling()))
        except JalError:
            failed = True
        assert tokens == expected[: len(tokens) if failed else None]
        assert on.uart.counts.corrupted
        assert on.uart.counts.dropped
        assert on.uart.counts.repeated


def test_tokens_come_through_a_line_that_is_much_worse(expected: list[int]) -> None:
    with line() as on:
        _, device = on.connect()
        device.transfer_image(build_blob(IMAGE, device.identity.config), print)
        device.load()
        on.uart.faults = Faults(2e-3, 5e-4, 5e-4)
        tokens = [entry.token for entry in device.run((PROMPT,), 40, Sampling())]
    assert tokens == expected
    assert on.uart.counts.corrupted > 3


@pytest.mark.parametrize("power", [True, False])
def test_pulled_cable_goes_on_with_what_is_missing(power: bool) -> None:
    blob = large_blob(200_000)
    with line() as on:
        _, device = on.connect()
        before = on.uart.counts.sent
        on.uart.cuts = [Cut(on.clock.now + 0.4, 2.0, power)]
        device.transfer_image(blob, on.said.append)
    assert on.holds(blob)
    assert on.uart.description == "ttyTEST1"
    assert on.uart.baud == 3_000_000
    again = on.uart.counts.sent - before - len(blob.data)
    assert again < (30_000 if power else 150_000)
    assert on.device.resets == (not power)


def test_cable_that_stays_away_ends_in_one_line() -> None:
    with line() as on:
        _, device = on.connect()
        on.uart.cuts = [Cut(on.clock.now + 0.1, 60.0)]
        with pytest.raises(LinkError, match=r"lost the connection .* did not come back"):
            device.transfer_image(large_blob(200_000), on.said.append)


def test_another_board_behind_the_cable_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    load = FakeDevice.load
    with line() as on:
        link, _ = on.connect()
        on.uart.cuts = [Cut(on.clock.now, 1.0)]
        monkeypatch.setattr(
            FakeDevice, "load", lambda self, at: load(self, at) ^ (at == FINGERPRINT_ADDRESS)
        )
        with pytest.raises(LinkError, match="another device answers on ttyTEST1 now"):
            link.read(0x4000_0000)


def test_cable_pulled_while_tokens_come(expected: list[int]) -> None:
    with line() as on:
        _, device = on.connect()
        device.transfer_image(build_blob(IMAGE, device.identity.config), print)
        device.load()
        run = device.run((PROMPT,), 40, Sampling())
        tokens = [next(run).token]
        on.uart.cuts = [Cut(on.clock.now, 5.0)]
        tokens += [entry.token for entry in run]
    assert tokens == expected


@pytest.mark.parametrize("whole", [True, False])
def test_device_that_starts_again_runs_the_request_again(
    whole: bool, expected: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    with line() as on, board(on, monkeypatch) as target:
        target.load(IMAGE)
        run = target.run(REQUEST)
        tokens = [next(run).token for _ in range(5)]
        on.device.restart(whole)
        tokens += [item.token for item in run]
    assert tokens == expected
    assert sum("running again" in text for text in on.lines) == 1


@pytest.mark.parametrize("whole", [True, False])
def test_device_that_starts_again_between_requests(
    whole: bool, expected: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    with line() as on, board(on, monkeypatch) as target:
        target.load(IMAGE)
        on.device.restart(whole)
        assert [item.token for item in target.run(REQUEST)] == expected
        assert sum("running again" in text for text in on.lines) == 1
        on.device.restart(whole)
        behind = replace(REQUEST, prompts=((expected[-1],),), position=len(PROMPT) + 39)
        with pytest.raises(DeviceRestarted, match=r"has no image loaded \(RUN: NOT_LOADED\)"):
            list(target.run(behind))
        # It has its image again; the text that it lost is for whoever asked.
        assert [item.token for item in target.run(REQUEST)] == expected
    assert sum("running again" in text for text in on.lines) == 1


def test_device_that_starts_again_each_time_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    with line() as on, board(on, monkeypatch) as target:
        target.load(IMAGE)
        monkeypatch.setattr(on.device, "advance", lambda: on.device.restart(whole=False))
        with pytest.raises(DeviceError, match="started again"):
            list(target.run(REQUEST))


def test_device_that_starts_again_while_an_image_is_sent() -> None:
    blob = large_blob(200_000)
    with line() as on:
        _, device = on.connect()
        sent = 0

        def report(text: str) -> None:
            nonlocal sent
            sent += 1
            if sent == 2:
                on.device.restart(whole=True)

        device.transfer_image(blob, report)
    assert on.holds(blob)
    assert on.device.resets == 1
