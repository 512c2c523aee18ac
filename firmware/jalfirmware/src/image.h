/* The image in DRAM: its header, and what of it the engine has to know. */
#pragma once

#include <stdint.h>

#include "engine.h"
#include "result.h"

struct image {
    struct engine_model model;
    uint32_t instructions;
    uint32_t id[4];
};

/* Field `word` of the header, as it lies in DRAM. */
uint32_t image_word(uint32_t word);

/* Checks that there is a whole, undamaged header of this version. */
MUST_USE enum jal_result image_check_header(void);

/* What an image has too much of. */
struct image_excess {
    uint32_t word;
    uint32_t value;
    uint32_t limit;
};

/* Checks header and limits, copies the program to the engine and describes the image. */
MUST_USE enum jal_result image_load(struct image *image, struct image_excess *excess);
