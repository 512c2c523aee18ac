"""Seeded faults in a simulated system, and what ``jalhost verify`` makes of them."""

import json
import subprocess
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from jalgateware.contract.config import EngineConfig
from jalgateware.contract.isa import Destination, Instruction, Opcode
from jalgateware.contract.memory_map import IMAGE_OFFSET
from jalgateware.contract.tape import block_address, row_block
from jalgateware.golden.sampler import Sampling
from jalhost.device import Device
from jalhost.engine.target import Request, Sampled
from jalhost.errors import DeviceError
from jalhost.links.open import open_uart
from jalhost.mailbox_words import OutputEntry
from jalhost.models.blob import build_blob
from jalhost.models.image_file import save_image
from jalhost.verify.golden import Golden
from jalhost.verify.probe import GREEDY
from jalhost.verify.report import KEYS, Cause, Finding, Verification
from jalhost.verify.soak import Plan, Soak
from jalhost.verify.soak_log import SoakLog
from jalhost.verify.verify import Verifier
from jaltest.device_target import DeviceTarget
from jaltest.system import PATIENCE_S
from jaltest.texts import JALHOST
from jaltest.tiny import tiny_image

pytestmark = [pytest.mark.sim, pytest.mark.slow]

LIMITS: dict[str, Any] = {
    "tokens": 2,
    "max_dim": 64,
    "max_hidden": 96,
    "max_heads": 4,
    "max_kv_heads": 2,
    "max_group": 2,
    "max_head_dim": 16,
    "max_context": 64,
    "attention_slots": 1,
    "read_ports": 2,
}
"""An engine with two token rows that is soon built; the faults share one simulator."""

ENGINE = EngineConfig(**LIMITS)

IMAGE = tiny_image()

PROMPT, TOKENS = "the one on", 12

NOTHING = f"drop-word:1.{(1 << 32) - 1}"
"""A fault that never comes."""


class Bench:
    """A simulated system with a fault, and a board's view of it."""

    def __init__(self, fault: str) -> None:
        from jalsoc.sim.build import build
        from jalsoc.sim.config import SimulatorConfig
        from jalsoc.sim.process import Simulator

        self.blob = build_blob(IMAGE, ENGINE)
        built = build(SimulatorConfig(engine=ENGINE, fault=fault))
        self.simulator = Simulator(built, self.blob.data)
        self.simulator.start()
        host, port = self.simulator.tcp_address
        # However busy this computer is: a system that lives answers within this time.
        link = open_uart(f"tcp://{host}:{port}", PATIENCE_S)
        self.board = DeviceTarget(Device(link, None, PATIENCE_S, PATIENCE_S))

    def close(self) -> None:
        self.board.close()
        self.simulator.stop()

    def verify(self) -> Verification:
        return Verifier(self.board, IMAGE, lambda _: None).run(PROMPT, TOKENS, 0.0, 0)

    def flip(self, offset: int, bit: int) -> None:
        """Inverts a bit of DRAM; the offset counts from the image's start."""
        (byte,) = self.simulator.peek(IMAGE_OFFSET + offset, 1)
        self.simulator.poke(IMAGE_OFFSET + offset, bytes([byte ^ 1 << bit]))

    def after_run(self, action: Callable[[], None]) -> None:
        """Does something behind the next run's last token."""
        run = self.board.run

        def wrapped(request: Request) -> Iterator[Sampled]:
            yield from run(request)
            self.board.run = run  # type: ignore[method-assign] # once
            action()

        self.board.run = wrapped  # type: ignore[method-assign,assignment] # once


@pytest.fixture
def bench() -> Iterator[Callable[[str], Bench]]:
    """Starts systems that end with the test."""
    benches: list[Bench] = []

    def start(fault: str) -> Bench:
        benches.append(Bench(fault))
        return benches[-1]

    yield start
    for item in benches:
        item.close()


def only(found: Verification) -> Finding:
    assert not found.passed
    (finding,) = found.findings
    return finding


def element_address(golden: Golden, name: str, row: int, column: int) -> int:
    """Byte of the image that holds an element of an MXINT8 matrix."""
    shape, base = golden.layout.matrices[name]
    index = row_block(ENGINE, row, column // 32, shape.blocks)
    _, _, word, byte = block_address(ENGINE, index)
    inner = byte + column % 32
    words = base + word + inner // ENGINE.lanes
    return (
        build_blob(IMAGE, ENGINE).header.tape_offset + words * ENGINE.lanes + inner % ENGINE.lanes
    )


def test_sound_system_flipped_weight_and_changed_key(bench: Callable[[str], Bench]) -> None:
    """One system: it is sound, and sound again when the damage is mended."""
    system, golden = bench(NOTHING), Golden(IMAGE, ENGINE)
    found = system.verify()
    assert found.passed, found
    assert [stage.name for stage in found.stages] == ["weights", "tokens", "cache", "lanes"]
    assert (found.tokens, found.provenance, found.findings) == (TOKENS, "simulated", ())

    offset = element_address(golden, "1.gate_up", 37, 45)
    system.flip(offset, 2)
    finding = only(system.verify())
    assert finding.cause is Cause.WEIGHTS
    place = finding.place
    assert (place.tensor, place.row, place.column, place.bit) == ("1.gate_up", 37, 45, 2)
    assert place.dram_offset == IMAGE_OFFSET + offset
    assert place.expected == system.blob.data[offset]
    assert place.got == system.blob.data[offset] ^ 1 << 2

    layer, part, head, position, element, bit = 1, 0, 1, 6, 11, 9
    inner = golden.cache_place(layer, part, head, position) + 2 * element
    offset = system.blob.header.kv_offset + inner
    system.after_run(lambda: system.flip(offset + bit // 8, bit % 8))
    finding = only(system.verify())
    assert finding.cause is Cause.CACHE
    place = finding.place
    assert (place.tensor, place.position, place.row) == ("1.key", position, head)
    assert (place.column, place.bit) == (element, bit)
    assert place.dram_offset == IMAGE_OFFSET + offset
    golden.generate(IMAGE.tokenizer.encode(PROMPT), TOKENS, GREEDY)
    assert place.expected == golden.cache(layer, part)[head, position, element]
    assert system.verify().passed


@pytest.mark.parametrize(
    ("row", "lane", "bit", "value"), [(1, 13, 5, 1), (0, 4, 14, 0)], ids=["row1", "row0"]
)
def test_stuck_lane(
    bench: Callable[[str], Bench], row: int, lane: int, bit: int, value: int
) -> None:
    finding = only(bench(f"lane:{row}.{lane}:{bit}={value}").verify())
    assert finding.cause is Cause.LANE
    place = finding.place
    assert (place.token_row, place.lane, place.bit) == (row, lane, bit)
    assert f"stuck at {value}" in finding.what
    # The first matrix that the token row multiplies with.
    assert (place.name, place.position, place.instruction) == ("0.query", row, 10)


def port_words(golden: Golden, tokens: list[int]) -> list[list[int]]:
    """Words in DRAM that each read port brings in the first pass, in its order."""
    header = build_blob(IMAGE, ENGINE).header
    tape = (IMAGE_OFFSET + header.tape_offset) // ENGINE.lanes
    ports: list[list[int]] = [[] for _ in range(ENGINE.read_ports)]
    turn = 0

    def read(word: int, count: int) -> None:
        nonlocal turn
        while count:
            part = min(count, ENGINE.port_burst_words - word % ENGINE.port_burst_words)
            ports[turn] += range(word, word + part)
            turn = (turn + 1) % len(ports)
            word, count = word + part, count - part

    def embed(item: Instruction) -> None:
        for token in tokens:
            for block in range(item.blocks):
                index = row_block(ENGINE, token, block, item.blocks)
                scale, _, word, _ = block_address(ENGINE, index)
                read(tape + item.base + scale, 1)
                read(tape + item.base + word, ENGINE.words_per_block)

    for item in golden.program[golden.first :]:
        if item.opcode is Opcode.EMBED:
            embed(item)
        elif item.opcode is Opcode.ROPE:
            for position in range(len(tokens)):
                read(tape + item.base + position * item.words, item.words)
        elif item.opcode is Opcode.MATVEC and item.destination is not Destination.LOGITS:
            read(tape + item.base, item.words)
        # Attention reads nothing in a pass whose rows are the first positions.
    return ports


def test_lost_word(bench: Callable[[str], Bench]) -> None:
    golden = Golden(IMAGE, ENGINE)
    words = port_words(golden, IMAGE.tokenizer.encode(PROMPT)[:2])
    # In the first layer: what the last one makes of a pass that is not sampled, nobody sees.
    start = golden.layout.matrices["0.gate_up"][1]
    header = build_blob(IMAGE, ENGINE).header
    first = (IMAGE_OFFSET + header.tape_offset) // ENGINE.lanes + start
    number = next(i for i, word in enumerate(words[1]) if word > first + 40)
    finding = only(bench(f"drop-word:1.{number}").verify())
    assert finding.cause is Cause.READ
    assert finding.place.dram_offset == words[1][number] * ENGINE.lanes
    assert finding.place.name == finding.place.tensor


@pytest.mark.parametrize(
    ("fault", "name", "unit"),
    [
        ("table:sigmoid:2:14", "0.gate_up", "SwiGLU, quantiser"),
        ("table:exp2:0:15", "0.attend", "attention"),
    ],
)
def test_wrong_table(bench: Callable[[str], Bench], fault: str, name: str, unit: str) -> None:
    finding = only(bench(fault).verify())
    assert finding.cause is Cause.UNIT
    assert (finding.place.name, finding.place.unit) == (name, unit)


def test_sampler_and_an_engine_that_hangs(
    bench: Callable[[str], Bench], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What sampling is asked for is changed on the way; then no run comes to its end."""
    system = bench(NOTHING)
    device, run = system.board.device, system.board.device.run

    def other(
        prompts: Sequence[Sequence[int]],
        number: int,
        sampling: Sampling,
        drafts: int = 0,
        position: int = 0,
        logits: bool = False,
    ) -> Iterator[OutputEntry]:
        if sampling.inverse_temperature:
            sampling = Sampling.from_temperature(3.0, 99)
        yield from run(prompts, number, sampling, drafts, position, logits)

    monkeypatch.setattr(device, "run", other)
    verifier = Verifier(system.board, IMAGE, lambda _: None)
    finding = only(verifier.run(PROMPT, TOKENS, 1.0, 3))
    assert (finding.cause, finding.place.unit) == (Cause.UNIT, "sampler")

    # Only what is generated is wrong: the token loop's business.
    def loop(request: Request) -> Iterator[Sampled]:
        for sampled in generate(request):
            yield replace(sampled, token=0)

    generate = system.board.run
    with monkeypatch.context() as context:
        context.setattr(device, "run", run)
        context.setattr(system.board, "run", loop)
        finding = only(system.verify())
    assert (finding.cause, finding.place.unit) == (Cause.UNIT, "token loop or drafter")

    def hang(*_: object) -> Iterator[OutputEntry]:
        raise DeviceError("the engine hangs", "look at its console")

    monkeypatch.setattr(device, "run", hang)
    finding = only(system.verify())
    assert (finding.cause, finding.hint) == (Cause.UNIT, "look at its console")
    assert "the engine hangs" in finding.what


def test_command_line(tmp_path: Path) -> None:
    """Exit code and JSON; the fault is chosen by an option."""
    save_image(IMAGE, tmp_path / "x.jal")
    sizes = ",".join(f"{key}={value}" for key, value in (LIMITS | {"mxfp4": "false"}).items())
    command = [
        *JALHOST, "verify", PROMPT, "-n", str(TOKENS), "--target", "sim", "--json",
        "--model", str(tmp_path / "x.jal"), "--gateware", f"{sizes},fault=lane:1.2:6=1",
    ]  # fmt: skip
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == DeviceError.exit_code, run.stderr
    found = json.loads(run.stdout)
    assert list(found) == KEYS["Verification"]
    assert {tuple(stage) for stage in found["stages"]} == {tuple(KEYS["Stage"])}
    assert [list(finding) for finding in found["findings"]] == [KEYS["Finding"]]
    assert list(found["findings"][0]["place"]) == KEYS["Place"]
    assert found["passed"] is False
    assert found["target"] == "sim"
    assert found["findings"][0]["cause"] == "lane"
    place = found["findings"][0]["place"]
    assert (place["token_row"], place["lane"], place["bit"]) == (1, 2, 6)


def test_soak(bench: Callable[[str], Bench], tmp_path: Path) -> None:
    """Damage while it goes on is found, counted and mended."""
    system, path = bench(NOTHING), tmp_path / "log.jsonl"
    seconds = iter(range(0, 1000, 5))
    offset = element_address(Golden(IMAGE, ENGINE), "0.down", 3, 3)
    system.after_run(lambda: system.flip(offset, 0))
    log = SoakLog(path, resume=False)
    test = Soak(system.board, IMAGE, log, lambda _: None, clock=lambda: float(next(seconds)))
    assert test.run(Plan(60.0, 6)) == "time"
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    rounds = [line for line in lines if line["event"] == "round"]
    assert [line["image_errors"] for line in rounds] == [1, *[0] * (len(rounds) - 1)]
    assert sum(line["wrong_tokens"] + line["dram_errors"] for line in rounds) == 0
    totals = asdict(replace(test.totals))
    assert lines[-1] == lines[-1] | totals
    assert totals["link_readings"] > 0 == totals["link_damaged"]
