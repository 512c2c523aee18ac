/* Generation: feeds the prompt, moves sampled tokens into the output ring, watches the engine. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "engine.h"
#include "image.h"
#include "result.h"

struct run_request {
    struct engine_run engine;
    uint32_t prompt_tokens;
    uint32_t hang_ms;
};

/* Starts a run. On RESULT_BAD_ARGUMENT *argument is the argument's index and *limit its limit. */
MUST_USE enum jal_result run_start(const struct image *image, const struct run_request *request,
                                   uint32_t *argument, uint32_t *limit);

/* Goes on with a run, if there is one; does not wait. */
void run_poll(void);

/* Ends a run, if there is one. */
MUST_USE enum jal_result run_stop(void);

bool run_is_active(void);

/* Free entries of the output ring. */
uint32_t run_ring_room(void);

/* Copies the engine's counters to the mailbox. */
void run_copy_counters(void);
