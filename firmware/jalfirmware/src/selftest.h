/* SELF_TEST: looks for broken hardware, a test for each part. */
#pragma once

#include <stdint.h>

struct self_test_report {
    uint32_t done;
    uint32_t passed;
    /* The first failure: bus address, what was expected, what was read. */
    uint32_t address;
    uint32_t expected;
    uint32_t actual;
};

/* Runs all tests. `alive` is called often enough for heartbeat and watchdog. The image stays; what
 * a run left in the output ring does not. */
struct self_test_report self_test(void (*alive)(void));
