"""MXINT8 encoding of real matrices, and their way onto the weight tape and back."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from jalgateware.contract.config import EngineConfig
from jalgateware.contract.formats import BLOCK, SCALE_BIAS, WEIGHT
from jalgateware.contract.tape import matrix_blocks, matrix_words
from jalgateware.golden.blocks import Weights

Bytes = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class BlockMatrix:
    """A matrix in MXINT8.

    ``elements``: (rows, blocks, 32) int8. ``scales``: (rows, blocks) uint8 (E8M0).
    """

    elements: npt.NDArray[np.int8]
    scales: Bytes

    @property
    def rows(self) -> int:
        """Rows of the matrix."""
        return int(self.scales.shape[0])

    @property
    def blocks(self) -> int:
        """Blocks of 32 columns per row."""
        return int(self.scales.shape[1])

    def weights(self) -> Weights:
        """The layout that the dot product wants."""
        elements = np.ascontiguousarray(self.elements.transpose(1, 0, 2).astype(np.float32))
        return Weights(elements, np.ascontiguousarray(self.scales.T))

    def dequantise(self) -> npt.NDArray[np.float32]:
        """Real values (rows, blocks * 32)."""
        factor = np.exp2(self.scales.astype(np.float32) - (SCALE_BIAS + WEIGHT.fraction))
        return (self.elements * factor[:, :, None]).reshape(self.rows, -1).astype(np.float32)


def encode(matrix: npt.NDArray[np.floating]) -> BlockMatrix:
    """Encodes (rows, columns) reals; columns are filled up with zeros to whole blocks.

    The scale is MX v1.0's: the exponent of the block's largest magnitude, raised by one where
    rounding to 7 bits would clip it. All-zero blocks get the smallest scale.

    Raises:
        ValueError: an element is not finite.
    """
    if not np.isfinite(matrix).all():
        raise ValueError("matrix has elements that are not finite")
    rows, columns = matrix.shape
    blocks = -(-columns // BLOCK)
    padded = np.zeros((rows, blocks * BLOCK), dtype=np.float64)
    padded[:, :columns] = matrix
    padded = padded.reshape(rows, blocks, BLOCK)
    largest = np.abs(padded).max(axis=2)
    exponent = np.frexp(largest)[1] - 1
    top = float(1 << (WEIGHT.bits - 1))
    # 127.5 / 64 and more would round to 128, which has no code.
    clipped = largest * np.exp2(WEIGHT.fraction - exponent.astype(np.float64)) >= top - 0.5
    exponent = np.where(largest > 0, exponent + clipped, -SCALE_BIAS)
    exponent = np.clip(exponent, -SCALE_BIAS, SCALE_BIAS)
    elements = np.rint(np.ldexp(padded, (WEIGHT.fraction - exponent)[:, :, None]))
    elements = np.clip(elements, -(top - 1), top - 1).astype(np.int8)
    return BlockMatrix(elements, (exponent + SCALE_BIAS).astype(np.uint8))


def to_tape(matrix: BlockMatrix, config: EngineConfig) -> Bytes:
    """Lays a matrix out as tape words: (matrix_words * lanes,) bytes."""
    rows, blocks, bundle = matrix.rows, matrix.blocks, config.rows_parallel
    count = matrix_blocks(config, rows, blocks)
    padded_rows = count // blocks
    elements = np.zeros((padded_rows, blocks, BLOCK), dtype=np.int8)
    elements[:rows] = matrix.elements
    scales = np.zeros((padded_rows, blocks), dtype=np.uint8)
    scales[:rows] = matrix.scales
    order = elements.reshape(-1, bundle, blocks, BLOCK).transpose(0, 2, 1, 3).reshape(count, BLOCK)
    scale_order = scales.reshape(-1, bundle, blocks).transpose(0, 2, 1).reshape(count)
    groups = -(-count // config.lanes)
    tape = np.zeros((groups, config.lanes * (BLOCK + 1)), dtype=np.uint8)
    flat_scales = np.zeros(groups * config.lanes, dtype=np.uint8)
    flat_scales[:count] = scale_order
    flat = np.zeros((groups * config.lanes, BLOCK), dtype=np.uint8)
    flat[:count] = order.view(np.uint8)
    tape[:, : config.lanes] = flat_scales.reshape(groups, config.lanes)
    tape[:, config.lanes :] = flat.reshape(groups, -1)
    return tape.reshape(-1)[: matrix_words(config, rows, blocks) * config.lanes]


def from_tape(tape: Bytes, config: EngineConfig, rows: int, blocks: int) -> BlockMatrix:
    """Reads a matrix back from its tape words (inverse of :func:`to_tape`)."""
    count, bundle = matrix_blocks(config, rows, blocks), config.rows_parallel
    groups = -(-count // config.lanes)
    padded = np.zeros(groups * config.lanes * (BLOCK + 1), dtype=np.uint8)
    used = matrix_words(config, rows, blocks) * config.lanes
    padded[:used] = tape[:used]
    table = padded.reshape(groups, -1)
    scales = table[:, : config.lanes].reshape(-1)[:count]
    elements = table[:, config.lanes :].reshape(-1, BLOCK)[:count].view(np.int8)
    elements = elements.reshape(-1, blocks, bundle, BLOCK).transpose(0, 2, 1, 3)
    scales = scales.reshape(-1, blocks, bundle).transpose(0, 2, 1)
    return BlockMatrix(
        np.ascontiguousarray(elements.reshape(-1, blocks, BLOCK)[:rows]),
        np.ascontiguousarray(scales.reshape(-1, blocks)[:rows]),
    )
