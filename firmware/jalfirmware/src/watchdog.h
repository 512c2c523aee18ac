/* The hardware watchdog, which resets the CPU when the firmware stops feeding it. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

void watchdog_start(void);
void watchdog_feed(void);

/* Whether it was the watchdog that started the firmware; the next call says no. */
bool watchdog_take_expired(void);

/* Whether DRAM works since the last reset of the whole system. */
bool watchdog_is_warm(void);
void watchdog_set_warm(void);
