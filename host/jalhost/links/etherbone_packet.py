"""Etherbone packets: bus accesses in datagrams.

The format is that of CERN's and GSI's Etherbone, in the subset of LiteEth 2024.12
(``liteeth/frontend/etherbone.py``): addresses and data of 32 bits, one record in a packet, no
configuration space. Everything is big-endian.

====== =============================================================================
byte   content
====== =============================================================================
0-1    0x4E6F
2      version 1 in bits 7-4; no reads (bit 2), answer to a probe (1), probe (0)
3      sizes of address (bits 7-4) and data (3-0): 4 bytes
4-7    number of the request (:mod:`jalgateware.contract.etherbone`); LiteEth skips it
8      flags of the record: none
9      byte enables: 15
10     words to write: W
11     words to read: R
12 ... if W: address of the first, W words; then, if R: return address, R addresses
====== =============================================================================

Reads are answered by a packet that writes the R words to the return address. The device does not
look at that address, so it tells which request an answer belongs to. Writes alone are not answered.
"""

import struct
from collections.abc import Sequence

_HEADER = struct.Struct(">HBBIBBBB")

_MAGIC, _VERSION, _SIZES, _ALL_BYTES = 0x4E6F, 0x10, 0x44, 0x0F


def request(
    number: int, tag: int, address: int, values: Sequence[int], reads: Sequence[int]
) -> bytes:
    """A packet that writes ``values`` to consecutive words, then reads words.

    ``tag`` is the return address. ``address`` and ``reads`` are byte addresses, multiples of 4.
    """
    header = _HEADER.pack(_MAGIC, _VERSION, _SIZES, number, 0, _ALL_BYTES, len(values), len(reads))
    words = [address, *values] if values else []
    words += [tag, *reads] if reads else []
    return header + struct.pack(f">{len(words)}I", *words)


def parse_answer(packet: bytes) -> tuple[int, tuple[int, ...]] | None:
    """The tag of an answer and the words that were read; None for anything else."""
    if len(packet) < _HEADER.size + 4 or len(packet) % 4:
        return None
    magic, version, sizes, _, _, _, writes, reads = _HEADER.unpack_from(packet)
    if (magic, version, sizes, reads) != (_MAGIC, _VERSION, _SIZES, 0):
        return None
    tag, *words = struct.unpack(f">{(len(packet) - _HEADER.size) // 4}I", packet[_HEADER.size :])
    return (tag, tuple(words)) if len(words) == writes > 0 else None
