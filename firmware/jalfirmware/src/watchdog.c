#include "watchdog.h"

#include "clock.h"
#include "registers.h"

/* The main loop comes round within a fraction of a millisecond. SERV, which computes one bit per
   cycle, is 27 times as slow as VexRiscv where that was measured, from reset to ready. */
#ifdef __serv__
#define TIMEOUT_MS 400u
#else
#define TIMEOUT_MS 10u
#endif

void watchdog_start(void)
{
    mmio_write32(REGISTER(WATCHDOG_TIMEOUT), (uint32_t)clock_from_ms(TIMEOUT_MS));
}

void watchdog_feed(void)
{
    mmio_write32(REGISTER(WATCHDOG_FEED), 1);
}

bool watchdog_take_expired(void)
{
    const uint32_t status = mmio_read32(REGISTER(WATCHDOG_STATUS));
    mmio_write32(REGISTER(WATCHDOG_CONTROL), FLAG(WATCHDOG_CONTROL_ACKNOWLEDGE));
    return FIELD_OF(status, WATCHDOG_STATUS_EXPIRED) != 0;
}

bool watchdog_is_warm(void)
{
    return mmio_read32(REGISTER(WATCHDOG_WARM)) != 0;
}

void watchdog_set_warm(void)
{
    mmio_write32(REGISTER(WATCHDOG_WARM), 1);
}
