#include "matrix.h"

#include "arithmetic.h"
#include "workspace.h"

#define SIGN_BIT 0x80000000u

static uint32_t group;

/* A group's weights on their way: in DRAM every access counts, and four bytes cost what one does. */
static uint32_t *stage;

void matrix_init(uint32_t group_columns)
{
    group = group_columns;
    stage = workspace_take(group);
}

static uint32_t group_size(uint32_t left)
{
    return left < group ? left : group;
}

static int8_t rounded(float value)
{
    return (int8_t)(int32_t)(value + (float_bits(value) & SIGN_BIT ? -0.5f : 0.5f));
}

void quantise(struct quantised *to, const float *from, uint32_t length)
{
    int8_t *elements = to->elements;
    float *scales = to->scales;
    for (uint32_t left = length; left != 0;) {
        const uint32_t size = group_size(left);
        /* Magnitudes are ordered as their bits are. */
        uint32_t largest = 0;
        for (uint32_t i = 0; i < size; i++) {
            const uint32_t magnitude = float_bits(from[i]) & ~SIGN_BIT;
            largest = magnitude > largest ? magnitude : largest;
        }
        const float maximum = float_from_bits(largest);
        const float inverse = largest ? 127.0f / maximum : 0.0f;
        *scales++ = maximum * (1.0f / 127.0f);
        for (uint32_t i = 0; i < size; i++)
            *elements++ = rounded(*from++ * inverse);
        left -= size;
    }
    for (uint32_t i = length; i % 4u != 0; i++)
        *elements++ = 0;
}

/* Both have a multiple of 4 elements. */
static int32_t dot(const int8_t *a, const int8_t *b, uint32_t length)
{
    int32_t sum = 0;
    const int8_t *const end = a + length;
    const int8_t *const end8 = a + (length & ~7u);
    while (a != end8) {
        sum += a[0] * b[0] + a[1] * b[1] + a[2] * b[2] + a[3] * b[3];
        sum += a[4] * b[4] + a[5] * b[5] + a[6] * b[6] + a[7] * b[7];
        a += 8;
        b += 8;
    }
    if (a != end)
        sum += a[0] * b[0] + a[1] * b[1] + a[2] * b[2] + a[3] * b[3];
    return sum;
}

float matrix_row(const uint32_t **cursor, const struct quantised *vector, uint32_t columns)
{
    const uint32_t *weights = *cursor;
    const int8_t *elements = vector->elements;
    const float *scales = vector->scales;
    float sum = 0.0f;
    for (uint32_t left = (columns + 3u) & ~3u; left != 0;) {
        const uint32_t size = group_size(left);
        const float scale = float_from_bits(*weights++) * *scales++;
        uint32_t *to = stage;
#pragma GCC unroll 4
        for (uint32_t i = 0; i < size; i += 4u)
            *to++ = *weights++;
        const float term = (float)dot((const int8_t *)stage, elements, size) * scale;
        /* Most rows of small models are a single group. */
        sum = scales == vector->scales + 1 ? term : sum + term;
        elements += size;
        left -= size;
    }
    *cursor = weights;
    return sum;
}

void matrix_row_copy(float *to, const uint32_t *cursor, uint32_t columns)
{
    for (uint32_t left = columns; left != 0;) {
        const uint32_t size = group_size(left);
        const float scale = float_from_bits(*cursor++);
        const int8_t *elements = (const int8_t *)cursor;
        for (uint32_t i = 0; i < size; i++)
            *to++ = (float)elements[i] * scale;
        cursor += (size + 3u) / 4u;
        left -= size;
    }
}

void matrix_times(float *to, const uint32_t *cursor, const struct quantised *vector, uint32_t rows,
                  uint32_t columns)
{
    for (uint32_t i = 0; i < rows; i++)
        to[i] = matrix_row(&cursor, vector, columns);
}
