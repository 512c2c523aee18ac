/* What LiteDRAM's initialisation needs of <stdio.h>. */
#pragma once

int console_printf(const char *format, ...) __attribute__((format(printf, 1, 2)));

#define printf console_printf
