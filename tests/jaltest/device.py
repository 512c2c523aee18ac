"""A stand-in for a whole device: mailbox, DRAM and firmware behind a UARTBone bridge.

It keeps to :mod:`jalgateware.contract.mailbox` and runs images on the golden model, so the host's
code meets real tokens. Time passes with each look at the heartbeat: the stand-in then samples a few
tokens. Of its drafts each one is right.
"""

import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice

import numpy as np

from jalgateware.contract import isa, mailbox
from jalgateware.contract.config import EngineConfig
from jalgateware.contract.image_header import ALIGNMENT, CHUNK_BYTES, ImageHeader, Word
from jalgateware.contract.mailbox import Command, Field, Flag, Result, State
from jalgateware.contract.memory_map import (
    FINGERPRINT_ADDRESS,
    IMAGE_OFFSET,
    MAILBOX,
    MAIN_RAM_ORIGIN,
)
from jalgateware.golden.machine import Machine
from jalgateware.golden.sampler import Sampling
from jaltest.bridge import Bridge

FINGERPRINT = 0x0123456789ABCDEF
CLOCK_HZ = 100_000_000
CYCLES_PER_PASS = 1000
STEADY = (
    *range(Field.MAGIC, Field.FORMATS + 4, 4),
    *range(Field.LIMITS, Field.LIMITS + 4 * len(mailbox.LIMITS), 4),
)


@dataclass
class FakeDevice(Bridge):
    """A device that can be told to fail."""

    config: EngineConfig = field(default_factory=EngineConfig)
    simulated: bool = False
    tunable: bool = False
    dram_bytes: int = 4 << 20
    tokens_per_look: int = 3
    corrupt: list[tuple[int, int]] = field(default_factory=list)
    """(DRAM offset, times): how often a word arrives damaged there."""
    refuse: dict[Command, Result] = field(default_factory=dict)
    """Results that commands give instead of doing their work."""
    dead_after: int | None = None
    """Looks after which the heartbeat stands still and nothing happens any more."""
    reset_after: int | None = None
    """Looks after which the CPU starts again."""
    run_result: Result | None = None
    """How runs end, if not by themselves."""
    commands: list[Command] = field(default_factory=list)
    """What was asked for."""

    def __post_init__(self) -> None:
        self.dram = np.zeros(self.dram_bytes // 4, dtype="<u4")
        self.machine: Machine | None = None
        self.header: ImageHeader | None = None
        self.run: Iterator[tuple[int, int]] | None = None
        self.passes = 0
        self.logits = 0
        self.looks = 0
        self.boot()

    def boot(self) -> None:
        limits = [getattr(self.config, f"max_{name}") for name in mailbox.LIMITS]
        self.put(Field.MAGIC, mailbox.MAGIC, mailbox.PROTOCOL, 0x000102)
        self.put(Field.BOOTS, self.get(Field.BOOTS) + 1)
        flags = self.simulated << Flag.SIMULATED | self.tunable << Flag.TUNABLE
        self.put(Field.FLAGS, flags, self.config.lanes, 16)
        self.put(Field.TOKEN_ROWS, self.config.tokens, self.config.abilities)
        self.put(Field.LIMITS, *limits)
        self.put(Field.STATE, State.READY)
        self.put(Field.RUN_RESULT, Result.OK)
        self.number = self.get(Field.DOORBELL)
        self.tail = 0

    def put(self, place: Field, *values: int, offset: int = 0) -> None:
        for i, value in enumerate(values):
            self.memory[MAILBOX.origin + place + offset + 4 * i] = int(value)

    def get(self, place: Field, offset: int = 0) -> int:
        return self.memory.get(MAILBOX.origin + place + offset, 0)

    # The bus.

    def load(self, address: int) -> int:
        if address in (FINGERPRINT_ADDRESS, FINGERPRINT_ADDRESS + 4):
            return FINGERPRINT >> (32 if address == FINGERPRINT_ADDRESS else 0) & 0xFFFFFFFF
        if MAIN_RAM_ORIGIN <= address < MAIN_RAM_ORIGIN + self.dram_bytes:
            return int(self.dram[(address - MAIN_RAM_ORIGIN) // 4])
        if address == MAILBOX.origin + Field.HEARTBEAT:
            self.look()
        return super().load(address)

    def store(self, address: int, value: int) -> None:
        if MAIN_RAM_ORIGIN <= address < MAIN_RAM_ORIGIN + self.dram_bytes:
            offset = address - MAIN_RAM_ORIGIN
            for i, (place, times) in enumerate(self.corrupt):
                if place == offset and times:
                    self.corrupt[i] = place, times - 1
                    value ^= 0x100
            self.dram[offset // 4] = value
            return
        # The firmware renews what describes it.
        if address - MAILBOX.origin in STEADY:
            return
        super().store(address, value)

    # The firmware.

    def look(self) -> None:
        self.looks += 1
        if self.dead_after is not None and self.looks > self.dead_after:
            return
        if self.looks == self.reset_after:
            self.run = None
            self.put(Field.BOOT_REASON, mailbox.BootReason.WATCHDOG)
            if self.get(Field.ANSWERED) != self.get(Field.DOORBELL):
                self.number = self.get(Field.DOORBELL)
                self.answer(Result.RESTARTED)
            self.boot()
        self.put(Field.HEARTBEAT, self.looks)
        if self.get(Field.DOORBELL) != self.number:
            self.take_command()
        elif self.run:
            self.advance()

    def take_command(self) -> None:
        number = self.get(Field.DOORBELL)
        words = [self.get(Field.COMMAND, 4 * i) for i in range(1 + mailbox.ARGUMENTS)]
        if mailbox.command_check(number, words) == self.get(Field.CHECK):
            self.number = number
            self.carry_out(Command(words[0]), words[1:])

    def carry_out(self, command: Command, arguments: list[int]) -> None:
        self.commands.append(command)
        if command in self.refuse:
            result, words = self.refuse[command], []
        else:
            result, words = getattr(self, f"do_{command.name.lower()}")(arguments)
        self.put(Field.RESPONSE_0, *words, *[0] * (mailbox.RESPONSES - len(words)))
        self.answer(result)

    def answer(self, result: Result) -> None:
        responses = [self.get(Field.RESPONSE_0, 4 * i) for i in range(mailbox.RESPONSES)]
        self.put(Field.RESULT, result)
        self.put(Field.ANSWER_CHECK, mailbox.answer_check(self.number, result, responses))
        self.put(Field.ANSWERED, self.number)

    def do_identify(self, _: list[int]) -> tuple[Result, list[int]]:
        low, high = FINGERPRINT & 0xFFFFFFFF, FINGERPRINT >> 32
        return Result.OK, [
            mailbox.PROTOCOL,
            0x000102,
            CLOCK_HZ,
            self.dram_bytes,
            IMAGE_OFFSET,
            low,
            high,
        ]

    def do_verify_image(self, _: list[int]) -> tuple[Result, list[int]]:
        data = self.dram[IMAGE_OFFSET // 4 :].tobytes()
        try:
            header = ImageHeader.unpack(data)
        except ValueError as error:
            damaged = "CRC" in str(error)
            return (Result.HEADER_DAMAGED if damaged else Result.NO_IMAGE), []
        bad = []
        for index, crc in enumerate(header.chunk_crcs):
            start = header.header_bytes + index * CHUNK_BYTES
            end = min(start + CHUNK_BYTES, header.blob_bytes)
            bad += [index] if zlib.crc32(data[start:end]) != crc else []
        self.put(Field.BAD_CHUNKS, *bad[: mailbox.MAX_BAD_CHUNKS])
        words = [len(header.chunk_crcs), len(bad)]
        return (Result.CRC_MISMATCH if bad else Result.OK), words

    def do_check_blocks(self, arguments: list[int]) -> tuple[Result, list[int]]:
        offset, size = arguments[:2]
        start, block = (IMAGE_OFFSET + offset) // 4, mailbox.BLOCK_BYTES
        data = self.dram[start : start + size // 4].tobytes()
        checks = [zlib.crc32(data[i : i + block]) for i in range(0, size, block)]
        self.put(Field.BLOCK_CHECKS, *checks)
        return Result.OK, [len(checks)]

    def do_load(self, _: list[int]) -> tuple[Result, list[int]]:
        data = self.dram[IMAGE_OFFSET // 4 :].tobytes()
        header = self.header = ImageHeader.unpack(data)
        formats = self.get(Field.TOKEN_ROWS, 4)
        if header.formats & ~formats:
            return Result.WRONG_FORMAT, [Word.FORMATS, header.formats, formats]
        code = np.frombuffer(data[header.program_offset : header.tape_offset], dtype="<u4")
        rows = code.reshape(-1, isa.INSTRUCTION_WORDS)[: header.instructions].tolist()
        program = [isa.decode(tuple(row)) for row in rows]
        tape = np.frombuffer(data[header.tape_offset : header.blob_bytes], dtype=np.uint8)
        self.machine = Machine(self.config, tape, program, header.context)
        self.put(Field.STATE, State.LOADED)
        return Result.OK, [header.instructions, header.context]

    def do_run(self, arguments: list[int]) -> tuple[Result, list[int]]:
        if not self.machine or not self.header:
            return Result.NOT_LOADED, []
        words, count, start, inverse_temperature, seed, _, streams, drafts, check = arguments
        logits, drafts = bool(drafts & mailbox.RUN_LOGITS), drafts & ~mailbox.RUN_LOGITS
        if refusal := self.refusal(self.header, streams, drafts, logits):
            return refusal
        if inverse_temperature and not self.config.noise:
            return Result.BAD_ARGUMENT, [3, 0]
        self.logits = logits_offset(self.header) if logits else 0
        prompt = [self.get(Field.PROMPT, 4 * i) for i in range(words)]
        if mailbox.check(prompt) != check:
            return Result.PROMPT_DAMAGED, []
        prompts = prompts_of(prompt)
        if len(prompts) != streams:
            return Result.BAD_ARGUMENT, [0, self.header.context - start]
        sampling = Sampling(inverse_temperature, seed)
        self.passes = 0
        self.run = self.samples(prompts, count, start, sampling, drafts)
        self.put(Field.OUTPUT_HEAD, 0)
        self.put(Field.OUTPUT_TAIL, 0, 0xFFFFFFFF)
        self.tail = 0
        self.put(Field.RUN_RESULT, Result.UNFINISHED, 0)
        self.put(Field.RUN_ID, self.get(Field.RUN_ID) + 1)
        self.put(Field.STATE, State.RUNNING)
        return Result.OK, [self.get(Field.RUN_ID), self.logits]

    def refusal(
        self, header: ImageHeader, streams: int, drafts: int, logits: bool
    ) -> tuple[Result, list[int]] | None:
        """What the gateware or the DRAM is too small for."""
        if logits and not self.config.logits:
            return Result.BAD_ARGUMENT, [7, mailbox.RUN_LOGITS - 1]
        rows = self.config.tokens
        most_drafts = rows - 1 if streams == 1 and not logits else 0
        for argument, value, limit in ((6, streams, rows), (7, drafts, most_drafts)):
            if value > limit:
                return Result.BAD_ARGUMENT, [argument, limit]
        room = self.dram_bytes - IMAGE_OFFSET
        fit = (room - header.kv_offset) // header.kv_bytes
        if streams > fit:
            return Result.DOES_NOT_FIT, [6, fit]
        if logits and logits_offset(header) + 4 * header.vocabulary > room:
            return Result.DOES_NOT_FIT, [7, mailbox.RUN_LOGITS - 1]
        return None

    def do_stop(self, _: list[int]) -> tuple[Result, list[int]]:
        if self.run or self.get(Field.STATE) == State.RUNNING:
            self.end(Result.STOPPED)
        return Result.OK, []

    def do_status(self, _: list[int]) -> tuple[Result, list[int]]:
        for index in range(len(mailbox.COUNTERS)):
            self.put(Field.COUNTERS, index, 1, offset=8 * index)
        self.put(Field.COUNTERS, self.passes, 0, offset=8 * mailbox.COUNTERS.index("tokens"))
        return Result.OK, [self.get(Field.STATE), 0, 0]

    def samples(
        self, prompts: list[list[int]], count: int, start: int, sampling: Sampling, drafts: int
    ) -> Iterator[tuple[int, int]]:
        """Words of the output ring and their cycles, pass by pass."""
        live = {}
        for stream, prompt in enumerate(prompts):
            tokens = self.stream(prompt, count, start, sampling.of_stream(stream), stream)
            self.passes += -(-len(prompt) // self.config.tokens)
            yield next(tokens) | stream << mailbox.STREAM_SHIFT, self.passes * CYCLES_PER_PASS
            live[stream] = tokens
        while live:
            drawn = []
            for stream, tokens in list(live.items()):
                fresh = list(islice(tokens, 1 + drafts))
                drawn += [token | stream << mailbox.STREAM_SHIFT for token in fresh]
                if not fresh:
                    del live[stream]
            self.passes += bool(drawn)
            yield from ((word, self.passes * CYCLES_PER_PASS) for word in drawn)

    def stream(
        self, prompt: list[int], count: int, start: int, sampling: Sampling, number: int
    ) -> Iterator[int]:
        """Samples of one stream."""
        assert self.machine
        assert self.header
        *prefix, token = prompt
        for position, item in enumerate(prefix, start):
            self.machine.step(item, position, None, number)
        first = start + len(prefix)
        for position in range(first, min(first + count, self.header.context)):
            sampled = self.machine.step(token, position, sampling, number)
            assert sampled is not None
            if self.logits:
                start = (IMAGE_OFFSET + self.logits) // 4
                words = self.machine.logits.astype("<i4").view("<u4")
                self.dram[start : start + len(words)] = words
            yield sampled
            if sampled in self.header.stop_tokens:
                return
            token = sampled

    def advance(self) -> None:
        assert self.run
        for _ in range(self.tokens_per_look):
            head = self.get(Field.OUTPUT_HEAD)
            if self.get(Field.OUTPUT_TAIL_INVERSE) == self.get(Field.OUTPUT_TAIL) ^ 0xFFFFFFFF:
                self.tail = self.get(Field.OUTPUT_TAIL)
            if head - self.tail >= mailbox.RING_ENTRIES:
                return
            entry = next(self.run, None)
            if entry is None or (self.run_result and head):
                self.end(self.run_result or Result.OK)
                return
            place = head % mailbox.RING_ENTRIES * 4 * mailbox.RING_ENTRY_WORDS
            token, cycles = entry
            words = [token, cycles & 0xFFFFFFFF, cycles >> 32]
            check = mailbox.entry_check(self.get(Field.RUN_ID), head, words)
            self.put(Field.OUTPUT_RING, *words, check, offset=place)
            self.put(Field.OUTPUT_HEAD, head + 1)

    def end(self, result: Result) -> None:
        self.run = None
        self.put(Field.RUN_RESULT, result)
        self.put(Field.RUN_DETAIL, 5 if result is Result.ENGINE_ERROR else 0)
        ends = (Field.RUN_ID, Field.OUTPUT_HEAD, Field.RUN_RESULT, Field.RUN_DETAIL)
        self.put(Field.RUN_CHECK, mailbox.run_check(*map(self.get, ends)))
        self.put(Field.STATE, State.LOADED)


def logits_offset(header: ImageHeader) -> int:
    """Where a run's logits go: behind the first KV cache."""
    return -(-(header.kv_offset + header.kv_bytes) // ALIGNMENT) * ALIGNMENT


def prompts_of(words: list[int]) -> list[list[int]]:
    """Prompts as the words say; each ends with a word that is marked, and has its number."""
    prompts: list[list[int]] = []
    prompt: list[int] = []
    for word in words:
        assert word >> mailbox.STREAM_SHIFT & 7 == len(prompts)
        prompt.append(word & 0xFFFFFF)
        if word & mailbox.PROMPT_FINAL:
            prompts.append(prompt)
            prompt = []
    return prompts if not prompt else []
