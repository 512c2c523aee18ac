"""MX encoding of real matrices, and their way onto the weight tape and back."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from jalgateware.contract.config import EngineConfig
from jalgateware.contract.formats import (
    BLOCK,
    E2M1_DOUBLED,
    ELEMENT_BITS,
    ELEMENTS,
    SCALE_BIAS,
    WEIGHT,
)
from jalgateware.contract.isa import Format
from jalgateware.contract.tape import (
    group_words,
    matrix_blocks,
    matrix_words,
    rows_together,
    word_columns,
)
from jalgateware.golden.blocks import Weights
from jalgateware.golden.e2m1 import encode_bits

Bytes = npt.NDArray[np.uint8]

NOT_FINITE = "matrix has elements that are not finite"

_MANTISSA_BITS = 23
"""Of IEEE 754's float32."""

_MAGNITUDE_BITS = 0x7FFFFFFF
_INFINITY_BITS = 0x7F800000

_CLIPPED_STEP = 0x010000
"""Added to numbers' bits, it raises the exponent of those of 127.5 / 64 and more, times a power of
two: they would round to 128, which has no code."""

E2M1_EXPONENT = 2
"""Exponent of the largest E2M1 numbers, 4 and 6."""

_MAGNITUDES = np.array(E2M1_DOUBLED, dtype=np.int8)
_DECODED = np.concatenate([_MAGNITUDES, -_MAGNITUDES])
"""Doubled value of each code."""
_VALUES = _DECODED.tolist()
_CODES = bytes(
    _VALUES.index(item) if item in _VALUES else 0 for item in (*range(128), *range(-128, 0))
)
"""Code of each doubled value that has one, by its byte."""


@dataclass(frozen=True)
class BlockMatrix:
    """A matrix of MX blocks.

    ``elements``: (rows, blocks, 32) int8, the integers of ``ELEMENTS[form]``. ``scales``: (rows,
    blocks) uint8 (E8M0).
    """

    elements: npt.NDArray[np.int8]
    scales: Bytes
    form: Format = Format.MXINT8

    @property
    def rows(self) -> int:
        """Rows of the matrix."""
        return int(self.scales.shape[0])

    @property
    def blocks(self) -> int:
        """Blocks of 32 columns per row."""
        return int(self.scales.shape[1])

    @property
    def fraction(self) -> int:
        """Fraction bits of the elements."""
        return ELEMENTS[self.form].fraction

    def weights(self) -> Weights:
        """The layout that the dot product wants."""
        elements = np.ascontiguousarray(self.elements.transpose(1, 0, 2).astype(np.float32))
        return Weights(elements, np.ascontiguousarray(self.scales.T), self.fraction)

    def dequantise(self) -> npt.NDArray[np.float32]:
        """Real values (rows, blocks * 32)."""
        factor = np.exp2(self.scales.astype(np.float32) - (SCALE_BIAS + self.fraction))
        return (self.elements * factor[:, :, None]).reshape(self.rows, -1).astype(np.float32)


def encode(matrix: npt.NDArray[np.floating], form: Format = Format.MXINT8) -> BlockMatrix:
    """Encodes (rows, columns) reals; columns are filled up with zeros to whole blocks.

    MXINT8: the scale is MX v1.0's, the exponent of the block's largest magnitude, raised by one
    where rounding to 7 bits would clip it. MXFP4: of the specification's scale and its two
    neighbours the one with the least squared error; between equals the specification's, then the
    larger one. Elements round to the nearest code, ties to the even one. All-zero blocks get the
    smallest scale.

    Raises:
        ValueError: an element is not finite.
    """
    if matrix.dtype == np.float32 and form is Format.MXINT8:
        return _encode_float32(_to_blocks(matrix, np.float32))
    if not np.isfinite(matrix).all():
        raise ValueError(NOT_FINITE)
    if matrix.dtype == np.float32:
        return _encode_float32_mxfp4(_to_blocks(matrix, np.float32))
    return _encode(_to_blocks(matrix, np.float64), form)


def _to_blocks(matrix: npt.NDArray[np.floating], kind: type[np.floating]) -> npt.NDArray[Any]:
    """The matrix as (rows, blocks, 32), filled up with zeros."""
    rows, columns = matrix.shape
    blocks = -(-columns // BLOCK)
    if columns == blocks * BLOCK:
        return np.ascontiguousarray(matrix, dtype=kind).reshape(rows, blocks, BLOCK)
    padded = np.zeros((rows, blocks * BLOCK), dtype=kind)
    padded[:, :columns] = matrix
    return padded.reshape(rows, blocks, BLOCK)


def _encode(blocks: npt.NDArray[np.float64], form: Format) -> BlockMatrix:
    largest = np.abs(blocks).max(axis=2)
    exponent = np.where(largest > 0, np.frexp(largest)[1] - 1, -SCALE_BIAS)
    encoder = _encode_mxfp4 if form is Format.MXFP4 else _encode_mxint8
    return encoder(blocks, exponent)


def _encode_float32(blocks: npt.NDArray[np.float32]) -> BlockMatrix:
    """MXINT8 by the bits of float32 numbers: the same integers, in a tenth of the time."""
    bits = blocks.view(np.int32) & _MAGNITUDE_BITS
    largest = _largest_bits(bits)
    # Mantissas that would be clipped carry over into the exponent, which is biased as E8M0 is.
    scales = largest + _CLIPPED_STEP
    scales >>= _MANTISSA_BITS
    if largest.size and largest.max() >= _INFINITY_BITS:
        raise ValueError(NOT_FINITE)
    factor = np.maximum(scales, WEIGHT.fraction)
    np.subtract(2 * SCALE_BIAS + WEIGHT.fraction, factor, out=factor)
    factor <<= _MANTISSA_BITS
    # Where the bits were: what is in a cache stays there.
    scaled = np.multiply(blocks, factor.view(np.float32)[:, :, None], out=bits.view(np.float32))
    elements = np.rint(scaled, out=scaled).astype(np.int8)
    encoded = BlockMatrix(elements, scales.astype(np.uint8))
    if scales.size and not WEIGHT.fraction <= scales.min() <= scales.max() <= 2 * SCALE_BIAS:
        # Where 2**(6 - exponent) or the scale is none of float32's or E8M0's normal numbers.
        rare = ((scales < WEIGHT.fraction) | (scales > 2 * SCALE_BIAS)) & (largest > 0)
        if not rare.any():  # all of them are zeros
            return encoded
        exact = _encode(blocks[rare][None].astype(np.float64), Format.MXINT8)
        elements[rare], encoded.scales[rare] = exact.elements[0], exact.scales[0]
    return encoded


def _encode_float32_mxfp4(blocks: npt.NDArray[np.float32]) -> BlockMatrix:
    """MXFP4 by the bits of float32 numbers, and by the rule where they do not tell."""
    encoded = encode_bits(blocks.reshape(-1, BLOCK))
    elements, scales = encoded.elements, encoded.scales
    if encoded.rare.any():
        rare = np.flatnonzero(encoded.rare)
        exact = _encode(blocks.reshape(-1, BLOCK)[rare][None].astype(np.float64), Format.MXFP4)
        elements[rare], scales[rare] = exact.elements[0], exact.scales[0]
    return BlockMatrix(
        elements.reshape(blocks.shape), scales.reshape(blocks.shape[:2]), Format.MXFP4
    )


def _largest_bits(bits: npt.NDArray[np.int32]) -> npt.NDArray[np.int32]:
    """Of each block's numbers without their signs, the largest: it has the largest bits.

    Neighbours are compared, then the larger ones of them, and so on: NumPy is faster at five long
    steps than at many short blocks.
    """
    largest = bits.reshape(-1)
    for _ in range(BLOCK.bit_length() - 1):
        largest = np.maximum(largest[0::2], largest[1::2])
    return largest.reshape(bits.shape[:2])


def _encode_mxint8(blocks: npt.NDArray[np.float64], exponent: npt.NDArray[np.int_]) -> BlockMatrix:
    top = 1 << (WEIGHT.bits - 1)
    # 127.5 / 64 and more would round to 128, which has no code.
    largest = np.ldexp(np.abs(blocks).max(axis=2), WEIGHT.fraction - exponent)
    exponent = np.clip(exponent + (largest >= top - 0.5), -SCALE_BIAS, SCALE_BIAS)
    elements = np.rint(np.ldexp(blocks, (WEIGHT.fraction - exponent)[:, :, None]))
    elements = np.clip(elements, -(top - 1), top - 1).astype(np.int8)
    return BlockMatrix(elements, (exponent + SCALE_BIAS).astype(np.uint8))


def _encode_mxfp4(blocks: npt.NDArray[np.float64], exponent: npt.NDArray[np.int_]) -> BlockMatrix:
    best = np.full(exponent.shape, np.inf)
    elements = np.zeros(blocks.shape, dtype=np.int8)
    scales = np.zeros(exponent.shape, dtype=np.int64)
    for step in (0, 1, -1):
        scale = np.clip(exponent - E2M1_EXPONENT + step, -SCALE_BIAS, SCALE_BIAS)
        doubled = round_to_e2m1(np.ldexp(blocks, (1 - scale)[:, :, None]))
        # In units of the specification's scale, so that squares neither vanish nor overflow.
        wanted = np.ldexp(blocks, -exponent[:, :, None])
        error = wanted - np.ldexp(doubled.astype(np.float64), (scale - 1 - exponent)[:, :, None])
        loss = (error * error).sum(axis=2)
        better = loss < best
        best = np.where(better, loss, best)
        scales = np.where(better, scale, scales)
        elements = np.where(better[:, :, None], doubled, elements)
    return BlockMatrix(elements, (scales + SCALE_BIAS).astype(np.uint8), Format.MXFP4)


def round_to_e2m1(doubled: npt.NDArray[np.float64]) -> npt.NDArray[np.int8]:
    """Doubled reals to the nearest doubled E2M1 numbers; ties go to the even code."""
    size = np.minimum(np.abs(doubled), E2M1_DOUBLED[-1])
    # Numbers from 4 on are 2 apart, from 8 on 4; rint() takes ties to even multiples of that.
    step = np.where(size < 4, 1.0, np.where(size < 8, 2.0, 4.0))
    return np.asarray(np.copysign(np.rint(size / step) * step, doubled), dtype=np.int8)


def _pack(elements: npt.NDArray[np.int8]) -> Bytes:
    """Doubled E2M1 numbers (..., columns) to nibbles, two per byte, the even column below."""
    # Python's own look-up takes bytes, and a fifth of NumPy's time.
    codes = np.frombuffer(np.ascontiguousarray(elements).tobytes().translate(_CODES), dtype="<u2")
    pairs = codes >> 4
    pairs |= codes
    return pairs.astype(np.uint8).reshape(*elements.shape[:-1], -1)


def _unpack(data: Bytes) -> npt.NDArray[np.int8]:
    """Inverse of :func:`_pack`."""
    codes = np.stack([data & 0xF, data >> 4], axis=-1)
    return np.asarray(_DECODED[codes.reshape(*data.shape[:-1], -1)], dtype=np.int8)


def to_tape(matrix: BlockMatrix, config: EngineConfig) -> Bytes:
    """Lays a matrix out as tape words: (matrix_words * lanes,) bytes."""
    rows, blocks, form = matrix.rows, matrix.blocks, matrix.form
    bundle, lanes = rows_together(config, form), config.lanes
    count = matrix_blocks(config, rows, blocks, form)
    elements, scales = matrix.elements, matrix.scales
    if rows % bundle:
        elements = np.zeros((count // blocks, blocks, BLOCK), dtype=np.int8)
        elements[:rows] = matrix.elements
        scales = np.zeros((count // blocks, blocks), dtype=np.uint8)
        scales[:rows] = matrix.scales
    if form is Format.MXFP4:
        # (bundle, row, block, columns) to words: each holds the same columns of all rows. Those of
        # a row move as one item, which is faster than bytes.
        item = np.dtype((np.void, word_columns(config) // 2))
        items = _pack(elements).reshape(-1).view(item)
        split = items.reshape(-1, bundle, blocks, BLOCK // word_columns(config))
        data = split.transpose(0, 2, 3, 1).reshape(-1).view(np.uint8)
    else:
        ordered = elements.reshape(-1, bundle, blocks, BLOCK).transpose(0, 2, 1, 3)
        data = ordered.reshape(-1).view(np.uint8)
    ordered_scales = scales.reshape(-1, bundle, blocks).transpose(0, 2, 1).reshape(-1)
    full, rest = divmod(count, lanes)
    tape = np.zeros((full + (rest > 0), group_words(form) * lanes), dtype=np.uint8)
    size = len(data) // count * lanes
    tape[:full, :lanes] = ordered_scales[: full * lanes].reshape(full, lanes)
    tape[:full, lanes:] = data[: full * size].reshape(full, size)
    if rest:
        tape[full, :rest] = ordered_scales[full * lanes :]
        tape[full, lanes : lanes + len(data) - full * size] = data[full * size :]
    return tape.reshape(-1)[: matrix_words(config, rows, blocks, form) * lanes]


def from_tape(
    tape: Bytes, config: EngineConfig, rows: int, blocks: int, form: Format = Format.MXINT8
) -> BlockMatrix:
    """Reads a matrix back from its tape words (inverse of :func:`to_tape`).

    A negative zero comes back as zero.
    """
    bundle, lanes = rows_together(config, form), config.lanes
    count = matrix_blocks(config, rows, blocks, form)
    groups = -(-count // lanes)
    padded = np.zeros(groups * group_words(form) * lanes, dtype=np.uint8)
    used = matrix_words(config, rows, blocks, form) * lanes
    padded[:used] = tape[:used]
    table = padded.reshape(groups, -1)
    scales = table[:, :lanes].reshape(-1)[:count].reshape(-1, blocks, bundle).transpose(0, 2, 1)
    data = table[:, lanes:].reshape(-1)[: count * BLOCK * ELEMENT_BITS[form] // 8]
    if form is Format.MXFP4:
        columns = word_columns(config)
        split = _unpack(data.reshape(-1, BLOCK // columns, bundle, columns // 2))
        ordered = split.transpose(0, 2, 1, 3).reshape(-1, blocks, bundle, BLOCK)
    else:
        ordered = data.view(np.int8).reshape(-1, blocks, bundle, BLOCK)
    elements = ordered.transpose(0, 2, 1, 3).reshape(-1, blocks, BLOCK)
    return BlockMatrix(
        np.ascontiguousarray(elements[:rows]),
        np.ascontiguousarray(scales.reshape(-1, blocks)[:rows]),
        form,
    )
