#include "arithmetic.h"

/* Of x * log2(e). */
#define FRACTION_BITS 20
#define INDEX_BITS 6
#define REST_BITS (FRACTION_BITS - INDEX_BITS)

#define LOG2_E 1.44269504f

/* Beyond, results come near a float's limits. */
#define LARGEST 80.0f

/* ln(2) with 32 fraction bits. */
#define LN2 0xB17217F8u

/* 2**(i / 64) with 31 fraction bits. */
static const uint32_t power_table[1u << INDEX_BITS] = {
    0x80000000u, 0x8164D1F4u, 0x82CD8699u, 0x843A28C4u, 0x85AAC368u, 0x871F6197u, 0x88980E81u,
    0x8A14D575u, 0x8B95C1E4u, 0x8D1ADF5Bu, 0x8EA4398Bu, 0x9031DC43u, 0x91C3D374u, 0x935A2B2Fu,
    0x94F4EFA9u, 0x96942D37u, 0x9837F052u, 0x99E04593u, 0x9B8D39BAu, 0x9D3ED9A7u, 0x9EF53261u,
    0xA0B05110u, 0xA2704303u, 0xA43515AEu, 0xA5FED6AAu, 0xA7CD93B5u, 0xA9A15AB5u, 0xAB7A39B6u,
    0xAD583EEAu, 0xAF3B78ADu, 0xB123F582u, 0xB311C413u, 0xB504F334u, 0xB6FD91E3u, 0xB8FBAF47u,
    0xBAFF5AB2u, 0xBD08A39Fu, 0xBF1799B6u, 0xC12C4CCAu, 0xC346CCDAu, 0xC5672A11u, 0xC78D74C9u,
    0xC9B9BD86u, 0xCBEC14FFu, 0xCE248C15u, 0xD06333DBu, 0xD2A81D92u, 0xD4F35AACu, 0xD744FCCBu,
    0xD99D15C2u, 0xDBFBB798u, 0xDE60F482u, 0xE0CCDEECu, 0xE33F8973u, 0xE5B906E7u, 0xE8396A50u,
    0xEAC0C6E8u, 0xED4F301Fu, 0xEFE4B99Cu, 0xF281773Cu, 0xF5257D15u, 0xF7D0DF73u, 0xFA83B2DBu,
    0xFD3E0C0Du,
};

static uint32_t multiply_high(uint32_t a, uint32_t b)
{
    return (uint32_t)(((uint64_t)a * b) >> 32);
}

float exponential(float x)
{
    if (x < -LARGEST)
        return 0.0f;
    if (x > LARGEST)
        x = LARGEST;
    const int32_t scaled = (int32_t)(x * (LOG2_E * (float)(1 << FRACTION_BITS)));
    const uint32_t fraction = (uint32_t)scaled & ((1u << FRACTION_BITS) - 1u);
    const int32_t whole = scaled >> FRACTION_BITS;
    const uint32_t base = power_table[fraction >> REST_BITS];
    /* e**t = 1 + t + t * t / 2 for t below ln(2) / 64, with 32 fraction bits. */
    const uint32_t rest = fraction & ((1u << REST_BITS) - 1u);
    const uint32_t t = multiply_high(LN2, rest << (32 - FRACTION_BITS));
    const uint32_t mantissa = base + multiply_high(base, t + (multiply_high(t, t) >> 1));
    /* The leading one stands at bit 31, and is not stored. */
    return float_from_bits(((uint32_t)(whole + 126) << 23) + (mantissa >> 8));
}

float reciprocal_root(float x)
{
    /* Halving the exponent and negating it gives a first guess, Newton's method the rest. */
    float root = float_from_bits(0x5F3759DFu - (float_bits(x) >> 1));
    const float half = 0.5f * x;
    for (int i = 0; i < 3; i++)
        root = root * (1.5f - half * root * root);
    return root;
}
