/* Start of the firmware, and its one loop. */
#include <stdbool.h>
#include <stddef.h>

#include "clock.h"
#include "commands.h"
#include "console.h"
#include "dram.h"
#include "engine.h"
#include "levelling.h"
#include "mailbox.h"
#include "port.h"
#include "registers.h"
#include "version.h"
#include "watchdog.h"

#define NO_TRAP UINT32_MAX

int main(void);

/* Why the firmware starts; a cold start begins with an empty mailbox. */
static enum jal_boot_reason begin(bool warm)
{
    const bool expired = watchdog_take_expired();
    mailbox_write(FIELD_MAGIC, 0);
    mailbox_write(FIELD_STATE, STATE_BOOTING);
    if (warm)
        return expired ? BOOT_WATCHDOG : BOOT_CPU_RESET;
    /* Starts are counted over resets of the whole system: the host then knows of them. */
    const uint32_t boots = mailbox_read(FIELD_BOOTS);
    for (uint32_t offset = 0; offset < FIELD_OUTPUT_RING; offset += 4u)
        mailbox_write(offset, 0);
    mailbox_write(FIELD_BOOTS, boots);
    mailbox_write(FIELD_LAST_TRAP_CAUSE, NO_TRAP);
    return BOOT_POWER_UP;
}

/* DRAM keeps its content over a reset of the CPU alone: it is not touched then. */
static enum jal_result start_dram(bool warm)
{
    if (warm)
        return RESULT_OK;
    console_listen(levelling_take);
    const enum jal_result result = dram_init();
    console_listen(NULL);
    if (result == RESULT_OK)
        watchdog_set_warm();
    return result;
}

static bool fits_gateware(void)
{
    return mmio_read32(REGISTER(FINGERPRINT_VALUE)) == BUILD_FINGERPRINT_HIGH &&
           mmio_read32(REGISTER(FINGERPRINT_VALUE) + 4u) == BUILD_FINGERPRINT_LOW;
}

static enum jal_result start_hardware(bool warm)
{
    if (!fits_gateware())
        return RESULT_WRONG_FIRMWARE;
    const enum jal_result engine = engine_reset();
    if (engine != RESULT_OK)
        return engine;
    return start_dram(warm);
}

static void describe_system(void)
{
    mailbox_write(FIELD_PROTOCOL, MAILBOX_PROTOCOL);
    mailbox_write(FIELD_FIRMWARE_VERSION, FIRMWARE_VERSION);
    mailbox_write(FIELD_DRAM_BYTES, BUILD_DRAM_BYTES);
    mailbox_write(FIELD_FLAGS, BUILD_FLAGS);
    mailbox_write(FIELD_LANES, engine_lanes());
    mailbox_write(FIELD_PORT_BYTES, BUILD_PORT_BYTES);
    mailbox_write(FIELD_TOKEN_ROWS, engine_token_rows());
    mailbox_write(FIELD_FORMATS, engine_formats());
    for (uint32_t i = 0; i < LIMIT_COUNT; i++)
        mailbox_write(FIELD_LIMITS + 4u * i, engine_limit(i));
}

/* What does not change after the start: MAGIC to FORMATS, and the limits. */
#define STEADY_WORDS ((FIELD_FORMATS - FIELD_MAGIC) / 4u + 1u)
#define KEPT_WORDS (STEADY_WORDS + LIMIT_COUNT)

static uint32_t kept[KEPT_WORDS];

static uint32_t kept_field(uint32_t index)
{
    return index < STEADY_WORDS ? FIELD_MAGIC + 4u * index
                                : FIELD_LIMITS + 4u * (index - STEADY_WORDS);
}

static void keep_description(void)
{
    for (uint32_t i = 0; i < KEPT_WORDS; i++)
        kept[i] = mailbox_read(kept_field(i));
}

/* Whatever was written there by mistake, on a line that damages addresses, does not stay. */
static void renew_description(void)
{
    static uint32_t next;
    mailbox_write(kept_field(next), kept[next]);
    next = next + 1u < KEPT_WORDS ? next + 1u : 0;
}

int main(void)
{
    const bool warm = watchdog_is_warm();
    const enum jal_boot_reason reason = begin(warm);
    const enum jal_result fault = start_hardware(warm);
    describe_system();
    mailbox_write(FIELD_BOOTS, mailbox_read(FIELD_BOOTS) + 1u);
    mailbox_write(FIELD_BOOT_REASON, reason);
    commands_init(fault);
    mailbox_write(FIELD_BOOT_CYCLES, (uint32_t)clock_now());
    mailbox_write(FIELD_MAGIC, MAILBOX_MAGIC_VALUE);
    keep_description();
    console_printf("jalhost: ready after %lu cycles, fault %d\n",
                   (unsigned long)mailbox_read(FIELD_BOOT_CYCLES), (int)fault);
    watchdog_start();
    for (;;) {
        commands_poll();
        console_poll();
        port_poll();
        renew_description();
    }
}
