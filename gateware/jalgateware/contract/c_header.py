"""The contract as a C header: what the firmware is compiled with."""

from collections.abc import Iterator
from enum import IntEnum

from jalgateware.contract import drafting, image_header, isa, mailbox, memory_map

HEADER_NAME = "contract.h"


def c_header() -> str:
    """The text of the header."""
    return "\n".join(["/* Generated from the contract. */", "#pragma once", "", *_lines()]) + "\n"


def _lines() -> Iterator[str]:
    yield from _region("MAILBOX", memory_map.MAILBOX)
    yield _define("DRAM_ORIGIN", memory_map.MAIN_RAM_ORIGIN)
    yield _define("IMAGE_OFFSET", memory_map.IMAGE_OFFSET)
    yield _define("SCRATCH_OFFSET", memory_map.SCRATCH_OFFSET)
    yield _define("SCRATCH_BYTES", memory_map.SCRATCH_BYTES)
    yield ""
    for name in ("PROTOCOL", "ARGUMENTS", "RESPONSES", "MAX_BAD_CHUNKS", "DEFAULT_HANG_MS"):
        yield _define(f"MAILBOX_{name}", getattr(mailbox, name))
    for name in ("BLOCK_BYTES", "CHECKED_BLOCKS", "TUNING_MS"):
        yield _define(f"MAILBOX_{name}", getattr(mailbox, name))
    for name in ("RING_ENTRIES", "RING_ENTRY_WORDS", "PROMPT_CAPACITY"):
        yield _define(f"MAILBOX_{name}", getattr(mailbox, name))
    for name in ("STREAM_SHIFT", "STREAM_BITS", "PROMPT_FINAL", "RUN_LOGITS"):
        yield _define(f"MAILBOX_{name}", getattr(mailbox, name))
    yield _define("MAILBOX_MAGIC_VALUE", mailbox.MAGIC)
    yield _define("COUNTER_COUNT", len(mailbox.COUNTERS))
    yield _define("LIMIT_COUNT", len(mailbox.LIMITS))
    for name in ("SCATTER_STEP", "LEVELLING_BYTES"):
        yield _define(f"MAILBOX_{name}", getattr(mailbox, name))
    yield from _defines("FIELD", mailbox.Field)
    yield ""
    yield from _enum("jal_command", "COMMAND", mailbox.Command)
    yield from _enum("jal_state", "STATE", mailbox.State)
    yield from _enum("jal_result", "RESULT", mailbox.Result)
    yield from _enum("jal_flag", "FLAG", mailbox.Flag)
    yield from _enum("jal_boot_reason", "BOOT", mailbox.BootReason)
    yield from _enum("jal_self_test", "SELF_TEST", mailbox.SelfTest)
    yield from _enum("jal_memory_test", "MEMORY", mailbox.MemoryTest)
    yield _define("IMAGE_MAGIC", image_header.MAGIC)
    yield _define("IMAGE_VERSION", image_header.VERSION)
    yield _define("IMAGE_PAGE_BYTES", image_header.PAGE_BYTES)
    yield _define("IMAGE_ALIGNMENT", image_header.ALIGNMENT)
    yield _define("IMAGE_PREAMBLE_BYTES", image_header.PREAMBLE_BYTES)
    yield _define("IMAGE_CHUNK_BYTES", image_header.CHUNK_BYTES)
    yield _define("IMAGE_STOP_TOKENS", image_header.MAX_STOP_TOKENS)
    yield from _defines("PREAMBLE", image_header.Preamble)
    yield from _defines("HEADER", image_header.Word)
    yield ""
    yield _define("DRAFT_TABLE_WORDS", drafting.TABLE_WORDS)
    yield _define("INSTRUCTION_WORDS", isa.INSTRUCTION_WORDS)
    yield _define("ISA_VERSION", isa.VERSION)
    yield _define("ENGINE_WRITES_LOGITS", isa.LOGITS_ENABLED)
    yield _define("ABILITY_LOGITS", 1 << isa.Option.LOGITS)
    yield _define("ABILITY_NOISE", 1 << isa.Option.NOISE)
    yield _define("DRAFT_TABLE_WORDS", drafting.TABLE_WORDS)


def _define(name: str, value: int) -> str:
    return f"#define {name} {value:#x}u"


def _region(name: str, region: memory_map.Region) -> Iterator[str]:
    yield _define(f"{name}_ORIGIN", region.origin)
    yield _define(f"{name}_BYTES", region.size)


def _defines(prefix: str, members: type[IntEnum]) -> Iterator[str]:
    """Offsets and indices: plain constants, as they are calculated with."""
    for member in members:
        yield _define(f"{prefix}_{member.name}", member)


def _enum(name: str, prefix: str, members: type[IntEnum]) -> Iterator[str]:
    yield f"enum {name} {{"
    for member in members:
        yield f"    {prefix}_{member.name} = {int(member)},"
    yield "};"
    yield ""
