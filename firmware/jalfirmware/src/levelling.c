#include "levelling.h"

#include <stdbool.h>
#include <stdint.h>

#include "mailbox.h"

/* The longest line that tells a result has 40 characters, and as many delays as there are. */
#define LINE_BYTES 160u

static char line[LINE_BYTES];
static uint32_t length;
static uint32_t kept;

static bool holds(const char *text)
{
    for (uint32_t start = 0; start < length; start++) {
        uint32_t i = 0;
        while (text[i] != '\0' && start + i < length && line[start + i] == text[i])
            i++;
        if (text[i] == '\0')
            return true;
    }
    return false;
}

static void keep(char character)
{
    /* The last byte stays zero. */
    if (kept >= MAILBOX_LEVELLING_BYTES - 1u)
        return;
    const uint32_t field = FIELD_LEVELLING + (kept & ~3u);
    mailbox_write(field, mailbox_read(field) | (uint32_t)(uint8_t)character << 8u * (kept % 4u));
    kept++;
}

/* Results of read and write levelling; scans of what was not chosen are many, and dropped. */
void levelling_take(char character)
{
    if (character != '\n') {
        if (length < LINE_BYTES)
            line[length++] = character;
        return;
    }
    if (holds("best") || holds("delay: ")) {
        for (uint32_t i = 0; i < length; i++)
            keep(line[i]);
        keep('\n');
    }
    length = 0;
}
