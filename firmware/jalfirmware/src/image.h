/* The image in DRAM: its header, and what of it the engine has to know. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "engine.h"
#include "result.h"

struct image {
    struct engine_model model;
    uint32_t instructions;
    /* Of one sequence, and what DRAM has for all of them. */
    uint32_t kv_bytes;
    uint32_t kv_room;
    /* Where logits go, behind the first sequence's cache, and what DRAM needs to have to hold them:
     * bytes from the image's start. */
    uint32_t logits_offset;
    uint32_t logits_end;
    uint32_t id[4];
};

/* Field `word` of the header, as it lies in DRAM. */
uint32_t image_word(uint32_t word);

/* Checks that there is a whole, undamaged header of this version. */
MUST_USE enum jal_result image_check_header(void);

/* How many KV caches DRAM holds, one behind the other; counts up to `most`. */
uint32_t image_caches(const struct image *image, uint32_t most);

/* Whether DRAM holds a KV cache and logits. */
bool image_has_room_for_logits(const struct image *image);

/* What an image has too much of. */
struct image_excess {
    uint32_t word;
    uint32_t value;
    uint32_t limit;
};

/* Checks header and limits, copies the program to the engine and describes the image. */
MUST_USE enum jal_result image_load(struct image *image, struct image_excess *excess);
