/* The only way to registers, mailbox and DRAM, so that tests can put a model in their place. */
#pragma once

#include <generated/build.h>
#include <stdint.h>

#ifdef JAL_HOST_TEST

uint32_t mmio_read32(uint32_t address);
void mmio_write32(uint32_t address, uint32_t value);
void cpu_discard_cached_data(void);

#else

static inline uint32_t mmio_read32(uint32_t address)
{
    return *(volatile const uint32_t *)(uintptr_t)address;
}

static inline void mmio_write32(uint32_t address, uint32_t value)
{
    *(volatile uint32_t *)(uintptr_t)address = value;
}

/* VexRiscv's own instruction for it (DBusCachedPlugin: opcode 0x500F). Writes go through the cache
 * to DRAM; what the host or the engine wrote meanwhile is only seen after this. */
static inline void cpu_discard_cached_data(void)
{
#if BUILD_CPU_HAS_DCACHE
    __asm__ volatile(".word 0x500F\n nop\n nop\n nop" ::: "memory");
#endif
}

#endif
