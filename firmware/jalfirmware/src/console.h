/* Text for and from people, over the crossover UART. */
#pragma once

#include <stdarg.h>

/* The conversions are those of printf that LiteDRAM's calibration uses: %c %s %d %u %x, with l,
 * zero padding and width. Text that nobody reads is dropped, the firmware never waits for it. */
int console_printf(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Text goes to `listener` as well, from now on; NULL ends that. */
void console_listen(void (*listener)(char character));

/* Moves text to the UART and carries out what has been typed; does not wait. */
void console_poll(void);
