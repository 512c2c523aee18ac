"""The process beside the host that drives LiteScope: samples that get lost, and its own end."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from jalhost.engine import capture
from jalhost.engine.access import Access, Maps
from jalhost.engine.capture import Plan
from jalhost.errors import BuildError, DeviceError, LinkError
from jalhost.links.uartbone import UartBone
from jalhost.register_map import read_map
from jalsoc.capture import Bus, Register, Samples
from jaltest.bridge import Bridge, BridgeStream
from jaltest.register_maps import csr_json

DATA, LEVEL = 0x100, 0x104


class Memory(Bus):
    """Samples of two words each; a reading may be repeated on the way, so that one is lost."""

    def __init__(self, samples: int, repeated_at: int | None = None) -> None:
        self.words = list(range(2 * samples))
        self.repeated_at = repeated_at
        self.readings = 0

    def ask(self, **message: Any) -> list[int]:
        if message["address"] == LEVEL:
            return [len(self.words) // 2]
        return [self._take() for _ in range(message["words"])]

    def _take(self) -> int:
        self.readings += 1
        if self.readings == self.repeated_at:
            self.words.pop(0)
        return self.words.pop(0) if self.words else 0


def read(memory: Memory, bursts: list[int]) -> list[int]:
    samples = Samples(Register(memory, DATA, 1), Register(memory, LEVEL, 1), 2)
    return [word for burst in bursts for word in samples.readfn(DATA, 2 * burst, "fixed")]


@pytest.mark.parametrize("bursts", [[1], [1, 1, 1], [10, 10, 5]])
def test_samples_arrive_in_order(bursts: list[int]) -> None:
    count = sum(bursts)
    assert read(Memory(count), bursts) == list(range(2 * count))


@pytest.mark.parametrize("reading", [1, 2, 19, 20, 33, 48])
def test_a_sample_that_is_lost_is_found_out(reading: int) -> None:
    with pytest.raises(LinkError, match="a sample was lost"):
        read(Memory(25, repeated_at=reading), [10, 10, 5])


def attempt(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, script: str) -> None:
    """Has a script play the process."""
    monkeypatch.setattr(capture, "COMMAND", (sys.executable, "-c", script))
    maps = Maps(read_map(csr_json(), "test"), None, b"signals", "test")
    access = Access("uart:x", UartBone(BridgeStream(Bridge()), 1.0), maps)
    capture.capture(access, Plan([], 0, 16, 1), tmp_path / "x.vcd", 0.0, lambda: None)


def test_the_end_of_the_process_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(BuildError, match="ended in the middle: no such thing"):
        attempt(monkeypatch, tmp_path, "import sys; sys.exit('no such thing')")
    message = json.dumps({"event": "error", "kind": "LinkError", "what": "lost", "hint": ""})
    with pytest.raises(LinkError, match="lost"):
        attempt(monkeypatch, tmp_path, f"print({message!r})")
    ops = [json.dumps({"op": name}) for name in ("armed", "waiting")]
    with pytest.raises(DeviceError, match="trigger did not come within 0 s"):
        attempt(
            monkeypatch,
            tmp_path,
            f"import sys\nfor line in {ops!r}:\n print(line, flush=True)\n input()",
        )
