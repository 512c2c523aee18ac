/* Time in cycles of the system's clock, and bounds for everything that waits. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

uint64_t clock_now(void);

uint64_t clock_from_ms(uint32_t ms);

struct deadline {
    uint64_t at;
};

struct deadline deadline_in_ms(uint32_t ms);
bool deadline_passed(struct deadline deadline);
