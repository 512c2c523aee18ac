#include "selftest.h"

#include <stdbool.h>

#include "crc.h"
#include "dram.h"
#include "engine.h"
#include "mailbox.h"

/* Words between two signs of life. */
#define ALIVE_WORDS 256u

#define CRC_TEST_BYTES 1024u

typedef uint32_t (*pattern)(uint32_t address);

static uint32_t address_pattern(uint32_t address)
{
    return address;
}

static uint32_t data_pattern(uint32_t address)
{
    /* Neighbours differ in about half of their lines; the CPU multiplies slowly. */
    uint32_t word = address ^ (address << 13);
    word ^= word >> 17;
    return word ^ (word << 5);
}

static uint32_t inverse_pattern(uint32_t address)
{
    return ~data_pattern(address);
}

static void report_failure(struct self_test_report *report, uint32_t address, uint32_t expected,
                           uint32_t actual)
{
    if (report->address != 0)
        return;
    report->address = address;
    report->expected = expected;
    report->actual = actual;
}

static bool memory_keeps(struct self_test_report *report, uint32_t start, uint32_t bytes,
                         pattern value, void (*alive)(void))
{
    for (uint32_t i = 0; i < bytes / 4u; i++) {
        mmio_write32(start + 4u * i, value(start + 4u * i));
        if (i % ALIVE_WORDS == 0)
            alive();
    }
    cpu_discard_cached_data();
    for (uint32_t i = 0; i < bytes / 4u; i++) {
        const uint32_t address = start + 4u * i;
        const uint32_t actual = mmio_read32(address);
        if (actual != value(address)) {
            report_failure(report, address, value(address), actual);
            return false;
        }
        if (i % ALIVE_WORDS == 0)
            alive();
    }
    return true;
}

/* Polynomial and bit order of golden/crc32.py, a bit at a time. */
static uint32_t crc_by_cpu(uint32_t offset, uint32_t bytes)
{
    uint32_t state = UINT32_MAX;
    for (uint32_t i = 0; i < bytes; i += 4u) {
        state ^= dram_read(offset + i);
        for (uint32_t bit = 0; bit < 32u; bit++)
            state = (state >> 1) ^ ((state & 1u) ? 0xEDB88320u : 0u);
    }
    return ~state;
}

static bool crc_agrees(struct self_test_report *report, void (*alive)(void))
{
    alive();
    const uint32_t expected = crc_by_cpu(SCRATCH_OFFSET, CRC_TEST_BYTES);
    alive();
    uint32_t actual = 0;
    if (crc_calculate(SCRATCH_OFFSET, CRC_TEST_BYTES, &actual) == RESULT_OK && actual == expected)
        return true;
    report_failure(report, DRAM_ORIGIN + SCRATCH_OFFSET, expected, actual);
    return false;
}

static bool engine_works(void)
{
    return engine_reset() == RESULT_OK && engine_check_registers() == RESULT_OK;
}

static void note(struct self_test_report *report, enum jal_self_test test, bool passed)
{
    report->done |= UINT32_C(1) << test;
    if (passed)
        report->passed |= UINT32_C(1) << test;
}

struct self_test_report self_test(void (*alive)(void))
{
    struct self_test_report report = {0, 0, 0, 0, 0};
    const uint32_t ring = MAILBOX_ORIGIN + FIELD_OUTPUT_RING;
    const uint32_t ring_bytes = 4u * MAILBOX_RING_ENTRY_WORDS * MAILBOX_RING_ENTRIES;
    note(&report, SELF_TEST_MAILBOX,
         memory_keeps(&report, ring, ring_bytes, data_pattern, alive) &&
             memory_keeps(&report, ring, ring_bytes, inverse_pattern, alive));
    const uint32_t scratch = DRAM_ORIGIN + SCRATCH_OFFSET;
    note(&report, SELF_TEST_DRAM_ADDRESS,
         memory_keeps(&report, scratch, SCRATCH_BYTES, address_pattern, alive));
    note(&report, SELF_TEST_DRAM_DATA,
         memory_keeps(&report, scratch, SCRATCH_BYTES, inverse_pattern, alive) &&
             memory_keeps(&report, scratch, SCRATCH_BYTES, data_pattern, alive));
    note(&report, SELF_TEST_CRC, crc_agrees(&report, alive));
    note(&report, SELF_TEST_ENGINE, engine_works());
    return report;
}
