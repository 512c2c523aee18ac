"""Etherbone over UDP: what host and gateware both obey beyond the packet format itself.

UDP may lose, repeat and reorder packets, and Etherbone as LiteEth implements it says nothing about
that. So each request may carry a number in bytes 4 to 7 of its header, which other tools leave 0.
The gateware executes a request with a number at most once, and never behind one with a later
number: whatever the network does, a late or repeated write cannot undo a newer one or start a
command again. A request that was lost is sent again with a new number. Requests without a number
are always executed.
"""

from jalgateware.contract.memory_map import CSR_BANK_BYTES, CSR_ORIGIN

PORT = 1234
"""UDP port that the gateware listens on, as LiteX's tools expect it."""

RECORD_WORDS = 256
"""Words behind a record's header that the gateware can take."""

MAX_READ = RECORD_WORDS - 1
"""Words that a request can read: the return address takes one."""

MAX_WRITE = RECORD_WORDS - 3
"""Words that a request can write that also reads one word, as an acknowledgement."""

CSR_LOCATION = 27
"""Place of the CSR bank; behind all others but PCIe's, so that they lie where they lie without
Ethernet."""

LAST_NUMBER_ADDRESS = CSR_ORIGIN + CSR_LOCATION * CSR_BANK_BYTES
"""A register with the number of the last numbered request that was executed."""

NUMBERS = 1 << 32
"""Numbers wrap here; 0 is none."""


def follows(number: int, last: int) -> bool:
    """Whether a request is later than another one, by their numbers."""
    return 0 < (number - last) % NUMBERS < NUMBERS // 2
