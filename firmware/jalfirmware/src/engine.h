/* The decode engine's registers. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "result.h"

/* A token in a word that holds its stream, too. */
#define ENGINE_TOKEN_MASK ((UINT32_C(1) << MAILBOX_STREAM_SHIFT) - 1u)

/* What a run starts with. */
struct engine_run {
    uint32_t position;
    uint32_t generate_count;
    uint32_t inverse_temperature;
    uint32_t seed;
    uint32_t streams;
    uint32_t drafts;
    /* In engine words from the start of DRAM; 0 for none. */
    uint32_t logits_base;
};

/* What the image says. Bases are in engine words from the start of DRAM. */
struct engine_model {
    uint32_t tape_base;
    uint32_t kv_base;
    uint32_t context;
    uint32_t stop_tokens;
    uint32_t stop_token[IMAGE_STOP_TOKENS];
};

/* What the engine says, all at one moment. */
struct engine_state {
    uint32_t status;
    bool busy;
    bool prompt_ready;
    bool output_valid;
    uint32_t error;
};

struct engine_sample {
    /* Token and stream. */
    uint32_t word;
    uint32_t cycles_low;
    uint32_t cycles_high;
};

/* Puts the engine into its initial state; what it did is lost. */
MUST_USE enum jal_result engine_reset(void);

/* Ends what the engine does, in good order: tokens that it has sampled can still be taken. */
MUST_USE enum jal_result engine_stop(void);

/* Copies a program from DRAM; `words` 32-bit words. */
void engine_write_program(uint32_t dram_offset, uint32_t words);

/* Fills the drafter's table, if the engine has a drafter; entries behind `words` become empty. */
void engine_write_drafts(uint32_t dram_offset, uint32_t words);

void engine_start(const struct engine_model *model, const struct engine_run *run);

struct engine_state engine_state(void);

/* Takes a word of the mailbox's prompt: the engine's have the same form. */
void engine_push_prompt(uint32_t word);

struct engine_sample engine_take_sample(void);

/* Makes all counters of this moment readable. */
void engine_latch_counters(void);

/* 32-bit half `half` (0: low) of counter `index` of the contract. */
uint32_t engine_counter(uint32_t index, uint32_t half);

/* The engine's limit `index` of the contract. */
uint32_t engine_limit(uint32_t index);

uint32_t engine_lanes(void);

uint32_t engine_token_rows(void);

/* Formats of matrices, as bits. */
uint32_t engine_formats(void);

/* The engine's own measure of progress: words from DRAM and passes, added up. */
uint32_t engine_progress(void);

/* Checks that registers keep what is written; only while the engine rests. */
MUST_USE enum jal_result engine_check_registers(void);
