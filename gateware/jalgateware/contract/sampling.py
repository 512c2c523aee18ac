"""Constants of the sampler's counter-based noise.

The hash is "lowbias32" of Chris Wellons' hash-prospector (public domain):
``x ^= x >> 16; x *= A; x ^= x >> 15; x *= B; x ^= x >> 16``.
"""

HASH_SHIFTS = (16, 15, 16)
HASH_MULTIPLIERS = (0x7FEB352D, 0x846CA68B)
