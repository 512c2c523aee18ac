#include "workspace.h"

#include "contract.h"

/* What the SRAM of 8 KiB has left beside stack and constants. */
#define SRAM_BYTES 5376u

struct arena {
    uint32_t next;
    uint32_t end;
};

static uint32_t sram[SRAM_BYTES / 4u];
static struct arena arenas[3];

void workspace_init(uint32_t dram_address)
{
    const uint32_t start = (uint32_t)(uintptr_t)sram;
    arenas[0] = (struct arena){start, start + SRAM_BYTES};
    arenas[1] = (struct arena){MAILBOX_ORIGIN, MAILBOX_ORIGIN + MAILBOX_BYTES};
    arenas[2] = (struct arena){dram_address, UINT32_MAX};
}

static void *take(uint32_t first, uint32_t bytes)
{
    const uint32_t size = (bytes + 3u) & ~3u;
    while (arenas[first].end - arenas[first].next < size)
        first++;
    const uint32_t address = arenas[first].next;
    arenas[first].next += size;
    return (void *)(uintptr_t)address;
}

void *workspace_take(uint32_t bytes)
{
    return take(0, bytes);
}

void *workspace_take_dram(uint32_t bytes)
{
    return take(2, bytes);
}
