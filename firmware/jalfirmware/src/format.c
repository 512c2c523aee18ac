#include "format.h"

#include <stdbool.h>
#include <stdint.h>

struct conversion {
    bool zero;
    unsigned width;
    bool is_long;
};

static void put_padded(format_sink sink, const char *text, unsigned length,
                       const struct conversion *conversion)
{
    unsigned padding = conversion->width > length ? conversion->width - length : 0;
    if (conversion->zero && length > 0 && *text == '-') {
        sink('-');
        text++;
        length--;
    }
    for (; padding > 0; padding--)
        sink(conversion->zero ? '0' : ' ');
    for (unsigned i = 0; i < length; i++)
        sink(text[i]);
}

static void put_number(format_sink sink, unsigned long value, bool negative, unsigned base,
                       const struct conversion *conversion)
{
    /* 64 bits in base 10 have 20 digits. */
    char digits[21];
    unsigned at = sizeof digits;
    do {
        digits[--at] = "0123456789abcdef"[value % base];
        value /= base;
    } while (value != 0);
    if (negative)
        digits[--at] = '-';
    put_padded(sink, &digits[at], (unsigned)sizeof digits - at, conversion);
}

static void put_string(format_sink sink, const char *text, const struct conversion *conversion)
{
    unsigned length = 0;
    while (text[length] != '\0')
        length++;
    put_padded(sink, text, length, conversion);
}

static const char *parse(const char *format, struct conversion *conversion)
{
    *conversion = (struct conversion){false, 0, false};
    if (*format == '0') {
        conversion->zero = true;
        format++;
    }
    for (; *format >= '0' && *format <= '9'; format++)
        conversion->width = 10u * conversion->width + (unsigned)(*format - '0');
    if (*format == 'l') {
        conversion->is_long = true;
        format++;
    }
    return format;
}

void format_text(format_sink sink, const char *format, va_list arguments)
{
    for (; *format != '\0'; format++) {
        if (*format != '%') {
            sink(*format);
            continue;
        }
        struct conversion conversion;
        format = parse(format + 1, &conversion);
        const bool is_long = conversion.is_long;
        switch (*format) {
        case 'c':
            sink((char)va_arg(arguments, int));
            break;
        case 's':
            put_string(sink, va_arg(arguments, const char *), &conversion);
            break;
        case 'd': {
            const long value = is_long ? va_arg(arguments, long) : va_arg(arguments, int);
            const unsigned long bits = (unsigned long)value;
            put_number(sink, value < 0 ? 0u - bits : bits, value < 0, 10, &conversion);
            break;
        }
        case 'u':
        case 'x': {
            const unsigned long value = is_long ? va_arg(arguments, unsigned long)
                                                : va_arg(arguments, unsigned);
            put_number(sink, value, false, *format == 'u' ? 10 : 16, &conversion);
            break;
        }
        case '\0':
            return;
        default:
            /* A literal %, or a conversion that is not known: shown as it stands. */
            if (*format != '%')
                sink('%');
            sink(*format);
        }
    }
}
