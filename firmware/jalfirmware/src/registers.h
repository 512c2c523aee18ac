/* The build's constants and register addresses. */
#pragma once

#include "mmio.h"

#define REGISTER(name) ((uint32_t)(CSR_##name##_ADDR))

/* A field's value in a register's. */
#define FIELD_OF(value, name) \
    (((value) >> CSR_##name##_OFFSET) & ((UINT32_C(1) << CSR_##name##_SIZE) - 1u))

/* A register's value with one field set to 1. */
#define FLAG(name) (UINT32_C(1) << CSR_##name##_OFFSET)
