"""What a link may do to commands, prompts, images and tokens, and what the firmware makes of it."""

import os
import random
import threading
import tty
import zlib
from collections.abc import Callable, Iterator

import pytest

from jalgateware.contract.config import STANDARD
from jalgateware.contract.mailbox import (
    ARGUMENTS,
    BLOCK_BYTES,
    CHECKED_BLOCKS,
    PROMPT_FINAL,
    RING_ENTRY_WORDS,
    BootReason,
    Command,
    Field,
    Result,
    State,
    check,
    command_check,
    entry_check,
    run_check,
)
from jalgateware.contract.memory_map import IMAGE_OFFSET
from jalgateware.golden.sampler import Sampling
from jalhost.device import Device
from jalhost.engine.emulator import Emulator
from jalhost.engine.target import Request
from jalhost.links.open import open_uart
from jalhost.models.blob import build_blob
from jaltest.system import PATIENCE_S, System
from jaltest.tiny import tiny_image

pytestmark = pytest.mark.sim

IMAGE = tiny_image()
PROMPT = tuple(IMAGE.tokenizer.encode("the one"))


@pytest.fixture(scope="module")
def system(simulator_build: object) -> Iterator[System]:
    """A system with the tiny model."""
    system = System(simulator_build, build_blob(IMAGE, STANDARD).data)
    assert system.command(Command.LOAD).result is Result.OK
    yield system
    system.close()


def ring(system: System, number: int, words: list[int], fitting: int) -> None:
    """Writes a command with a check, and waits until the firmware had time to look."""
    system.mailbox.write(Field.COMMAND, [*words, fitting, number])
    beat = system.field(Field.HEARTBEAT)
    system.wait_for(lambda: system.field(Field.HEARTBEAT) > beat + 3, "the firmware looks")


@pytest.mark.parametrize("field", [Field.MAGIC, Field.BOOTS, Field.FORMATS, Field.LIMITS])
def test_what_the_firmware_says_of_itself_stays(system: System, field: Field) -> None:
    before = system.field(field)
    system.mailbox.write(field, [before ^ 0x00200201])
    system.wait_for(lambda: system.field(field) == before, "the firmware writes it again")


def test_damaged_commands_are_not_carried_out(system: System) -> None:
    number = system.field(Field.DOORBELL) + 1
    words = [Command.STATUS, *[0] * ARGUMENTS]
    fitting = command_check(number, words)
    before = system.field(Field.ANSWERED)
    # In an order in which no command is whole between two of them.
    ring(system, number ^ 0x8000, words, fitting)
    ring(system, number, words, fitting ^ 0x100)
    ring(system, number, [*words[:-1], 1], fitting)
    assert system.field(Field.ANSWERED) == before
    ring(system, number, words, fitting)
    assert system.field(Field.ANSWERED) == number
    assert system.field(Field.RESULT) == Result.OK


def test_commands_that_come_again_are_carried_out_once(system: System) -> None:
    prompt = [1, 2 | PROMPT_FINAL]
    system.mailbox.write(Field.PROMPT, prompt)
    run_id = system.command(Command.RUN, 2, 1, 0, 0, 0, 0, 1, 0, check(prompt)).words[0]
    words = system.mailbox.read(Field.COMMAND, 3 + ARGUMENTS)
    system.mailbox.write(Field.COMMAND, words)
    system.wait_for(lambda: system.field(Field.STATE) == State.LOADED, "the run ends")
    system.mailbox.write(Field.COMMAND, words)
    assert system.command(Command.STATUS).result is Result.OK
    assert system.field(Field.RUN_ID) == run_id


def test_damaged_prompt_is_refused(system: System) -> None:
    prompt = [1, 2 | PROMPT_FINAL]
    system.mailbox.write(Field.PROMPT, [1, 3 | PROMPT_FINAL])
    answer = system.command(Command.RUN, 2, 1, 0, 0, 0, 0, 1, 0, check(prompt))
    assert answer.result is Result.PROMPT_DAMAGED
    assert system.field(Field.STATE) == State.LOADED


def test_entries_and_ends_have_checks(system: System) -> None:
    prompt = [1, 2 | PROMPT_FINAL]
    system.mailbox.write(Field.PROMPT, prompt)
    run_id = system.command(Command.RUN, 2, 5, 0, 0, 0, 0, 1, 0, check(prompt)).words[0]
    system.wait_for(lambda: system.field(Field.STATE) == State.LOADED, "the run ends")
    status = system.mailbox.status()
    assert status.run_result in (Result.OK, Result.STOP_TOKEN)
    for number in range(status.output_head):
        offset = 4 * RING_ENTRY_WORDS * number
        *entry, found = system.mailbox.read(Field.OUTPUT_RING, RING_ENTRY_WORDS, offset)
        assert found == entry_check(run_id, number, entry)
    ends = (status.output_head, status.run_result, status.run_detail)
    assert system.field(Field.RUN_CHECK) == run_check(run_id, *ends)


def test_half_a_tail_is_not_taken(system: System) -> None:
    prompt = [1, 2 | PROMPT_FINAL]
    system.mailbox.write(Field.PROMPT, prompt)
    system.command(Command.RUN, 2, 20, 0, 0, 0, 0, 1, 0, check(prompt))
    system.mailbox.write(Field.OUTPUT_TAIL, [0x4000])
    room = system.command(Command.STATUS).words[1]
    assert room > 0, "a tail in front of the head would count as a full ring"
    system.wait_for(lambda: system.field(Field.STATE) == State.LOADED, "the run ends")


def test_fields_that_were_written_over_are_restored(system: System) -> None:
    system.mailbox.write(Field.STATE, [State.RUNNING])
    system.wait_for(lambda: system.field(Field.STATE) == State.LOADED, "the state is right again")


def test_blocks_are_checked_in_place(system: System) -> None:
    data = build_blob(IMAGE, STANDARD).data
    for offset, size in ((0, 4096), (65536, BLOCK_BYTES * 3 + 64), (4096, 65536)):
        answer = system.command(Command.CHECK_BLOCKS, offset, size)
        blocks = range(offset, offset + size, BLOCK_BYTES)
        assert answer.words[0] == len(blocks)
        checks = system.mailbox.read(Field.BLOCK_CHECKS, len(blocks))
        end = offset + size
        assert checks == [zlib.crc32(data[i : min(i + BLOCK_BYTES, end)]) for i in blocks]
    most = BLOCK_BYTES * CHECKED_BLOCKS
    answer = system.command(Command.CHECK_BLOCKS, 0, most + 64)
    assert (answer.result, answer.words[:2]) == (Result.BAD_ARGUMENT, (1, most))
    answer = system.command(Command.CHECK_BLOCKS, 0xFFFF_FFC0, 64)
    assert (answer.result, answer.words[0]) == (Result.BAD_ARGUMENT, 0)
    assert system.simulator.peek(IMAGE_OFFSET, len(data)) == data


def test_starts_of_cpu_and_system_are_counted(simulator_build: object) -> None:
    system = System(simulator_build)
    try:
        assert system.field(Field.BOOTS) == 1
        system.set_register("ctrl_reset", 2)  # the CPU, as long as the bit is set
        system.set_register("ctrl_reset", 0)
        system.wait_for(lambda: system.field(Field.BOOTS) == 2, "the CPU starts again")
        assert system.field(Field.BOOT_REASON) == BootReason.CPU_RESET
        system.set_register("ctrl_reset", 1)  # everything but memories
        system.wait_for(lambda: system.field(Field.BOOTS) == 3, "the system starts again")
        assert system.field(Field.BOOT_REASON) == BootReason.POWER_UP
        system.mailbox.wait_until_ready(PATIENCE_S)
        assert system.command(Command.IDENTIFY).result is Result.OK
    finally:
        system.close()


class Proxy:
    """A pseudo terminal in front of another one, which changes bytes and repeats some.

    What the bridge would take for requests of another length it lets through: that costs the
    bridge's timeout each time, 10 million simulated cycles. The model of a serial line has it all.
    """

    def __init__(self, port: str, seed: int) -> None:
        self._device = os.open(port, os.O_RDWR | os.O_NOCTTY)
        self._master, self._slave = os.openpty()
        tty.setraw(self._slave)
        tty.setraw(self._device)
        self.port = os.ttyname(self._slave)
        self._random = random.Random(seed)
        self._header = bytearray()
        self._payload = 0
        self.changed = self.repeated = 0
        self._pump(self._master, self._device, self._to_device)
        self._pump(self._device, self._master, self._to_host)

    def _pump(self, source: int, target: int, harm: Callable[[bytes], bytes]) -> None:
        def work() -> None:
            try:
                while data := os.read(source, 4096):
                    harmed = harm(data)
                    while harmed:
                        harmed = harmed[os.write(target, harmed) :]
            except OSError:  # closed
                return

        threading.Thread(target=work, daemon=True).start()

    def _to_device(self, data: bytes) -> bytes:
        """Changes one byte in 2,000, where it is data or the end of an address."""
        return bytes(self._change(byte, 5e-4) if self._may_harm(byte) else byte for byte in data)

    def _may_harm(self, byte: int) -> bool:
        if self._payload:
            self._payload -= 1
            return True
        self._header.append(byte)
        if len(self._header) < 6:
            return False
        self._payload = 4 * self._header[1] if self._header[0] == 1 else 0
        self._header.clear()
        return True

    def _to_host(self, data: bytes) -> bytes:
        """Changes one byte in 500, and repeats one here and there."""
        data = bytes(self._change(byte, 2e-3) for byte in data)
        if self._random.random() < 0.01:
            self.repeated += 1
            data = data[:1] + data
        return data

    def _change(self, byte: int, share: float) -> int:
        if self._random.random() >= share:
            return byte
        self.changed += 1
        return byte ^ self._random.randrange(1, 256)

    def close(self) -> None:
        for descriptor in (self._device, self._master, self._slave):
            os.close(descriptor)


@pytest.mark.slow
def test_tokens_through_a_line_that_damages_bytes(simulator_build: object) -> None:
    """Image and tokens over the simulated serial port, as ``sim:uart`` has them."""
    emulator = Emulator()
    emulator.load(IMAGE)
    expected = [item.token for item in emulator.run(Request((PROMPT,), 30, Sampling()))]
    system = System(simulator_build, pty=True)
    assert system.simulator.pty_path
    proxy = Proxy(system.simulator.pty_path, seed=1)
    reports: list[str] = []
    try:
        device = Device(open_uart(proxy.port, 5.0), None, PATIENCE_S, PATIENCE_S)
        blob = build_blob(IMAGE, device.identity.config)
        device.transfer_image(blob, reports.append)
        assert system.simulator.peek(IMAGE_OFFSET, len(blob.data)) == blob.data
        device.load()
        tokens = [entry.token for entry in device.run((PROMPT,), 30, Sampling())]
        device.close()
    finally:
        proxy.close()
        system.close()
    assert tokens == expected
    assert proxy.changed > 20
    assert proxy.repeated > 0
    assert any("damaged on the way" in line for line in reports)
