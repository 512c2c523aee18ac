"""Number formats of the decode engine: widths, fraction bits and the one rounding rule.

Every value in the engine is a two's complement integer whose binary point is fixed here. Rounding
is the same everywhere: *round half up*, ``floor(x / 2**shift + 1/2)``. Results that do not fit
saturate.

Weights and activations follow the OCP Microscaling Formats (MX) Specification v1.0: 32 elements
share one E8M0 power-of-two scale; MXINT8 elements carry an implied factor of 2**-6. MXFP4 elements
are E2M1 floating-point numbers; doubled they are integers, and the engine computes with these.
"""

from dataclasses import dataclass

from jalgateware.contract.isa import Format


@dataclass(frozen=True)
class Fixed:
    """A fixed-point format: ``bits`` wide, of which ``fraction`` stand behind the binary point."""

    bits: int
    fraction: int
    signed: bool = True

    @property
    def maximum(self) -> int:
        """Largest representable integer."""
        return (1 << (self.bits - self.signed)) - 1

    @property
    def minimum(self) -> int:
        """Smallest representable integer."""
        return -(1 << (self.bits - 1)) if self.signed else 0


BLOCK = 32
"""Elements that share one scale (MX v1.0)."""

SCALE_BIAS = 127
"""E8M0: the scale byte s stands for 2**(s - 127). The specification's NaN, 255, is no exception to
the engine: it counts as 2**128. Conversion never writes it."""

WEIGHT = Fixed(bits=8, fraction=6)
"""MXINT8 element."""

WEIGHT_FP4 = Fixed(bits=5, fraction=1)
"""MXFP4 element, doubled: E2M1_DOUBLED with a sign."""

E2M1_DOUBLED = (0, 1, 2, 3, 4, 6, 8, 12)
"""Twice the magnitude (0, 0.5, 1, 1.5, 2, 3, 4, 6) that a code's lower three bits stand for: two of
exponent, one of mantissa. Bit 3 is the sign."""

E2M1_SIGN = 8
"""The sign bit of a code."""

ELEMENTS = {Format.MXINT8: WEIGHT, Format.MXFP4: WEIGHT_FP4}
"""The integers that dot products see, by the matrix' format."""

ELEMENT_BITS = {Format.MXINT8: 8, Format.MXFP4: 4}
"""Bits of an element on the tape."""

SCALE = Fixed(bits=8, fraction=0, signed=False)
"""E8M0 scale byte."""

VECTOR = Fixed(bits=32, fraction=16)
"""Everything that travels between the engine's units: Q16.16."""

ACTIVATION = Fixed(bits=8, fraction=0)
"""Quantised vector element; its block's shift says how many bits of VECTOR were dropped."""

ACTIVATION_SHIFT_BITS = 5

BLOCK_DOT = Fixed(bits=21, fraction=0)
"""Exact dot product of a block: 8 + 8 bits product, 32 terms."""

TERM = Fixed(bits=40, fraction=0)
"""A block's dot product aligned to the accumulator's binary point (an instruction field)."""

TERM_SHIFT_LIMIT = 19
"""Largest left shift of a block's dot product (|dot| <= 2**19) that still fits a TERM."""

ACCUMULATOR = Fixed(bits=48, fraction=0)
"""Sum of up to 256 TERMs: cannot overflow."""

MAX_BLOCKS = 1 << (ACCUMULATOR.bits - TERM.bits)
"""Most blocks in a row that an ACCUMULATOR holds without overflow."""

GUARD_BITS = 2
"""Extra fraction bits between the two steps of the output scaler."""

SCALED = Fixed(bits=VECTOR.bits + 3, fraction=VECTOR.fraction + GUARD_BITS)
"""Intermediate of the output scaler, before the mantissa is applied."""

SCALER_LEFT_LIMIT = 16
"""Largest left shift that the output scaler performs (it clamps there and saturates)."""

MANTISSA = Fixed(bits=17, fraction=16, signed=False)
"""Mantissa in [1, 2] of a reciprocal or 1/sqrt (2.0 itself is stored as 2**17 - 1)."""

KV = Fixed(bits=16, fraction=0)
"""Keys, values and queries; instructions carry the binary point, fixed per layer at conversion."""

TABLE_ENTRY_BITS = 32
"""Of an entry in the tables of biases (a VECTOR) and of gains (a GAIN in its lower bits)."""

GAIN = Fixed(bits=16, fraction=13, signed=False)
"""What a row of a head is multiplied by once the head has the length 1. sqrt(head_dim), and the
power of two that makes the most of 16 bits, are in it since conversion; its sign is in the matrix.
"""

NORMED = Fixed(bits=KV.bits + 4, fraction=VECTOR.fraction)
"""A row of such a head as VECTOR, below 8: a length of 1 times a GAIN."""

NORMED_SHIFT = NORMED.bits - KV.bits
"""The ``out_shift`` that makes KVs of NORMED rows."""

ROTATION = Fixed(bits=16, fraction=14)
"""Cosine and sine of a rotary angle."""

SCORE = Fixed(bits=18, fraction=9)
"""Attention score in units of log2 (weights carry the factor log2(e) / sqrt(head_dim))."""

PROBABILITY = Fixed(bits=17, fraction=16, signed=False)
"""Unnormalised softmax weight 2**(score - maximum), in [0, 1]."""

SUM_BITS = 32
"""Sum of PROBABILITYs over up to 2**15 positions."""

VALUE_ACCUMULATOR = Fixed(bits=48, fraction=0)
"""Sum of PROBABILITY x KV over the positions."""

SQUARE_SUM_BITS = 76
"""Sum of squares of a vector, in units of 2**-32 (blocks of 2**19, shifts up to 50, 128 blocks)."""

SIGMOID = Fixed(bits=17, fraction=16, signed=False)

INVERSE_TEMPERATURE = Fixed(bits=17, fraction=12, signed=False)
"""log2(e) / temperature; 0 stands for greedy."""

SCALED_LOGIT = Fixed(bits=40, fraction=16)
"""Logit in units of log2, after the temperature and with its Gumbel noise."""

LOG2 = Fixed(bits=24, fraction=16)
"""Base-2 logarithms inside the sampler."""

TOKEN_BITS = 24
POSITION_BITS = 16
