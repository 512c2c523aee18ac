/* The mailbox's words; see contract/mailbox.py for the protocol. */
#pragma once

#include <stdint.h>

#include "contract.h"
#include "mmio.h"

static inline uint32_t mailbox_read(uint32_t offset)
{
    return mmio_read32(MAILBOX_ORIGIN + offset);
}

static inline void mailbox_write(uint32_t offset, uint32_t value)
{
    mmio_write32(MAILBOX_ORIGIN + offset, value);
}

static inline uint32_t mailbox_argument(uint32_t index)
{
    return mailbox_read(FIELD_ARGUMENT_0 + 4u * index);
}

static inline void mailbox_respond(uint32_t index, uint32_t value)
{
    mailbox_write(FIELD_RESPONSE_0 + 4u * index, value);
}
