/* printf's conversions without its library. */
#pragma once

#include <stdarg.h>

typedef void (*format_sink)(char character);

void format_text(format_sink sink, const char *format, va_list arguments);
