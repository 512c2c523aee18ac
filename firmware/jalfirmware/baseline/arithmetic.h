/* Functions of float32 that the compiler's library does not bring. */
#pragma once

#include <stdint.h>

static inline uint32_t float_bits(float value)
{
    union {
        float value;
        uint32_t bits;
    } both = {value};
    return both.bits;
}

static inline float float_from_bits(uint32_t bits)
{
    union {
        uint32_t bits;
        float value;
    } both = {bits};
    return both.value;
}

/* e to the power of x, relative error below 5e-6; 0 below -80, e**80 above 80. */
float exponential(float x);

/* 1 / sqrt(x), for normal x; relative error below 1e-6. */
float reciprocal_root(float x);
