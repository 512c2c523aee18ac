#include "engine.h"

#include "clock.h"
#include "dram.h"
#include "registers.h"

/* The engine rests within a few hundred cycles, once what it has asked DRAM for has arrived. */
#define REST_MS 2u

#define ENABLE_FLAG 0x80000000u

static enum jal_result wait_for_rest(void)
{
    const struct deadline limit = deadline_in_ms(REST_MS);
    while (engine_state().busy)
        if (deadline_passed(limit))
            return RESULT_ENGINE_TIMEOUT;
    return RESULT_OK;
}

enum jal_result engine_reset(void)
{
    mmio_write32(REGISTER(ENGINE_CONTROL), FLAG(ENGINE_CONTROL_RESET));
    return wait_for_rest();
}

enum jal_result engine_stop(void)
{
    mmio_write32(REGISTER(ENGINE_CONTROL), FLAG(ENGINE_CONTROL_STOP));
    return wait_for_rest();
}

void engine_write_program(uint32_t dram_offset, uint32_t words)
{
    mmio_write32(REGISTER(ENGINE_PROGRAM_ADDRESS), 0);
    for (uint32_t i = 0; i < words; i++)
        mmio_write32(REGISTER(ENGINE_PROGRAM_DATA), dram_read(dram_offset + 4u * i));
}

void engine_write_drafts(uint32_t dram_offset, uint32_t words)
{
#ifdef CSR_ENGINE_DRAFT_DATA_ADDR
    /* Entries of the image before become empty; behind a reset nobody knows how many there are. */
    static uint32_t unused;
    const uint32_t end = DRAFT_TABLE_WORDS - unused;
    mmio_write32(REGISTER(ENGINE_DRAFT_ADDRESS), 0);
    for (uint32_t i = 0; i < words || i < end; i++)
        mmio_write32(REGISTER(ENGINE_DRAFT_DATA), i < words ? dram_read(dram_offset + 4u * i) : 0);
    unused = DRAFT_TABLE_WORDS - words;
#else
    (void)dram_offset;
    (void)words;
#endif
}

static void write_stop_tokens(const struct engine_model *model)
{
    static const uint32_t registers[IMAGE_STOP_TOKENS] = {
        REGISTER(ENGINE_STOP_TOKEN0),
        REGISTER(ENGINE_STOP_TOKEN1),
        REGISTER(ENGINE_STOP_TOKEN2),
        REGISTER(ENGINE_STOP_TOKEN3),
    };
    for (uint32_t i = 0; i < IMAGE_STOP_TOKENS; i++) {
        const bool used = i < model->stop_tokens;
        mmio_write32(registers[i], used ? ENABLE_FLAG | (model->stop_token[i] & ENGINE_TOKEN_MASK) : 0);
    }
}

void engine_start(const struct engine_model *model, const struct engine_run *run)
{
    mmio_write32(REGISTER(ENGINE_TAPE_BASE), model->tape_base);
    mmio_write32(REGISTER(ENGINE_KV_BASE), model->kv_base);
    mmio_write32(REGISTER(ENGINE_CONTEXT), model->context);
    write_stop_tokens(model);
    mmio_write32(REGISTER(ENGINE_POSITION), run->position);
    mmio_write32(REGISTER(ENGINE_GENERATE_COUNT), run->generate_count);
#ifdef CSR_ENGINE_SEED_ADDR
    mmio_write32(REGISTER(ENGINE_INVERSE_TEMPERATURE), run->inverse_temperature);
    mmio_write32(REGISTER(ENGINE_SEED), run->seed);
#endif
    mmio_write32(REGISTER(ENGINE_STREAMS), run->streams);
    mmio_write32(REGISTER(ENGINE_DRAFTS), run->drafts);
#ifdef CSR_ENGINE_LOGITS_BASE_ADDR
    mmio_write32(REGISTER(ENGINE_LOGITS_BASE),
                 run->logits_base ? run->logits_base | ENGINE_WRITES_LOGITS : 0);
#endif
    mmio_write32(REGISTER(ENGINE_CONTROL), FLAG(ENGINE_CONTROL_START));
}

struct engine_state engine_state(void)
{
    const uint32_t status = mmio_read32(REGISTER(ENGINE_STATUS));
    return (struct engine_state){
        .status = status,
        .busy = FIELD_OF(status, ENGINE_STATUS_BUSY) != 0,
        .prompt_ready = FIELD_OF(status, ENGINE_STATUS_PROMPT_READY) != 0,
        .output_valid = FIELD_OF(status, ENGINE_STATUS_OUTPUT_VALID) != 0,
        .error = FIELD_OF(status, ENGINE_STATUS_ERROR),
    };
}

void engine_push_prompt(uint32_t word)
{
    mmio_write32(REGISTER(ENGINE_PROMPT), word);
}

struct engine_sample engine_take_sample(void)
{
    const struct engine_sample sample = {
        .word = mmio_read32(REGISTER(ENGINE_OUTPUT_TOKEN)),
        .cycles_low = mmio_read32(REGISTER(ENGINE_OUTPUT_CYCLES_LOW)),
        .cycles_high = mmio_read32(REGISTER(ENGINE_OUTPUT_CYCLES_HIGH)),
    };
    mmio_write32(REGISTER(ENGINE_OUTPUT_POP), 1);
    return sample;
}

void engine_latch_counters(void)
{
    mmio_write32(REGISTER(ENGINE_COUNTERS_LATCH), 1);
    /* The copies take 13 cycles, which two accesses of the bus do not. */
    for (uint32_t i = 0; i < 3; i++)
        (void)mmio_read32(REGISTER(ENGINE_STATUS));
}

uint32_t engine_counter(uint32_t index, uint32_t half)
{
#define COUNTER(name) {REGISTER(ENGINE_##name##_LOW), REGISTER(ENGINE_##name##_HIGH)}
    static const uint32_t registers[COUNTER_COUNT][2] = {
        COUNTER(CYCLES),       COUNTER(BUSY),       COUNTER(STALL_WEIGHTS), COUNTER(STALL_KV),
        COUNTER(STALL_VECTOR), COUNTER(STALL_HOST), COUNTER(DRAM_WORDS),    COUNTER(KV_WORDS),
        COUNTER(SATURATIONS),  COUNTER(TOKENS),
    };
#undef COUNTER
    return mmio_read32(registers[index][half]);
}

uint32_t engine_limit(uint32_t index)
{
    static const uint32_t registers[LIMIT_COUNT] = {
        REGISTER(ENGINE_MAX_DIM),   REGISTER(ENGINE_MAX_HIDDEN),   REGISTER(ENGINE_MAX_HEADS),
        REGISTER(ENGINE_MAX_KV_HEADS), REGISTER(ENGINE_MAX_GROUP), REGISTER(ENGINE_MAX_HEAD_DIM),
        REGISTER(ENGINE_MAX_CONTEXT),  REGISTER(ENGINE_MAX_INSTRUCTIONS),
    };
    return mmio_read32(registers[index]);
}

uint32_t engine_lanes(void)
{
    return mmio_read32(REGISTER(ENGINE_LANES));
}

uint32_t engine_token_rows(void)
{
    return mmio_read32(REGISTER(ENGINE_TOKEN_ROWS));
}

uint32_t engine_formats(void)
{
    return mmio_read32(REGISTER(ENGINE_FORMATS));
}

uint32_t engine_progress(void)
{
    engine_latch_counters();
    return mmio_read32(REGISTER(ENGINE_DRAM_WORDS_LOW)) + mmio_read32(REGISTER(ENGINE_TOKENS_LOW));
}

enum jal_result engine_check_registers(void)
{
    static const uint32_t patterns[] = {0xFFFFFFFFu, 0u, 0xA5C35A3Cu};
    for (uint32_t i = 0; i < sizeof patterns / sizeof patterns[0]; i++) {
        mmio_write32(REGISTER(ENGINE_KV_BASE), patterns[i]);
        mmio_write32(REGISTER(ENGINE_TAPE_BASE), ~patterns[i]);
        if (mmio_read32(REGISTER(ENGINE_KV_BASE)) != patterns[i] ||
            mmio_read32(REGISTER(ENGINE_TAPE_BASE)) != ~patterns[i])
            return RESULT_FAILED;
    }
    return RESULT_OK;
}
