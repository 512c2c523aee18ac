/* TEST_MEMORY: fills and checks parts of DRAM; which, and what a fault then is, the host decides. */
#pragma once

#include <stdint.h>

#include "contract.h"

struct memory_request {
    uint32_t kind;
    uint32_t offset;
    uint32_t words;
    uint32_t seed;
    /* Words; a power of two. */
    uint32_t range;
};

struct memory_report {
    uint32_t wrong;
    /* Wrong bits of words at even and at odd places. */
    uint32_t bits[2];
    /* The first one: bus address, what was expected, what was read. */
    uint32_t address;
    uint32_t expected;
    uint32_t actual;
};

/* 0, or one more than the index of the first argument that makes no sense, and its limit. */
uint32_t memory_refuse(const struct memory_request *request, uint32_t *limit);

/* `alive` is called often enough for heartbeat and watchdog. */
struct memory_report memory_test(const struct memory_request *request, void (*alive)(void));
