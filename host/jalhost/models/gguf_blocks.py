"""Block types of GGUF files, as float32.

What gguf-py's ``dequantize`` gives, bit for bit, in a fraction of its time: elements are unpacked
whole words at a time, and what is done with floats is done in place. Formats: ggml's ggml-common.h
(github.com/ggml-org/ggml); order of the operations: gguf-py's quants.py.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from jalgateware.contract.formats import E2M1_DOUBLED
from jalhost.models.architecture import Floats

Bytes = npt.NDArray[np.uint8]

NIBBLE = 0xF

_E2M1 = np.array([*E2M1_DOUBLED, *(-item for item in E2M1_DOUBLED)], dtype=np.int8)
_BYTES = np.arange(256)
_E2M1_PAIRS = np.stack([_E2M1[_BYTES & NIBBLE], _E2M1[_BYTES >> 4]], axis=1).view(np.uint16)[:, 0]
"""Both elements of a byte, the lower nibble's first in memory."""


@dataclass(frozen=True)
class BlockType:
    """A block's size; ``decode`` turns (blocks, ``bytes``) into (blocks, ``elements``)."""

    elements: int
    bytes: int
    decode: Callable[[Bytes], Floats]


def _halves(blocks: Bytes, place: int) -> Floats:
    """A half-precision number of each block (blocks, 1), as float32."""
    return np.ascontiguousarray(blocks[:, place : place + 2]).view("<f2").astype(np.float32)


def _nibbles(data: Bytes) -> Bytes:
    """Elements of (blocks, runs, bytes): lower nibbles of a run, then its upper ones."""
    blocks, runs, size = data.shape
    codes = np.empty((blocks, runs, 2, size), dtype=np.uint8)
    np.bitwise_and(data, NIBBLE, out=codes[:, :, 0])
    np.right_shift(data, 4, out=codes[:, :, 1])
    return codes.reshape(blocks, -1)


def _scaled(elements: npt.NDArray[np.integer], scales: Floats) -> Floats:
    """Elements (blocks, n) times the scales (blocks, m) of each n / m of them."""
    values = elements.astype(np.float32).reshape(scales.size, -1)
    values *= scales.reshape(-1, 1)
    return values.reshape(len(elements), -1)


def _q8_0(blocks: Bytes) -> Floats:
    return _scaled(blocks[:, 2:].view(np.int8), _halves(blocks, 0))


def _q4_0(blocks: Bytes) -> Floats:
    elements = _nibbles(blocks[:, None, 2:]).view(np.int8)
    elements -= 8
    return _scaled(elements, _halves(blocks, 0))


def _q4_k(blocks: Bytes) -> Floats:
    """Eight runs of 32 elements; each has a factor and an offset, of 6 bits."""
    first, second, third = blocks[:, 4:16].copy().view("<u4").T
    six, four, two = (np.uint32(bits * 0x01010101) for bits in (0x3F, 0x0F, 0x30))
    small = np.empty((2, len(blocks), 2), dtype="<u4")
    small[0, :, 0] = first & six
    small[1, :, 0] = second & six
    small[0, :, 1] = third & four | first >> 2 & two
    small[1, :, 1] = third >> 4 & four | second >> 2 & two
    factors, offsets = small.view(np.uint8).astype(np.float32)
    factors *= _halves(blocks, 0)
    offsets *= _halves(blocks, 2)
    values = _scaled(_nibbles(blocks[:, 16:].reshape(-1, 4, 32)), factors)
    runs = values.reshape(-1, 32)
    runs -= offsets.reshape(-1, 1)
    return values


def _q6_k(blocks: Bytes) -> Floats:
    """Two halves of 128 elements: four bits of each in one place, two in another."""
    count = len(blocks)
    codes = _nibbles(blocks[:, :128].reshape(count, 2, 64)).reshape(count, 2, 4, 32)
    upper = blocks[:, 128:192].reshape(count, 2, 32)
    codes[:, :, 0] |= (upper & 0x03) << 4
    codes[:, :, 1] |= (upper & 0x0C) << 2
    codes[:, :, 2] |= upper & 0x30
    codes[:, :, 3] |= (upper & 0xC0) >> 2
    elements = codes.reshape(count, -1).view(np.int8)
    elements -= 32
    scales = _halves(blocks, 208) * blocks[:, 192:208].view(np.int8).astype(np.float32)
    values = elements.astype(np.float32)
    values *= np.repeat(scales, 16, axis=1)
    return values


def _mxfp4(blocks: Bytes) -> Floats:
    """Doubled E2M1 numbers, and half of an E8M0 scale."""
    pairs = _E2M1_PAIRS.take(blocks[:, 1:]).view(np.int8).reshape(len(blocks), -1, 2)
    values = np.empty((len(blocks), 2, pairs.shape[1]), dtype=np.float32)
    values[:, 0], values[:, 1] = pairs[:, :, 0], pairs[:, :, 1]
    exponents = blocks[:, :1].astype(np.uint32)
    # Below 2, the scale is none of float32's normal numbers.
    small = np.uint32(1 << 21) << exponents
    bits = np.where(exponents < 2, small, exponents - np.uint32(1) << np.uint32(23))
    numbers = values.reshape(len(blocks), -1)
    numbers *= bits.view(np.float32)
    return numbers


BLOCK_TYPES = {
    "Q8_0": BlockType(32, 34, _q8_0),
    "Q4_0": BlockType(32, 18, _q4_0),
    "Q4_K": BlockType(256, 144, _q4_k),
    "Q6_K": BlockType(256, 210, _q6_k),
    "MXFP4": BlockType(32, 17, _mxfp4),
}
"""Types that can be read."""


def decode_blocks(kind: str, raw: Bytes) -> Floats:
    """Rows of blocks (rows, bytes) as float32 (rows, columns).

    What is not finite in the file is not finite then.
    """
    form = BLOCK_TYPES[kind]
    with np.errstate(all="ignore"):
        values = form.decode(raw.reshape(-1, form.bytes))
    return values.reshape(len(raw), -1)
