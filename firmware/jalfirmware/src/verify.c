#include "verify.h"

#include "clock.h"
#include "crc.h"
#include "dram.h"
#include "image.h"
#include "mailbox.h"
#include "registers.h"

/* A chunk is 16384 cycles of the CRC engine; the engine never competes for DRAM meanwhile. */
#define CHUNK_MS 5u

static struct {
    uint32_t first;
    uint32_t next;
    uint32_t end;
    uint32_t bad;
    struct deadline limit;
} job;

static uint32_t chunk_offset(uint32_t chunk)
{
    return image_word(PREAMBLE_HEADER_BYTES) + chunk * IMAGE_CHUNK_BYTES;
}

static void start_chunk(void)
{
    const uint32_t offset = chunk_offset(job.next);
    const uint32_t left = image_word(HEADER_BLOB_BYTES) - offset;
    crc_start(IMAGE_OFFSET + offset, left < IMAGE_CHUNK_BYTES ? left : IMAGE_CHUNK_BYTES);
    job.limit = deadline_in_ms(CHUNK_MS);
}

/* The header's CRC holds, so this only fails for an image that was made wrongly. */
static bool table_is_consistent(uint32_t chunks)
{
    const uint32_t header = image_word(PREAMBLE_HEADER_BYTES);
    const uint32_t blob = image_word(HEADER_BLOB_BYTES);
    const uint32_t table = image_word(HEADER_CRC_TABLE_OFFSET);
    return blob >= header && blob <= BUILD_DRAM_BYTES - IMAGE_OFFSET &&
           chunks == (blob - header + IMAGE_CHUNK_BYTES - 1u) / IMAGE_CHUNK_BYTES &&
           table <= header && chunks <= (header - table) / 4u;
}

enum jal_result verify_start(uint32_t first, uint32_t count, uint32_t *limit)
{
    const enum jal_result result = image_check_header();
    if (result != RESULT_OK)
        return result;
    const uint32_t chunks = image_word(HEADER_CHUNKS);
    if (!table_is_consistent(chunks))
        return RESULT_HEADER_DAMAGED;
    *limit = chunks;
    if (first > chunks || count > chunks - first)
        return RESULT_BAD_ARGUMENT;
    job.first = first;
    job.next = first;
    job.end = count == 0 ? chunks : first + count;
    job.bad = 0;
    if (job.next < job.end)
        start_chunk();
    return RESULT_OK;
}

static void note_chunk(uint32_t crc)
{
    const uint32_t expected = dram_read(IMAGE_OFFSET + image_word(HEADER_CRC_TABLE_OFFSET) +
                                        4u * job.next);
    if (crc != expected) {
        if (job.bad < MAILBOX_MAX_BAD_CHUNKS)
            mailbox_write(FIELD_BAD_CHUNKS + 4u * job.bad, job.next);
        job.bad++;
    }
    job.next++;
    mailbox_write(FIELD_PROGRESS, job.next - job.first);
}

bool verify_poll(enum jal_result *result, uint32_t *checked, uint32_t *bad)
{
    *result = RESULT_OK;
    if (job.next < job.end) {
        uint32_t crc = 0;
        if (crc_done(&crc)) {
            note_chunk(crc);
            if (job.next < job.end) {
                start_chunk();
                return false;
            }
        } else if (!deadline_passed(job.limit)) {
            return false;
        } else {
            *result = RESULT_CRC_TIMEOUT;
        }
    }
    *checked = job.next - job.first;
    *bad = job.bad;
    if (*result == RESULT_OK && job.bad > 0)
        *result = RESULT_CRC_MISMATCH;
    return true;
}
