#include "dram.h"

/* LiteDRAM's own initialisation: it knows every PHY's calibration. Returns 0 if that failed. */
int sdram_init(void);

#define PROBE_WORDS 16u

static uint32_t probe_pattern(uint32_t index)
{
    /* Every data line sees both values next to every other line (golden ratio, then inverted). */
    const uint32_t word = 0x9E3779B9u * (index + 1u);
    return index & 1u ? ~word : word;
}

enum jal_result dram_probe(void)
{
    for (uint32_t i = 0; i < PROBE_WORDS; i++)
        dram_write(SCRATCH_OFFSET + 4u * i, probe_pattern(i));
    cpu_discard_cached_data();
    for (uint32_t i = 0; i < PROBE_WORDS; i++)
        if (dram_read(SCRATCH_OFFSET + 4u * i) != probe_pattern(i))
            return RESULT_DRAM_FAILED;
    return RESULT_OK;
}

enum jal_result dram_init(void)
{
    if (sdram_init() == 0)
        return RESULT_DRAM_FAILED;
    return dram_probe();
}
