#include "console.h"

#include <stdbool.h>
#include <stdint.h>

#include "commands.h"
#include "format.h"
#include "mailbox.h"
#include "registers.h"
#include "version.h"

/* Powers of two. */
#define OUTPUT_BYTES 1024u
#define LINE_BYTES 48u

/* Characters moved per call. */
#define BATCH 16u

static char output[OUTPUT_BYTES];
static uint32_t output_head;
static uint32_t output_tail;
static char line[LINE_BYTES];
static uint32_t line_length;

static void (*listening)(char character);

static void put(char character)
{
    if (listening)
        listening(character);
    if (output_head - output_tail < OUTPUT_BYTES)
        output[output_head++ % OUTPUT_BYTES] = character;
}

int console_printf(const char *format, ...)
{
    const uint32_t before = output_head;
    va_list arguments;
    va_start(arguments, format);
    format_text(put, format, arguments);
    va_end(arguments);
    return (int)(output_head - before);
}

void console_listen(void (*listener)(char character))
{
    listening = listener;
}

static void flush_output(void)
{
    for (uint32_t i = 0; i < BATCH && output_tail != output_head; i++) {
        if (mmio_read32(REGISTER(UART_TXFULL)))
            return;
        mmio_write32(REGISTER(UART_RXTX), (uint8_t)output[output_tail++ % OUTPUT_BYTES]);
    }
}

static const char *state_name(enum jal_state state)
{
    switch (state) {
    case STATE_BOOTING:
        return "booting";
    case STATE_READY:
        return "ready";
    case STATE_LOADED:
        return "loaded";
    case STATE_RUNNING:
        return "running";
    case STATE_CHECKING:
        return "checking";
    case STATE_FAULT:
        return "fault";
    }
    return "?";
}

static void show_identity(void)
{
    console_printf("jalfirmware %u.%u.%u, mailbox protocol %u, build %08x%08x\n",
                   FIRMWARE_VERSION >> 16, (FIRMWARE_VERSION >> 8) & 255u, FIRMWARE_VERSION & 255u,
                   MAILBOX_PROTOCOL, BUILD_FINGERPRINT_HIGH, BUILD_FINGERPRINT_LOW);
}

static void show_status(void)
{
    console_printf("%s, fault %lu, boots %lu, heartbeat %lu, run %lu ended with %lu (%lu)\n",
                   state_name(commands_state()), (unsigned long)mailbox_read(FIELD_FAULT),
                   (unsigned long)mailbox_read(FIELD_BOOTS),
                   (unsigned long)mailbox_read(FIELD_HEARTBEAT),
                   (unsigned long)mailbox_read(FIELD_RUN_ID),
                   (unsigned long)mailbox_read(FIELD_RUN_RESULT),
                   (unsigned long)mailbox_read(FIELD_RUN_DETAIL));
}

/* Takes a hexadecimal number, with or without 0x, and the blanks before it. */
static bool take_number(const char **text, uint32_t *value)
{
    const char *at = *text;
    while (*at == ' ')
        at++;
    if (at[0] == '0' && at[1] == 'x')
        at += 2;
    const char *start = at;
    *value = 0;
    for (;; at++) {
        uint32_t digit;
        if (*at >= '0' && *at <= '9')
            digit = (uint32_t)(*at - '0');
        else if (*at >= 'a' && *at <= 'f')
            digit = (uint32_t)(*at - 'a') + 10u;
        else
            break;
        *value = (*value << 4) | digit;
    }
    *text = at;
    return at != start;
}

#define MAX_READ_WORDS 64u

static void read_memory(const char *arguments)
{
    uint32_t address = 0;
    uint32_t words = 0;
    if (!take_number(&arguments, &address) || address % 4u != 0) {
        console_printf("read ADDRESS [WORDS], both hexadecimal, ADDRESS a multiple of 4\n");
        return;
    }
    if (!take_number(&arguments, &words))
        words = 1;
    cpu_discard_cached_data();
    for (uint32_t i = 0; i < words && i < MAX_READ_WORDS; i++)
        console_printf("%08lx: %08lx\n", (unsigned long)(address + 4u * i),
                       (unsigned long)mmio_read32(address + 4u * i));
}

static bool starts_with(const char *text, const char *word)
{
    while (*word != '\0')
        if (*text++ != *word++)
            return false;
    return *text == ' ' || *text == '\0';
}

static void execute(void)
{
    if (line[0] == '\0')
        return;
    if (starts_with(line, "ident"))
        show_identity();
    else if (starts_with(line, "status"))
        show_status();
    else if (starts_with(line, "read"))
        read_memory(&line[4]);
    else
        console_printf("commands: help, ident, status, read ADDRESS [WORDS]\n");
}

static void take_character(char character)
{
    if (character == '\r' || character == '\n') {
        line[line_length] = '\0';
        line_length = 0;
        execute();
    } else if (line_length < LINE_BYTES - 1u) {
        line[line_length++] = character;
    }
}

void console_poll(void)
{
    flush_output();
    if (mmio_read32(REGISTER(UART_RXEMPTY)))
        return;
    const uint32_t character = mmio_read32(REGISTER(UART_RXTX));
    /* Acknowledging the event takes the character out of the FIFO. */
    mmio_write32(REGISTER(UART_EV_PENDING), FLAG(UART_EV_PENDING_RX));
    take_character((char)character);
}
