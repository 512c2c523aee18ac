#include "clock.h"

#include "registers.h"

uint64_t clock_now(void)
{
    mmio_write32(REGISTER(UPTIME_LATCH), 1);
    const uint64_t high = mmio_read32(REGISTER(UPTIME_CYCLES));
    return (high << 32) | mmio_read32(REGISTER(UPTIME_CYCLES) + 4u);
}

uint64_t clock_from_ms(uint32_t ms)
{
    return (uint64_t)ms * (BUILD_CLOCK_HZ / 1000u);
}

struct deadline deadline_in_ms(uint32_t ms)
{
    return (struct deadline){clock_now() + clock_from_ms(ms)};
}

bool deadline_passed(struct deadline deadline)
{
    return clock_now() > deadline.at;
}
