/* Working memory, the fastest that is left. */
#pragma once

#include <stdint.h>

/* Memory for good, a multiple of 4 bytes: in SRAM if there is room, else in the mailbox's RAM, which
 * is as fast, else in DRAM. Ask for what is used most first. */
void *workspace_take(uint32_t bytes);

/* DRAM behind the image. */
void *workspace_take_dram(uint32_t bytes);

void workspace_init(uint32_t dram_address);
