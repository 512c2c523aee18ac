#include "image.h"

#include "crc.h"
#include "dram.h"
#include "registers.h"

uint32_t image_word(uint32_t word)
{
    return dram_read(IMAGE_OFFSET + 4u * word);
}

/* Bytes of DRAM from the image's start. */
static uint32_t room(void)
{
    return BUILD_DRAM_BYTES - IMAGE_OFFSET;
}

enum jal_result image_check_header(void)
{
    cpu_discard_cached_data();
    if (image_word(PREAMBLE_MAGIC) != IMAGE_MAGIC || image_word(PREAMBLE_VERSION) != IMAGE_VERSION)
        return RESULT_NO_IMAGE;
    const uint32_t length = image_word(PREAMBLE_HEADER_BYTES);
    if (length < IMAGE_PAGE_BYTES || length % IMAGE_PAGE_BYTES != 0 || length > room())
        return RESULT_HEADER_DAMAGED;
    uint32_t crc = 0;
    const enum jal_result result = crc_calculate(IMAGE_OFFSET + IMAGE_PREAMBLE_BYTES,
                                                 length - IMAGE_PREAMBLE_BYTES, &crc);
    if (result != RESULT_OK)
        return result;
    return crc == image_word(PREAMBLE_HEADER_CRC) ? RESULT_OK : RESULT_HEADER_DAMAGED;
}

static enum jal_result check_limits(struct image_excess *excess)
{
    static const uint32_t words[LIMIT_COUNT] = {
        HEADER_DIM,   HEADER_HIDDEN,   HEADER_HEADS,   HEADER_KV_HEADS,
        HEADER_GROUP, HEADER_HEAD_DIM, HEADER_CONTEXT, HEADER_INSTRUCTIONS,
    };
    for (uint32_t i = 0; i < LIMIT_COUNT; i++) {
        excess->word = words[i];
        excess->value = image_word(words[i]);
        excess->limit = engine_limit(i);
        if (excess->value > excess->limit)
            return RESULT_LIMIT_EXCEEDED;
    }
    return RESULT_OK;
}

/* Whether `length` bytes at `offset` lie inside `end`, and start where an engine word may. */
static bool is_inside(uint32_t offset, uint32_t length, uint32_t end)
{
    return offset % IMAGE_ALIGNMENT == 0 && offset <= end && length <= end - offset;
}

static enum jal_result check_extents(void)
{
    const uint32_t blob = image_word(HEADER_BLOB_BYTES);
    const uint32_t program = 4u * INSTRUCTION_WORDS * image_word(HEADER_INSTRUCTIONS);
    if (blob > room() || !is_inside(image_word(HEADER_PROGRAM_OFFSET), program, blob) ||
        !is_inside(image_word(HEADER_TAPE_OFFSET), 0, blob) ||
        image_word(HEADER_DRAFT_WORDS) > DRAFT_TABLE_WORDS ||
        !is_inside(image_word(HEADER_DRAFTS_OFFSET), 4u * image_word(HEADER_DRAFT_WORDS), blob) ||
        !is_inside(image_word(HEADER_KV_OFFSET), image_word(HEADER_KV_BYTES), room()))
        return RESULT_DOES_NOT_FIT;
    return RESULT_OK;
}

static enum jal_result check_build(struct image_excess *excess)
{
    if (image_word(HEADER_LANES) != engine_lanes())
        return RESULT_WRONG_LANES;
    if (image_word(HEADER_ISA_VERSION) != ISA_VERSION)
        return RESULT_WRONG_ISA;
    excess->word = HEADER_FORMATS;
    excess->value = image_word(HEADER_FORMATS);
    excess->limit = engine_formats();
    return (excess->value & ~excess->limit) != 0 ? RESULT_WRONG_FORMAT : RESULT_OK;
}

static uint32_t aligned(uint32_t bytes)
{
    return (bytes + IMAGE_ALIGNMENT - 1u) / IMAGE_ALIGNMENT * IMAGE_ALIGNMENT;
}

static void describe(struct image *image)
{
    const uint32_t lanes = image_word(HEADER_LANES);
    image->instructions = image_word(HEADER_INSTRUCTIONS);
    image->kv_bytes = image_word(HEADER_KV_BYTES);
    image->logits_offset = aligned(image_word(HEADER_KV_OFFSET) + image->kv_bytes);
    image->logits_end = image->logits_offset + aligned(4u * image_word(HEADER_VOCABULARY));
    image->kv_room = room() - image_word(HEADER_KV_OFFSET);
    image->model.tape_base = (IMAGE_OFFSET + image_word(HEADER_TAPE_OFFSET)) / lanes;
    image->model.kv_base = (IMAGE_OFFSET + image_word(HEADER_KV_OFFSET)) / lanes;
    image->model.context = image_word(HEADER_CONTEXT);
    image->model.stop_tokens = image_word(HEADER_STOP_TOKENS);
    for (uint32_t i = 0; i < IMAGE_STOP_TOKENS; i++)
        image->model.stop_token[i] = image_word(HEADER_STOP_TOKEN_0 + i);
    for (uint32_t i = 0; i < 4; i++)
        image->id[i] = image_word(HEADER_IMAGE_ID_0 + i);
}

bool image_has_room_for_logits(const struct image *image)
{
    return image->logits_end <= room();
}

uint32_t image_caches(const struct image *image, uint32_t most)
{
    uint32_t count = 0;
    for (uint32_t left = image->kv_room; count < most && left >= image->kv_bytes; count++)
        left -= image->kv_bytes;
    return count;
}

enum jal_result image_load(struct image *image, struct image_excess *excess)
{
    enum jal_result result = image_check_header();
    if (result == RESULT_OK)
        result = check_build(excess);
    if (result == RESULT_OK)
        result = check_limits(excess);
    if (result == RESULT_OK)
        result = check_extents();
    if (result == RESULT_OK)
        result = engine_reset();
    if (result != RESULT_OK)
        return result;
    describe(image);
    engine_write_program(IMAGE_OFFSET + image_word(HEADER_PROGRAM_OFFSET),
                         INSTRUCTION_WORDS * image->instructions);
    engine_write_drafts(IMAGE_OFFSET + image_word(HEADER_DRAFTS_OFFSET),
                        image_word(HEADER_DRAFT_WORDS));
    return RESULT_OK;
}
