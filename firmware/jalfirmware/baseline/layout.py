"""The baseline's image and its report, both in DRAM, for Python and C alike.

The image starts at ``IMAGE_OFFSET`` with a header of 32-bit words (:class:`Word`). Offsets in it
count bytes from its start. The prompt is a list of words. Vectors are float32. The rotary table has
a row of ``head_dim / 2`` cosines and as many sines for each position of the run, from its first.

A matrix is one stream of 32-bit words in the order in which it is consumed: for each row, for each
group of ``GROUP`` columns, the float32 scale, then the int8 elements. A row's last group may be
shorter; columns are filled up with zeros to a multiple of 4.
"""

from collections.abc import Iterator
from enum import IntEnum, auto

from jalgateware.contract.memory_map import IMAGE_OFFSET, SCRATCH_BYTES, SCRATCH_OFFSET

HEADER_NAME = "layout.h"

MAGIC = int.from_bytes(b"JALB", "little")


class Word(IntEnum):
    """The header's words."""

    MAGIC = 0
    DIM = auto()
    HIDDEN = auto()
    LAYERS = auto()
    HEADS = auto()
    KV_HEADS = auto()
    HEAD_DIM = auto()
    VOCABULARY = auto()
    GROUP = auto()
    EPSILON = auto()
    """float32."""
    SCORE_FACTOR = auto()
    """float32: 1 / sqrt(head_dim)."""
    DEPTH = auto()
    """Positions in the KV cache before the prompt; all zero."""
    POSITIONS = auto()
    """Positions in the KV cache at the end."""
    PROMPT_TOKENS = auto()
    PROMPT = auto()
    """Offset; so are all below."""
    ROPE = auto()
    EMBEDDING = auto()
    EMBEDDING_STRIDE = auto()
    """Bytes from one row of the embedding to the next."""
    FINAL_NORM = auto()
    CLASSIFIER = auto()
    LAYER = auto()
    """Of the first layer."""
    LAYER_STRIDE = auto()
    """Bytes from one layer to the next."""
    ATTENTION_NORM = auto()
    """From the start of the layer; so are all below."""
    QUERY = auto()
    KEY = auto()
    VALUE = auto()
    OUTPUT = auto()
    FFN_NORM = auto()
    GATE = auto()
    UP = auto()
    DOWN = auto()
    END = auto()
    """Offset of the first byte behind the image: there the KV cache begins."""


REPORT_OFFSET = SCRATCH_OFFSET + SCRATCH_BYTES
"""Bytes from the start of DRAM to the report, which ends before the image."""


class Report(IntEnum):
    """Bytes from the start of the report."""

    STATE = 0
    """A :class:`State`."""
    COUNT = 4
    """Entries written."""
    ENTRIES = 8
    """``ENTRY_BYTES`` each: token, cycle stamp low, high; entry 0 is the start."""


ENTRY_BYTES = 12

MAX_ENTRIES = (IMAGE_OFFSET - REPORT_OFFSET - Report.ENTRIES) // ENTRY_BYTES


class State(IntEnum):
    """How far the program is; without DRAM it cannot tell, so that the state stays what it was."""

    RUNNING = 0x4A42_0001
    DONE = 0x4A42_0002
    NO_IMAGE = 0x4A42_0003
    TRAPPED = 0x4A42_0004


def c_header() -> str:
    """The same for the C program."""
    return "\n".join(["/* Generated from layout.py. */", "#pragma once", "", *_lines()]) + "\n"


def _lines() -> Iterator[str]:
    yield f"#define BASELINE_MAGIC {MAGIC:#x}u"
    yield f"#define REPORT_OFFSET {REPORT_OFFSET:#x}u"
    yield f"#define ENTRY_BYTES {ENTRY_BYTES}u"
    for kind, prefix in ((Word, "WORD"), (Report, "REPORT"), (State, "STATE")):
        for member in kind:
            yield f"#define {prefix}_{member.name} {int(member):#x}u"
