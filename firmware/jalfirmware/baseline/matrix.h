/* Matrices of int8 groups with float scales (llama2.c's Q8_0), times vectors of the same. */
#pragma once

#include <stdint.h>

/* A vector of int8 groups. The elements are filled up with zeros to a multiple of 4. */
struct quantised {
    int8_t *elements;
    float *scales;
};

/* Sets the columns of a group for all matrices; takes memory. */
void matrix_init(uint32_t group_columns);

/* Each group's largest magnitude becomes 127. */
void quantise(struct quantised *to, const float *from, uint32_t length);

/* Row by row; a cursor stands before the next row's first scale. */
float matrix_row(const uint32_t **cursor, const struct quantised *vector, uint32_t columns);

/* Elements of the row at the cursor as floats. */
void matrix_row_copy(float *to, const uint32_t *cursor, uint32_t columns);

/* All rows. */
void matrix_times(float *to, const uint32_t *cursor, const struct quantised *vector, uint32_t rows,
                  uint32_t columns);
