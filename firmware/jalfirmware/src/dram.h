/* DRAM as the CPU sees it. Offsets count from its start. */
#pragma once

#include <stdint.h>

#include "contract.h"
#include "mmio.h"
#include "result.h"

/* Initialises and calibrates DRAM, and looks whether it keeps data at all. */
MUST_USE enum jal_result dram_init(void);

/* Only the look: writes and reads a few words of the scratch region. */
MUST_USE enum jal_result dram_probe(void);

static inline uint32_t dram_read(uint32_t offset)
{
    return mmio_read32(DRAM_ORIGIN + offset);
}

static inline void dram_write(uint32_t offset, uint32_t value)
{
    mmio_write32(DRAM_ORIGIN + offset, value);
}
