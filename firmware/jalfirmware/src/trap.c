/* Called by crt0.S: leaves a note for whoever looks, then the watchdog restarts the CPU. */
#include <stdint.h>

#include "mailbox.h"

void trap_report(uint32_t cause, uint32_t pc);

void trap_report(uint32_t cause, uint32_t pc)
{
    mailbox_write(FIELD_LAST_TRAP_CAUSE, cause);
    mailbox_write(FIELD_LAST_TRAP_PC, pc);
}
