/* The CRC engine. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "result.h"

/* Starts a check of DRAM; offset: a multiple of 64, length: a multiple of 4 bytes. */
void crc_start(uint32_t offset, uint32_t length);

/* Whether the check is over; then *crc is set. */
bool crc_done(uint32_t *crc);

/* Starts a check and waits for its end. */
MUST_USE enum jal_result crc_calculate(uint32_t offset, uint32_t length, uint32_t *crc);
