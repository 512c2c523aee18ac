"""The mailbox: a block of RAM through which a host commands the firmware.

Every access is a 32-bit word. The host writes ``COMMAND``, arguments, ``CHECK`` and a new number
into ``DOORBELL``, in this order. The firmware carries the command out, writes ``RESULT`` and the
response words, and last copies the number to ``ANSWERED``; until then the host leaves arguments and
command alone. A running generation does not keep the firmware from answering; VERIFY_IMAGE and
SELF_TEST answer when they are done.

A link may damage what it carries. The firmware ignores a number in ``DOORBELL`` to which ``CHECK``
does not fit, and carries out each number once: so the host repeats the same words until it gets the
answer. Checks are those of :func:`command_check` and its neighbours. What has none is read until
two readings agree.

RUN answers at once. Sampled tokens then appear in the output ring: the firmware writes entry
``OUTPUT_HEAD % RING_ENTRIES`` and increments ``OUTPUT_HEAD``; the host reads up to there and writes
how far it came to ``OUTPUT_TAIL``, and the inverse to ``OUTPUT_TAIL_INVERSE``: the firmware only
takes both together. Both count up and wrap at 2**32; RUN sets both to 0. When the ring is full the
engine waits. A run is over when ``STATE`` is no longer RUNNING; ``RUN_RESULT`` tells why,
``RUN_DETAIL`` the engine's own error, and ``RUN_CHECK`` fits to them.

``HEARTBEAT`` changes as long as the firmware is alive (at least every millisecond of its clock).
``BOOTS`` counts starts of the firmware since the mailbox was powered; the host knows by it that the
CPU was reset.

What the host writes often lies at 0x40 to 0x7F: a byte too few or too many in such a write on the
way makes it an access outside of everything that the host can change.
"""

import zlib
from collections.abc import Iterable
from enum import IntEnum

MAGIC = int.from_bytes(b"JALM", "little")

PROTOCOL = 4

ARGUMENTS = 9
RESPONSES = 8

COUNTERS = (
    "cycles",
    "busy",
    "stall_weights",
    "stall_kv",
    "stall_vector",
    "stall_host",
    "dram_words",
    "kv_words",
    "saturations",
    "tokens",
)
"""The engine's counters, in the order of the mailbox and of the engine's CSRs; 64 bits each."""

LIMITS = (
    "dim",
    "hidden",
    "heads",
    "kv_heads",
    "group",
    "head_dim",
    "context",
    "instructions",
)
"""What an image may not have more of, in the order of the mailbox."""

MAX_BAD_CHUNKS = 64

BLOCK_BYTES = 1024
"""Size of the pieces that CHECK_BLOCKS looks at."""

CHECKED_BLOCKS = 64
"""As many as a chunk has."""

RING_ENTRIES = 256
RING_ENTRY_WORDS = 4
"""Token (and its stream, see STREAM_SHIFT), cycle stamp low and high, :func:`entry_check`."""

PROMPT_CAPACITY = 2048
"""Tokens."""

STREAM_SHIFT = 24
"""Where the number of the stream stands in a word of the prompt or the output ring."""

STREAM_BITS = 3

PROMPT_FINAL = 1 << 31
"""The last token of a stream's prompt: a sample follows it."""

RUN_LOGITS = 1 << 31
"""Beside RUN's drafts: the logits that a token is sampled from go to DRAM, a 32-bit VECTOR each."""


class Field(IntEnum):
    """Byte offset of each field."""

    # Written by the host.
    COMMAND = 0x040
    ARGUMENT_0 = 0x044
    """The first of ARGUMENTS words."""
    CHECK = 0x068
    """:func:`command_check` of the command."""
    DOORBELL = 0x06C
    """Number of the command; a number other than that in ANSWERED starts it."""
    OUTPUT_TAIL = 0x070
    """Entries of the output ring that the host has taken."""
    OUTPUT_TAIL_INVERSE = 0x074
    MARK = 0x078
    """Of no meaning to the firmware: a link marks its requests here to know their answers."""
    TUNING_WORD = 0x07C
    """The serial port's tuning word that the host wants to stay. The firmware resets a port that
    has another one, unless it changes within TUNING_MS."""

    # Written by the firmware, and constant after its start: it goes on writing the same, up to
    # FORMATS and in LIMITS, so that nothing else stays there.
    MAGIC = 0x080
    """Valid once the firmware is ready for commands."""
    PROTOCOL = 0x084
    FIRMWARE_VERSION = 0x088
    """Major, minor, patch in a byte each, from bit 16 down."""
    BOOTS = 0x08C
    """Starts of the firmware."""
    BOOT_REASON = 0x090
    BOOT_CYCLES = 0x094
    """Cycles from reset to readiness."""
    DRAM_BYTES = 0x098
    LAST_TRAP_CAUSE = 0x09C
    """``mcause`` of the exception that the firmware last died of; all ones if it never did."""
    LAST_TRAP_PC = 0x0A0
    """Where that happened."""
    FLAGS = 0x0A4
    """Bits of Flag."""
    LANES = 0x0A8
    """Bytes of an engine word: what an image has to be laid out for."""
    PORT_BYTES = 0x0AC
    """Bytes per cycle that the DRAM controller can deliver."""
    TOKEN_ROWS = 0x0B0
    """Token rows that share a weight: most streams of a run, and drafts + 1 in a pass."""
    FORMATS = 0x0B4
    """Formats of matrices that the engine takes, as bits of the ISA's Format."""

    # Written by the firmware at any time: one burst tells all of them.
    HEARTBEAT = 0x0C0
    STATE = 0x0C4
    ANSWERED = 0x0C8
    RESULT = 0x0CC
    """Result of the command in ANSWERED."""
    OUTPUT_HEAD = 0x0D0
    """Entries of the output ring that have been written."""
    RUN_RESULT = 0x0D4
    """How the last run ended."""
    RUN_DETAIL = 0x0D8
    """The engine's error code at the end of the last run."""
    RUN_ID = 0x0DC
    """Counts runs."""
    PROGRESS = 0x0E0
    """Chunks done of VERIFY_IMAGE, prompt tokens pushed of RUN."""
    FAULT = 0x0E4
    """What keeps the firmware in state FAULT."""
    RUN_CHECK = 0x0E8
    """:func:`run_check` of the last run, once it is over."""
    RESPONSE_0 = 0x100
    """The first of RESPONSES words."""
    ANSWER_CHECK = 0x120
    """:func:`answer_check` of the command in ANSWERED."""
    COUNTERS = 0x140
    """Two words per counter, low word first; as of the last STATUS command or the end of the
    run."""
    LIMITS = 0x1A0
    """The engine's limits, a word each, in the order of LIMITS; constant after the start."""
    BAD_CHUNKS = 0x200
    """Up to MAX_BAD_CHUNKS chunks that VERIFY_IMAGE found damaged, in ascending order."""
    BLOCK_CHECKS = 0x300
    """CRC-32 of up to CHECKED_BLOCKS blocks, by the command CHECK_BLOCKS."""
    LEVELLING = 0x400
    """LEVELLING_BYTES of text, up to a zero: lines of LiteDRAM's calibration that tell its results,
    where the PHY has any."""

    OUTPUT_RING = 0x1000
    PROMPT = 0x2000
    """Prompt tokens, one word each, with STREAM_SHIFT and PROMPT_FINAL."""


class Command(IntEnum):
    """What the host may ask for, with arguments and response words in order."""

    IDENTIFY = 1
    """-> protocol, firmware version, clock in Hz, DRAM bytes, image offset in DRAM, fingerprint
    low, high."""
    VERIFY_IMAGE = 2
    """first chunk, number of chunks (0 = to the last) -> chunks checked, chunks damaged. Checks the
    header, too; CRC_MISMATCH with BAD_CHUNKS filled if chunks are damaged."""
    LOAD = 3
    """-> instructions, context, image id (4 words). Checks the header against the engine's limits
    and makes the image the one to run; a refusal for a limit or a format responds with the header's
    word index, its value and the engine's."""
    RUN = 4
    """prompt tokens of all streams together, tokens to sample (of each stream), start position,
    inverse temperature (Q5.12 of log2(e)/T; 0 = greedy), seed (stream s draws with seed + s), time
    in milliseconds without progress before the engine counts as hung (0 = DEFAULT_HANG_MS), streams
    (0 = 1; each has its own KV cache, one behind the other), most drafts in a pass (only with one
    stream; with RUN_LOGITS: one stream, no drafts), :func:`check` of the prompt's words -> run id,
    offset of the logits from the image's start in DRAM (0: none). The prompt's words come stream by
    stream, PROMPT_FINAL ends each; no stream has more tokens than positions. Each stream begins at
    the start position. The logits lie behind the first KV cache; those of the last sample stay.
    DOES_NOT_FIT, where KV caches and logits are larger than the DRAM, responds as BAD_ARGUMENT
    does."""
    STOP = 5
    """Ends the run, if there is one; answers when the engine rests."""
    STATUS = 6
    """Copies the engine's counters to COUNTERS. -> state, free entries of the output ring, engine
    status register, cycles since the reset of the system low, high."""
    SELF_TEST = 7
    """Only while no run goes on; the image stays. -> tests passed, tests done, as bits of SelfTest;
    first failing address, expected, read."""
    CHECK_BLOCKS = 8
    """offset from the image's start in DRAM, bytes -> blocks. Fills BLOCK_CHECKS with the CRC-32
    of each block of BLOCK_BYTES, the last one as long as the rest: what a link has damaged is found
    and sent again in small pieces."""
    TEST_MEMORY = 9
    """kind (MemoryTest), offset in DRAM, words, seed, words of the range that scattered words lie
    in (a power of two) -> words that were wrong, their wrong bits in words at even and at odd
    places, and of the first one: address on the bus, what it should be, what it was. The image is
    no longer loaded; where its DRAM is written to, it is lost. FAILED where words were wrong."""


class State(IntEnum):
    """What the firmware does."""

    BOOTING = 0
    READY = 1
    """No image is loaded."""
    LOADED = 2
    """Waits for a run."""
    RUNNING = 3
    CHECKING = 4
    """VERIFY_IMAGE or SELF_TEST goes on."""
    FAULT = 5
    """Hardware does not work (see FAULT); only IDENTIFY, STATUS and SELF_TEST are answered."""


class Result(IntEnum):
    """How a command or a run ended."""

    OK = 0
    """A run: all samples were drawn. Of several streams some may have ended with a stop token."""
    UNKNOWN_COMMAND = 1
    BUSY = 2
    """Not while a run goes on."""
    BAD_ARGUMENT = 3
    """Response word 0: index of the argument, 1: its limit."""
    NO_IMAGE = 4
    """There is no header in DRAM, or none of this version."""
    HEADER_DAMAGED = 5
    CRC_MISMATCH = 6
    WRONG_LANES = 7
    """The image is laid out for engine words of another width."""
    LIMIT_EXCEEDED = 8
    WRONG_ISA = 9
    DOES_NOT_FIT = 10
    """Image and KV cache are larger than the DRAM."""
    NOT_LOADED = 11
    """RUN before LOAD."""
    CRC_TIMEOUT = 12
    """The CRC engine did not finish."""
    ENGINE_TIMEOUT = 13
    """The engine did not come to rest after a stop or a reset."""
    WATCHDOG = 14
    """The engine made no progress and was reset."""
    ENGINE_ERROR = 15
    """See RUN_DETAIL."""
    STOPPED = 16
    """By the command STOP."""
    STOP_TOKEN = 17
    """A run ended with one of the image's stop tokens, and so did each of its streams."""
    CONTEXT_FULL = 18
    """A run, or one of its streams, reached the last position."""
    FAILED = 19
    """SELF_TEST found a fault."""
    DRAM_FAILED = 20
    """DRAM did not initialise or does not keep data."""
    WRONG_FIRMWARE = 21
    """The firmware was built for other gateware (fingerprints differ)."""
    RESTARTED = 22
    """The firmware started again before the command was done."""
    WRONG_FORMAT = 23
    """The image has matrices in a format that the engine does not take."""
    PROMPT_DAMAGED = 24
    """The prompt's words do not fit to their check."""
    UNFINISHED = 25
    """The run goes on."""


class Flag(IntEnum):
    """Bits of FLAGS."""

    SIMULATED = 0
    """The system runs in a simulator: its cycles are true, the clock is nominal."""
    TUNABLE = 1
    """The host is connected by a serial port with a tuning word (:mod:`.serial_port`)."""


class BootReason(IntEnum):
    """Why the firmware started."""

    POWER_UP = 0
    """Configuration, or a reset of the whole system."""
    CPU_RESET = 1
    """The host reset the CPU; DRAM kept its content."""
    WATCHDOG = 2
    """The CPU hung and the watchdog reset it; DRAM kept its content."""


class SelfTest(IntEnum):
    """Bits of SELF_TEST's responses."""

    MAILBOX = 0
    """Patterns in the output ring."""
    DRAM_DATA = 1
    """Patterns in the scratch region of DRAM."""
    DRAM_ADDRESS = 2
    """Each word of the scratch region holds its own address."""
    CRC = 3
    """The CRC engine agrees with a calculation by the CPU."""
    ENGINE = 4
    """The engine comes out of reset idle, and its CSRs hold what is written."""


class MemoryTest(IntEnum):
    """Kinds of TEST_MEMORY."""

    FILL = 0
    """Writes :func:`memory_word` to each word."""
    CHECK = 1
    """Reads what FILL wrote with the same seed."""
    MARCH = 2
    """March C- (van de Goor): up w0, up r0 w1, up r1 w0, down r0 w1, down r1 w0, up r0, with the
    seed as 0 and its inverse as 1."""
    SCATTER = 3
    """FILL, but word i lies at (i * SCATTER_STEP + seed) modulo the range."""
    GATHER = 4
    """Reads what SCATTER wrote."""


SCATTER_STEP = 0x9E3779B1
"""Odd, so that no two words of a range meet."""

LEVELLING_BYTES = 0xC00

TUNING_MS = 1000
"""How long a serial port may have another tuning word than the mailbox says."""

DEFAULT_HANG_MS = 20
"""Time without progress after which the engine counts as hung."""


def counter_offset(name: str) -> int:
    """Byte offset of a counter's low word.

    Raises:
        ValueError: there is no such counter.
    """
    if name not in COUNTERS:
        raise ValueError(f"there is no counter {name!r}")
    return int(Field.COUNTERS) + 8 * COUNTERS.index(name)


def check(words: Iterable[int], before: int = 0) -> int:
    """CRC-32 of words (little-endian), or of more words behind those that gave ``before``."""
    return zlib.crc32(b"".join(word.to_bytes(4, "little") for word in words), before)


def memory_word(address: int, seed: int) -> int:
    """What a memory test writes to a word (Marsaglia's xorshift of its address and the seed)."""
    word = (address ^ seed) & 0xFFFFFFFF
    word ^= word << 13 & 0xFFFFFFFF
    word ^= word >> 17
    return word ^ (word << 5 & 0xFFFFFFFF)


def command_check(number: int, words: Iterable[int]) -> int:
    """Of the number in DOORBELL and ``words``, COMMAND and all its arguments."""
    return check([number, *words])


def answer_check(number: int, result: int, responses: Iterable[int]) -> int:
    """Of ANSWERED, RESULT and all response words."""
    return check([number, result, *responses])


def entry_check(run: int, number: int, words: Iterable[int]) -> int:
    """Of an entry's first words, the run's id and the entry's number in the run."""
    return check([run, number, *words])


def run_check(run: int, head: int, result: int, detail: int) -> int:
    """Of RUN_ID, OUTPUT_HEAD, RUN_RESULT and RUN_DETAIL."""
    return check([run, head, result, detail])
