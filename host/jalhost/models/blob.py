"""The image as it lies in a device's DRAM: header, program, drafts, tape."""

import hashlib
from dataclasses import dataclass

import numpy as np

from jalgateware.contract import isa
from jalgateware.contract.config import EngineConfig
from jalgateware.contract.image_header import (
    ALIGNMENT,
    CHUNK_BYTES,
    PAGE_BYTES,
    ImageHeader,
    chunk_crcs,
    header_bytes,
)
from jalhost.models.compiler import layout
from jalhost.models.convert import prepare
from jalhost.models.image import Image


@dataclass(frozen=True)
class Blob:
    """``data`` is what goes to DRAM, header included."""

    header: ImageHeader
    data: bytes

    @property
    def memory_bytes(self) -> int:
        """DRAM that blob and KV cache take together."""
        return self.memory_for(1)

    def memory_for(self, streams: int) -> int:
        """The same, with a KV cache for each of several streams."""
        return self.header.kv_offset + streams * self.header.kv_bytes

    def chunk(self, index: int) -> tuple[int, bytes]:
        """Offset and content of a chunk."""
        start = self.header.header_bytes + index * CHUNK_BYTES
        return start, self.data[start : start + CHUNK_BYTES]


def build_blob(image: Image, config: EngineConfig) -> Blob:
    """Lays an image out for a device of this geometry.

    Raises:
        ModelError: the gateware's limits are too small for the model, or the program is damaged.
    """
    a, executable = image.plan.architecture, prepare(image, config)
    options = a.qkv_bias << isa.Option.QKV_BIAS | a.qk_norm << isa.Option.QK_NORM
    words = [isa.encode(item) for item in executable.program]
    program = _pad(np.array(words, dtype="<u4").tobytes())
    entries = () if image.drafts is None else image.drafts
    drafts = _pad(np.array(entries, dtype="<u4").tobytes())
    tape = _pad(executable.memory.tobytes())
    payload = program + drafts + tape
    start = header_bytes(-(-len(payload) // CHUNK_BYTES))
    header = ImageHeader(
        blob_bytes=start + len(payload),
        lanes=config.lanes,
        isa_version=isa.VERSION,
        program_offset=start,
        instructions=len(words),
        tape_offset=start + len(program) + len(drafts),
        kv_offset=-(-(start + len(payload)) // PAGE_BYTES) * PAGE_BYTES,
        image_id=hashlib.sha256(payload).digest()[:16],
        chunk_crcs=chunk_crcs(payload),
        kv_bytes=layout(a, config).kv_words * config.lanes,
        context=a.context,
        vocabulary=a.vocabulary,
        stop_tokens=image.stop_tokens,
        dim=a.dim,
        hidden=max(a.hidden, a.heads * a.head_dim),
        heads=a.heads,
        kv_heads=a.kv_heads,
        group=a.group,
        head_dim=a.head_dim,
        drafts_offset=start + len(program),
        draft_words=len(entries),
        formats=sum({1 << item.format for item in executable.program}) | options,
    )
    return Blob(header, header.pack() + payload)


def _pad(data: bytes) -> bytes:
    return data.ljust(-(-len(data) // ALIGNMENT) * ALIGNMENT, b"\0")
