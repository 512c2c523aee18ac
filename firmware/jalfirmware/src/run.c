#include "run.h"

#include "clock.h"
#include "mailbox.h"

/* Per call of run_poll, so that commands are answered between; the engine's FIFOs hold 64. */
#define BATCH 16u

/* How often progress is looked at. */
#define LOOK_MS 1u

static struct {
    bool active;
    struct image image;
    uint32_t prompt_tokens;
    uint32_t pushed;
    uint32_t generate_count;
    uint32_t head;
    uint32_t last_token;
    uint64_t hang_cycles;
    /* The last look at the engine's progress, and when there was some. */
    struct deadline next_look;
    uint32_t progress;
    uint64_t progress_at;
} run;

bool run_is_active(void)
{
    return run.active;
}

uint32_t run_ring_room(void)
{
    const uint32_t used = run.head - mailbox_read(FIELD_OUTPUT_TAIL);
    /* A tail in front of the head is the host's mistake; the ring then counts as full. */
    return used <= MAILBOX_RING_ENTRIES ? MAILBOX_RING_ENTRIES - used : 0;
}

void run_copy_counters(void)
{
    engine_latch_counters();
    for (uint32_t i = 0; i < COUNTER_COUNT; i++)
        for (uint32_t half = 0; half < 2; half++)
            mailbox_write(FIELD_COUNTERS + 8u * i + 4u * half, engine_counter(i, half));
}

static void finish(enum jal_result result, uint32_t detail)
{
    run_copy_counters();
    run.active = false;
    mailbox_write(FIELD_RUN_RESULT, result);
    mailbox_write(FIELD_RUN_DETAIL, detail);
}

static enum jal_result check(const struct image *image, const struct run_request *request,
                             uint32_t *argument, uint32_t *limit)
{
    const uint32_t context = image->model.context;
    const uint32_t position = request->engine.position;
    *argument = 2;
    *limit = context - 1u;
    if (position >= context)
        return RESULT_BAD_ARGUMENT;
    const uint32_t left = context - position;
    *argument = 0;
    *limit = left < MAILBOX_PROMPT_CAPACITY ? left : MAILBOX_PROMPT_CAPACITY;
    if (request->prompt_tokens == 0 || request->prompt_tokens > *limit)
        return RESULT_BAD_ARGUMENT;
    *argument = 1;
    *limit = 1;
    if (request->engine.generate_count == 0)
        return RESULT_BAD_ARGUMENT;
    return RESULT_OK;
}

static void push_prompt(void)
{
    for (uint32_t i = 0; i < BATCH && run.pushed < run.prompt_tokens; i++) {
        if (!engine_state().prompt_ready)
            return;
        const uint32_t token = mailbox_read(FIELD_PROMPT + 4u * run.pushed);
        run.pushed++;
        engine_push_prompt(token, run.pushed == run.prompt_tokens);
        mailbox_write(FIELD_PROGRESS, run.pushed);
    }
}

enum jal_result run_start(const struct image *image, const struct run_request *request,
                          uint32_t *argument, uint32_t *limit)
{
    const enum jal_result result = check(image, request, argument, limit);
    if (result != RESULT_OK)
        return result;
    run.active = true;
    run.image = *image;
    run.prompt_tokens = request->prompt_tokens;
    run.generate_count = request->engine.generate_count;
    run.pushed = 0;
    run.head = 0;
    mailbox_write(FIELD_OUTPUT_TAIL, 0);
    mailbox_write(FIELD_OUTPUT_HEAD, 0);
    mailbox_write(FIELD_PROGRESS, 0);
    mailbox_write(FIELD_RUN_RESULT, RESULT_OK);
    mailbox_write(FIELD_RUN_DETAIL, 0);
    mailbox_write(FIELD_RUN_ID, mailbox_read(FIELD_RUN_ID) + 1u);
    engine_start(&run.image.model, &request->engine);
    push_prompt();
    const uint32_t hang_ms = request->hang_ms ? request->hang_ms : MAILBOX_DEFAULT_HANG_MS;
    run.hang_cycles = clock_from_ms(hang_ms);
    run.next_look = deadline_in_ms(LOOK_MS);
    run.progress = engine_progress();
    run.progress_at = clock_now();
    return RESULT_OK;
}

/* Moves sampled tokens to the ring; returns whether some had to stay for want of room. */
static bool drain_outputs(void)
{
    uint32_t room = run_ring_room();
    while (engine_state().output_valid) {
        if (room == 0)
            return true;
        const struct engine_sample sample = engine_take_sample();
        const uint32_t entry = FIELD_OUTPUT_RING +
                               4u * MAILBOX_RING_ENTRY_WORDS * (run.head % MAILBOX_RING_ENTRIES);
        mailbox_write(entry, sample.token);
        mailbox_write(entry + 4u, sample.cycles_low);
        mailbox_write(entry + 8u, sample.cycles_high);
        mailbox_write(entry + 12u, run.head);
        run.last_token = sample.token;
        run.head++;
        room--;
        /* Only now, so that the host never sees an entry that is not complete. */
        mailbox_write(FIELD_OUTPUT_HEAD, run.head);
    }
    return false;
}

static bool is_stop_token(uint32_t token)
{
    for (uint32_t i = 0; i < IMAGE_STOP_TOKENS && i < run.image.model.stop_tokens; i++)
        if (run.image.model.stop_token[i] == token)
            return true;
    return false;
}

/* Why an engine that rests without an error has ended the run. */
static enum jal_result end_of_run(void)
{
    if (run.head > 0 && is_stop_token(run.last_token))
        return RESULT_STOP_TOKEN;
    return run.head >= run.generate_count ? RESULT_OK : RESULT_CONTEXT_FULL;
}

/* Whether the engine has made no progress for too long. */
static bool is_hung(bool host_is_slow)
{
    if (!deadline_passed(run.next_look))
        return false;
    run.next_look = deadline_in_ms(LOOK_MS);
    const uint32_t progress = engine_progress();
    const uint64_t now = clock_now();
    if (progress != run.progress || host_is_slow) {
        run.progress = progress;
        run.progress_at = now;
    }
    return now - run.progress_at > run.hang_cycles;
}

void run_poll(void)
{
    if (!run.active)
        return;
    push_prompt();
    /* Before the outputs: what a resting engine has left is then all there is. */
    const struct engine_state state = engine_state();
    const bool host_is_slow = drain_outputs();
    if (host_is_slow || state.busy) {
        if (is_hung(host_is_slow)) {
            const uint32_t detail = state.error;
            const enum jal_result reset = engine_reset();
            finish(reset == RESULT_OK ? RESULT_WATCHDOG : reset, detail);
        }
    } else if (state.error != 0) {
        finish(RESULT_ENGINE_ERROR, state.error);
    } else {
        finish(end_of_run(), 0);
    }
}

enum jal_result run_stop(void)
{
    if (!run.active)
        return RESULT_OK;
    enum jal_result result = engine_stop();
    (void)drain_outputs();
    /* What does not rest by itself is made to; the tokens so far are good. */
    if (result != RESULT_OK)
        result = engine_reset();
    finish(result == RESULT_OK ? RESULT_STOPPED : result, 0);
    return result;
}
