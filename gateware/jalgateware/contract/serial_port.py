"""The serial port between host and device: 8 data bits, no parity, 1 stop bit, no handshake.

A device starts at its build's rate, BASE_BAUD unless it was built for another one. With the flag
TUNABLE, LiteX's register ``tuning_word`` (RS232PHY in ``litex/soc/cores/uart.py``) changes it.
"""

BASE_BAUD = 115_200

BAUD_RATES = (3_000_000, 2_000_000, 1_500_000, 1_000_000, 921_600, 460_800, 230_400, BASE_BAUD)
"""What a host tries, fastest first: rates that common USB adapters make exactly."""

BITS_PER_BYTE = 10

SLOWEST_BIT_CYCLES = 12
"""Clock cycles that a bit takes at least, so that the receiver finds its middle."""

FIFO_BYTES = 16
"""Bytes that wait while the bridge answers: more than a request, so that requests can follow one
another without a pause."""


def tuning_word(baud: int, clock_hz: int) -> int:
    """The register's value for a rate, as LiteX calculates it."""
    return int(baud / clock_hz * 2**32)


def possible_rates(clock_hz: int) -> list[int]:
    """Rates that a device with this clock can have, fastest first."""
    return [baud for baud in BAUD_RATES if baud * SLOWEST_BIT_CYCLES <= clock_hz]
