/* Checks of what goes over a link: CRC-32 of words, as contract/mailbox.py has it. */
#pragma once

#include <stdint.h>

/* Of one more word behind those that gave `check`; 0 before the first. */
uint32_t check_word(uint32_t check, uint32_t word);
