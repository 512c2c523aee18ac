#include "memtest.h"

#include <stdbool.h>

#include "dram.h"
#include "registers.h"

/* Words between two signs of life. */
#define ALIVE_WORDS 256u

#define DRAM_WORDS (BUILD_DRAM_BYTES / 4u)

static struct memory_report report;
static void (*sign_of_life)(void);

/* contract/mailbox.py: memory_word */
static uint32_t pattern(uint32_t address, uint32_t seed)
{
    uint32_t word = address ^ seed;
    word ^= word << 13;
    word ^= word >> 17;
    return word ^ (word << 5);
}

static void stay_alive(uint32_t index)
{
    if (index % ALIVE_WORDS == 0)
        sign_of_life();
}

static void look(uint32_t address, uint32_t expected)
{
    const uint32_t actual = mmio_read32(address);
    if (actual == expected)
        return;
    if (report.wrong == 0) {
        report.address = address;
        report.expected = expected;
        report.actual = actual;
    }
    report.bits[address / 4u % 2u] |= actual ^ expected;
    report.wrong++;
}

static uint32_t place(const struct memory_request *request, uint32_t index)
{
    const bool scattered = request->kind == MEMORY_SCATTER || request->kind == MEMORY_GATHER;
    if (scattered)
        index = (index * MAILBOX_SCATTER_STEP + request->seed) & (request->range - 1u);
    return DRAM_ORIGIN + request->offset + 4u * index;
}

static void fill(const struct memory_request *request)
{
    for (uint32_t i = 0; i < request->words; i++) {
        const uint32_t address = place(request, i);
        mmio_write32(address, pattern(address, request->seed));
        stay_alive(i);
    }
}

static void check(const struct memory_request *request)
{
    for (uint32_t i = 0; i < request->words; i++) {
        const uint32_t address = place(request, i);
        look(address, pattern(address, request->seed));
        stay_alive(i);
    }
}

/* One element of a march: reads `before` where asked, then writes `after`, word by word. */
static void march(const struct memory_request *request, bool down, bool reads, uint32_t before,
                  uint32_t after)
{
    const uint32_t start = DRAM_ORIGIN + request->offset;
    for (uint32_t i = 0; i < request->words; i++) {
        const uint32_t address = start + 4u * (down ? request->words - 1u - i : i);
        if (reads)
            look(address, before);
        mmio_write32(address, after);
        stay_alive(i);
    }
    cpu_discard_cached_data();
}

static void march_c(const struct memory_request *request)
{
    const uint32_t zero = request->seed;
    const uint32_t one = ~zero;
    march(request, false, false, 0, zero);
    march(request, false, true, zero, one);
    march(request, false, true, one, zero);
    march(request, true, true, zero, one);
    march(request, true, true, one, zero);
    march(request, false, true, zero, zero);
}

uint32_t memory_refuse(const struct memory_request *request, uint32_t *limit)
{
    const bool scattered = request->kind == MEMORY_SCATTER || request->kind == MEMORY_GATHER;
    const uint32_t first = request->offset / 4u;
    *limit = MEMORY_GATHER;
    if (request->kind > MEMORY_GATHER)
        return 1;
    *limit = DRAM_WORDS;
    if (request->offset % 4u != 0 || first > DRAM_WORDS)
        return 2;
    *limit = DRAM_WORDS - first;
    if (scattered && (request->range == 0 || (request->range & (request->range - 1u)) != 0 ||
                      request->range > *limit))
        return 5;
    *limit = scattered ? request->range : *limit;
    return request->words > *limit ? 3 : 0;
}

struct memory_report memory_test(const struct memory_request *request, void (*alive)(void))
{
    report = (struct memory_report){0, {0, 0}, 0, 0, 0};
    sign_of_life = alive;
    cpu_discard_cached_data();
    if (request->kind == MEMORY_MARCH)
        march_c(request);
    else if (request->kind == MEMORY_FILL || request->kind == MEMORY_SCATTER)
        fill(request);
    else
        check(request);
    return report;
}
