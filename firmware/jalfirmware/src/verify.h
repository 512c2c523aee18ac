/* VERIFY_IMAGE: compares the image's chunks with the CRCs in its header, a piece at a time. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "result.h"

/* Checks the header and starts with chunk `first`; `count` 0 means all from there on. On
 * RESULT_BAD_ARGUMENT *limit is the number of chunks. */
MUST_USE enum jal_result verify_start(uint32_t first, uint32_t count, uint32_t *limit);

/* Goes on; true when all is checked, then *result, *checked and *bad are set. */
bool verify_poll(enum jal_result *result, uint32_t *checked, uint32_t *bad);
