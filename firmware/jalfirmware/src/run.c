#include "run.h"

#include "check.h"
#include "clock.h"
#include "mailbox.h"

/* Per call of run_poll, so that commands are answered between; the engine's FIFOs hold 64. */
#define BATCH 16u

/* How often progress is looked at. */
#define LOOK_MS 1u

/* As many as a word can name. */
#define STREAMS (UINT32_C(1) << MAILBOX_STREAM_BITS)

/* What a stream has drawn. */
struct stream {
    uint32_t samples;
    uint32_t last_token;
};

static struct {
    bool active;
    struct image image;
    uint32_t prompt_words;
    uint32_t prompt_check;
    uint32_t pushed;
    /* Of the words pushed so far. */
    uint32_t pushed_check;
    uint32_t id;
    /* Of the run's id: what the checks of its entries begin with. */
    uint32_t id_check;
    uint32_t generate_count;
    uint32_t stream_count;
    struct stream streams[STREAMS];
    uint32_t head;
    uint32_t tail;
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
    const uint32_t tail = mailbox_read(FIELD_OUTPUT_TAIL);
    if (mailbox_read(FIELD_OUTPUT_TAIL_INVERSE) == ~tail)
        run.tail = tail;
    const uint32_t used = run.head - run.tail;
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
    const uint32_t check = check_word(check_word(run.id_check, run.head), (uint32_t)result);
    mailbox_write(FIELD_RUN_CHECK, check_word(check, detail));
}

/* Number of the stream that a word of the prompt or of the output belongs to. */
static uint32_t stream_of(uint32_t word)
{
    return (word >> MAILBOX_STREAM_SHIFT) & (STREAMS - 1u);
}

/* Notes an argument and its limit; returns whether the argument exceeds it. */
static bool exceeds(struct run_refusal *refusal, enum run_argument argument, uint32_t value,
                    uint32_t limit)
{
    refusal->argument = argument;
    refusal->limit = limit;
    return value > limit;
}

/* Whether the prompt has all streams in turn, and none of them more tokens than `most`: the engine
 * would wait for what is missing. */
static bool prompt_is_whole(uint32_t words, uint32_t streams, uint32_t most)
{
    uint32_t stream = 0;
    uint32_t tokens = 0;
    for (uint32_t i = 0; i < words; i++) {
        const uint32_t word = mailbox_read(FIELD_PROMPT + 4u * i);
        tokens++;
        if (stream_of(word) != stream || tokens > most)
            return false;
        if (word & MAILBOX_PROMPT_FINAL) {
            stream++;
            tokens = 0;
        }
    }
    return stream == streams && tokens == 0;
}

/* Whether the prompt is what the host has sent. */
static bool prompt_is_intact(const struct run_request *request)
{
    uint32_t check = 0;
    for (uint32_t i = 0; i < request->prompt_words; i++)
        check = check_word(check, mailbox_read(FIELD_PROMPT + 4u * i));
    return check == request->prompt_check;
}

/* Whether logits can be written, and there is room for them. */
static enum jal_result check_logits(const struct image *image, const struct engine_run *engine,
                                    struct run_refusal *refusal)
{
    refusal->argument = RUN_DRAFTS;
    refusal->limit = MAILBOX_RUN_LOGITS - 1u;
    if ((engine_formats() & ABILITY_LOGITS) == 0)
        return RESULT_BAD_ARGUMENT;
    if (exceeds(refusal, RUN_STREAMS, engine->streams, 1u))
        return RESULT_BAD_ARGUMENT;
    refusal->argument = RUN_DRAFTS;
    return image_has_room_for_logits(image) ? RESULT_OK : RESULT_DOES_NOT_FIT;
}

static enum jal_result check(const struct image *image, const struct run_request *request,
                             struct run_refusal *refusal)
{
    const struct engine_run *engine = &request->engine;
    const uint32_t context = image->model.context;
    const uint32_t rows = engine_token_rows();
    const bool has_noise = (engine_formats() & ABILITY_NOISE) != 0;
    const uint32_t most_drafts = engine->streams == 1u && !engine->logits_base ? rows - 1u : 0u;
    if (exceeds(refusal, RUN_POSITION, engine->position, context - 1u) ||
        exceeds(refusal, RUN_STREAMS, engine->streams, rows) ||
        exceeds(refusal, RUN_DRAFTS, engine->drafts, most_drafts) ||
        (!has_noise && exceeds(refusal, RUN_INVERSE_TEMPERATURE, engine->inverse_temperature, 0)))
        return RESULT_BAD_ARGUMENT;
    if (exceeds(refusal, RUN_STREAMS, engine->streams, image_caches(image, engine->streams)))
        return RESULT_DOES_NOT_FIT;
    if (engine->logits_base) {
        const enum jal_result result = check_logits(image, engine, refusal);
        if (result != RESULT_OK)
            return result;
    }
    if (exceeds(refusal, RUN_PROMPT_WORDS, request->prompt_words, MAILBOX_PROMPT_CAPACITY))
        return RESULT_BAD_ARGUMENT;
    if (!prompt_is_intact(request))
        return RESULT_PROMPT_DAMAGED;
    refusal->limit = context - engine->position;
    if (!prompt_is_whole(request->prompt_words, engine->streams, refusal->limit))
        return RESULT_BAD_ARGUMENT;
    refusal->argument = RUN_SAMPLES;
    refusal->limit = 1;
    return engine->generate_count ? RESULT_OK : RESULT_BAD_ARGUMENT;
}

static void push_prompt(void)
{
    for (uint32_t i = 0; i < BATCH && run.pushed < run.prompt_words; i++) {
        if (!engine_state().prompt_ready)
            return;
        const uint32_t word = mailbox_read(FIELD_PROMPT + 4u * run.pushed);
        engine_push_prompt(word);
        run.pushed_check = check_word(run.pushed_check, word);
        run.pushed++;
        mailbox_write(FIELD_PROGRESS, run.pushed);
    }
}

/* Whether something wrote over the prompt after it was checked. */
static bool prompt_was_damaged(void)
{
    return run.pushed == run.prompt_words && run.pushed_check != run.prompt_check;
}

enum jal_result run_start(const struct image *image, const struct run_request *request,
                          struct run_refusal *refusal)
{
    const enum jal_result result = check(image, request, refusal);
    if (result != RESULT_OK)
        return result;
    run.active = true;
    run.image = *image;
    run.prompt_words = request->prompt_words;
    run.prompt_check = request->prompt_check;
    run.generate_count = request->engine.generate_count;
    run.stream_count = request->engine.streams;
    for (uint32_t i = 0; i < STREAMS; i++)
        run.streams[i] = (struct stream){0, 0};
    run.pushed = 0;
    run.pushed_check = 0;
    run.head = 0;
    run.tail = 0;
    run.id = mailbox_read(FIELD_RUN_ID) + 1u;
    run.id_check = check_word(0, run.id);
    mailbox_write(FIELD_OUTPUT_TAIL, 0);
    mailbox_write(FIELD_OUTPUT_TAIL_INVERSE, ~UINT32_C(0));
    mailbox_write(FIELD_OUTPUT_HEAD, 0);
    mailbox_write(FIELD_PROGRESS, 0);
    mailbox_write(FIELD_RUN_RESULT, RESULT_UNFINISHED);
    mailbox_write(FIELD_RUN_DETAIL, 0);
    mailbox_write(FIELD_RUN_ID, run.id);
    engine_start(&run.image.model, &request->engine);
    push_prompt();
    const uint32_t hang_ms = request->hang_ms ? request->hang_ms : MAILBOX_DEFAULT_HANG_MS;
    run.hang_cycles = clock_from_ms(hang_ms);
    run.next_look = deadline_in_ms(LOOK_MS);
    run.progress = engine_progress();
    run.progress_at = clock_now();
    return RESULT_OK;
}

static void note_sample(uint32_t word)
{
    struct stream *stream = &run.streams[stream_of(word)];
    stream->samples++;
    stream->last_token = word & ENGINE_TOKEN_MASK;
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
        mailbox_write(entry, sample.word);
        mailbox_write(entry + 4u, sample.cycles_low);
        mailbox_write(entry + 8u, sample.cycles_high);
        uint32_t check = check_word(check_word(run.id_check, run.head), sample.word);
        check = check_word(check_word(check, sample.cycles_low), sample.cycles_high);
        mailbox_write(entry + 12u, check);
        note_sample(sample.word);
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

static enum jal_result end_of_stream(const struct stream *stream)
{
    if (stream->samples > 0 && is_stop_token(stream->last_token))
        return RESULT_STOP_TOKEN;
    return stream->samples >= run.generate_count ? RESULT_OK : RESULT_CONTEXT_FULL;
}

/* Why an engine that rests without an error has ended the run. */
static enum jal_result end_of_run(void)
{
    uint32_t stopped = 0;
    for (uint32_t i = 0; i < run.stream_count; i++) {
        const enum jal_result end = end_of_stream(&run.streams[i]);
        if (end == RESULT_CONTEXT_FULL)
            return end;
        stopped += end == RESULT_STOP_TOKEN;
    }
    return stopped == run.stream_count ? RESULT_STOP_TOKEN : RESULT_OK;
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
    /* Whatever was written here by mistake does not stay. */
    mailbox_write(FIELD_OUTPUT_HEAD, run.head);
    mailbox_write(FIELD_RUN_ID, run.id);
    push_prompt();
    if (prompt_was_damaged()) {
        const enum jal_result reset = engine_reset();
        finish(reset == RESULT_OK ? RESULT_PROMPT_DAMAGED : reset, 0);
        return;
    }
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
