"""CRC-32 as zlib and Ethernet have it, and the matrix that advances it by a word at a time.

Polynomial 0x04C11DB7 with bits reflected, register preset to ones, result inverted (ITU-T V.42).
"""

POLYNOMIAL = 0xEDB8_8320
"""x**32 is implied; bit 31 is the coefficient of 1."""

WORD_BITS = 32

_MASK = 0xFFFF_FFFF


def advance(state: int, bits: int = WORD_BITS) -> int:
    """The register ``bits`` later; those that came in have been added to ``state`` before."""
    for _ in range(bits):
        state = (state >> 1) ^ (POLYNOMIAL if state & 1 else 0)
    return state


def advance_masks(bits: int = WORD_BITS) -> list[int]:
    """:func:`advance` as parities: bit i of its result is the parity of ``state & masks[i]``."""
    columns = [advance(1 << bit, bits) for bit in range(WORD_BITS)]
    return [
        sum(1 << bit for bit, column in enumerate(columns) if column >> row & 1)
        for row in range(WORD_BITS)
    ]


def crc32(data: bytes) -> int:
    """CRC-32 of data whose length is a multiple of 4 bytes.

    Raises:
        ValueError: it is not.
    """
    if len(data) % 4:
        raise ValueError(f"{len(data)} bytes are not whole words")
    state = _MASK
    for start in range(0, len(data), 4):
        state = advance(state ^ int.from_bytes(data[start : start + 4], "little"))
    return state ^ _MASK
