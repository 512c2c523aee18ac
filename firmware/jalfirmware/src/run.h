/* Generation: feeds the prompt, moves sampled tokens into the output ring, watches the engine. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "engine.h"
#include "image.h"
#include "result.h"

/* The command's arguments, in their order. */
enum run_argument {
    RUN_PROMPT_WORDS,
    RUN_SAMPLES,
    RUN_POSITION,
    RUN_INVERSE_TEMPERATURE,
    RUN_SEED,
    RUN_HANG_MS,
    RUN_STREAMS,
    RUN_DRAFTS,
    RUN_PROMPT_CHECK,
};

/* Beside the drafts, where logits are asked for. */
#define RUN_DRAFTS_MASK (~MAILBOX_RUN_LOGITS)

struct run_request {
    struct engine_run engine;
    uint32_t prompt_words;
    uint32_t prompt_check;
    uint32_t hang_ms;
};

/* The argument for which a run was refused, and its limit. */
struct run_refusal {
    uint32_t argument;
    uint32_t limit;
};

/* Starts a run; fills *refusal on RESULT_BAD_ARGUMENT and RESULT_DOES_NOT_FIT. */
MUST_USE enum jal_result run_start(const struct image *image, const struct run_request *request,
                                   struct run_refusal *refusal);

/* Goes on with a run, if there is one; does not wait. */
void run_poll(void);

/* Ends a run, if there is one. */
MUST_USE enum jal_result run_stop(void);

bool run_is_active(void);

/* Free entries of the output ring. */
uint32_t run_ring_room(void);

/* Copies the engine's counters to the mailbox. */
void run_copy_counters(void);
