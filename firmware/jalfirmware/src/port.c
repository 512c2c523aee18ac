#include "port.h"

#include "clock.h"
#include "mailbox.h"
#include "registers.h"

void port_poll(void)
{
#ifdef BUILD_TUNING_WORD
    static bool waiting;
    static struct deadline limit;
    const uint32_t word = mmio_read32(REGISTER(UARTBONE_PHY_TUNING_WORD));
    if (word == BUILD_TUNING_WORD || word == mailbox_read(FIELD_TUNING_WORD)) {
        waiting = false;
    } else if (!waiting) {
        waiting = true;
        limit = deadline_in_ms(MAILBOX_TUNING_MS);
    } else if (deadline_passed(limit)) {
        mmio_write32(REGISTER(UARTBONE_PHY_TUNING_WORD), BUILD_TUNING_WORD);
        waiting = false;
    }
#endif
}
