#include "commands.h"

#include <stdbool.h>

#include "check.h"
#include "clock.h"
#include "crc.h"
#include "dram.h"
#include "engine.h"
#include "image.h"
#include "mailbox.h"
#include "memtest.h"
#include "registers.h"
#include "run.h"
#include "selftest.h"
#include "verify.h"
#include "version.h"
#include "watchdog.h"

static struct {
    enum jal_result fault;
    bool loaded;
    bool verifying;
    struct image image;
    /* Number of the command in hand or answered last. */
    uint32_t number;
    uint32_t command;
    uint32_t arguments[MAILBOX_ARGUMENTS];
} state;

enum jal_state commands_state(void)
{
    if (state.fault != RESULT_OK)
        return STATE_FAULT;
    if (state.verifying)
        return STATE_CHECKING;
    if (run_is_active())
        return STATE_RUNNING;
    return state.loaded ? STATE_LOADED : STATE_READY;
}

static void show_state(void)
{
    mailbox_write(FIELD_STATE, commands_state());
}

static void answer(enum jal_result result)
{
    show_state();
    mailbox_write(FIELD_RESULT, result);
    uint32_t check = check_word(check_word(0, state.number), (uint32_t)result);
    for (uint32_t i = 0; i < MAILBOX_RESPONSES; i++)
        check = check_word(check, mailbox_read(FIELD_RESPONSE_0 + 4u * i));
    mailbox_write(FIELD_ANSWER_CHECK, check);
    /* Last: it tells that everything else is valid. */
    mailbox_write(FIELD_ANSWERED, state.number);
}

static enum jal_result identify(void)
{
    mailbox_respond(0, MAILBOX_PROTOCOL);
    mailbox_respond(1, FIRMWARE_VERSION);
    mailbox_respond(2, BUILD_CLOCK_HZ);
    mailbox_respond(3, BUILD_DRAM_BYTES);
    mailbox_respond(4, IMAGE_OFFSET);
    mailbox_respond(5, BUILD_FINGERPRINT_LOW);
    mailbox_respond(6, BUILD_FINGERPRINT_HIGH);
    return RESULT_OK;
}

static enum jal_result load(void)
{
    struct image_excess excess = {0, 0, 0};
    state.loaded = false;
    const enum jal_result result = image_load(&state.image, &excess);
    if (result == RESULT_LIMIT_EXCEEDED || result == RESULT_WRONG_FORMAT) {
        mailbox_respond(0, excess.word);
        mailbox_respond(1, excess.value);
        mailbox_respond(2, excess.limit);
    }
    if (result != RESULT_OK)
        return result;
    state.loaded = true;
    mailbox_respond(0, state.image.instructions);
    mailbox_respond(1, state.image.model.context);
    for (uint32_t i = 0; i < 4; i++)
        mailbox_respond(2u + i, state.image.id[i]);
    return RESULT_OK;
}

static enum jal_result start_run(void)
{
    if (!state.loaded)
        return RESULT_NOT_LOADED;
    const uint32_t streams = state.arguments[RUN_STREAMS];
    const bool wants_logits = (state.arguments[RUN_DRAFTS] & MAILBOX_RUN_LOGITS) != 0;
    const uint32_t logits = wants_logits ? state.image.logits_offset : 0;
    const struct run_request request = {
        .engine =
            {
                .position = state.arguments[RUN_POSITION],
                .generate_count = state.arguments[RUN_SAMPLES],
                .inverse_temperature = state.arguments[RUN_INVERSE_TEMPERATURE],
                .seed = state.arguments[RUN_SEED],
                .streams = streams ? streams : 1u,
                .drafts = state.arguments[RUN_DRAFTS] & RUN_DRAFTS_MASK,
                .logits_base = logits ? (IMAGE_OFFSET + logits) / engine_lanes() : 0,
            },
        .prompt_words = state.arguments[RUN_PROMPT_WORDS],
        .prompt_check = state.arguments[RUN_PROMPT_CHECK],
        .hang_ms = state.arguments[RUN_HANG_MS],
    };
    struct run_refusal refusal = {0, 0};
    const enum jal_result result = run_start(&state.image, &request, &refusal);
    mailbox_respond(0, result == RESULT_OK ? mailbox_read(FIELD_RUN_ID) : refusal.argument);
    mailbox_respond(1, result == RESULT_OK ? logits : refusal.limit);
    return result;
}

static enum jal_result report_status(void)
{
    run_copy_counters();
    mailbox_respond(0, commands_state());
    mailbox_respond(1, run_ring_room());
    mailbox_respond(2, engine_state().status);
    const uint64_t now = clock_now();
    mailbox_respond(3, (uint32_t)now);
    mailbox_respond(4, (uint32_t)(now >> 32));
    return RESULT_OK;
}

static void stay_alive(void)
{
    watchdog_feed();
    mailbox_write(FIELD_HEARTBEAT, mailbox_read(FIELD_HEARTBEAT) + 1u);
}

static enum jal_result run_self_test(void)
{
    mailbox_write(FIELD_STATE, STATE_CHECKING);
    const struct self_test_report report = self_test(stay_alive);
    mailbox_respond(0, report.passed);
    mailbox_respond(1, report.done);
    mailbox_respond(2, report.address);
    mailbox_respond(3, report.expected);
    mailbox_respond(4, report.actual);
    return report.passed == report.done ? RESULT_OK : RESULT_FAILED;
}

static enum jal_result test_memory(void)
{
    const struct memory_request request = {
        .kind = state.arguments[0],
        .offset = state.arguments[1],
        .words = state.arguments[2],
        .seed = state.arguments[3],
        .range = state.arguments[4],
    };
    uint32_t limit = 0;
    const uint32_t refused = memory_refuse(&request, &limit);
    if (refused) {
        mailbox_respond(0, refused - 1u);
        mailbox_respond(1, limit);
        return RESULT_BAD_ARGUMENT;
    }
    state.loaded = false;
    mailbox_write(FIELD_STATE, STATE_CHECKING);
    const struct memory_report report = memory_test(&request, stay_alive);
    mailbox_respond(0, report.wrong);
    mailbox_respond(1, report.bits[0]);
    mailbox_respond(2, report.bits[1]);
    mailbox_respond(3, report.address);
    mailbox_respond(4, report.expected);
    mailbox_respond(5, report.actual);
    return report.wrong ? RESULT_FAILED : RESULT_OK;
}

static enum jal_result start_verify(void)
{
    uint32_t limit = 0;
    mailbox_write(FIELD_PROGRESS, 0);
    const enum jal_result result = verify_start(state.arguments[0], state.arguments[1], &limit);
    if (result == RESULT_BAD_ARGUMENT)
        mailbox_respond(1, limit);
    state.verifying = result == RESULT_OK;
    return result;
}

static enum jal_result check_blocks(void)
{
    const uint32_t offset = state.arguments[0];
    const uint32_t bytes = state.arguments[1];
    const uint32_t most = MAILBOX_BLOCK_BYTES * MAILBOX_CHECKED_BLOCKS;
    const uint32_t room = BUILD_DRAM_BYTES - IMAGE_OFFSET;
    const bool outside = offset % IMAGE_ALIGNMENT != 0 || offset > room;
    if (outside || bytes % IMAGE_ALIGNMENT != 0 || bytes > most || bytes > room - offset) {
        mailbox_respond(0, outside ? 0 : 1);
        mailbox_respond(1, outside ? room : most);
        return RESULT_BAD_ARGUMENT;
    }
    uint32_t blocks = 0;
    for (uint32_t done = 0; done < bytes; done += MAILBOX_BLOCK_BYTES) {
        const uint32_t left = bytes - done;
        uint32_t crc = 0;
        const enum jal_result result =
            crc_calculate(IMAGE_OFFSET + offset + done,
                          left < MAILBOX_BLOCK_BYTES ? left : MAILBOX_BLOCK_BYTES, &crc);
        if (result != RESULT_OK)
            return result;
        mailbox_write(FIELD_BLOCK_CHECKS + 4u * blocks, crc);
        blocks++;
    }
    mailbox_respond(0, blocks);
    return RESULT_OK;
}

/* Whether a command may be carried out in the present state. */
static enum jal_result admit(uint32_t command)
{
    switch (command) {
    case COMMAND_IDENTIFY:
    case COMMAND_STATUS:
        return RESULT_OK;
    case COMMAND_STOP:
        return state.fault;
    case COMMAND_SELF_TEST:
    case COMMAND_TEST_MEMORY:
        return run_is_active() ? RESULT_BUSY : RESULT_OK;
    case COMMAND_VERIFY_IMAGE:
    case COMMAND_CHECK_BLOCKS:
    case COMMAND_LOAD:
    case COMMAND_RUN:
        if (state.fault != RESULT_OK)
            return state.fault;
        return run_is_active() ? RESULT_BUSY : RESULT_OK;
    default:
        return RESULT_UNKNOWN_COMMAND;
    }
}

static enum jal_result execute(uint32_t command)
{
    switch (command) {
    case COMMAND_IDENTIFY:
        return identify();
    case COMMAND_VERIFY_IMAGE:
        return start_verify();
    case COMMAND_LOAD:
        return load();
    case COMMAND_RUN:
        return start_run();
    case COMMAND_STOP:
        return run_stop();
    case COMMAND_STATUS:
        return report_status();
    case COMMAND_SELF_TEST:
        return run_self_test();
    case COMMAND_CHECK_BLOCKS:
        return check_blocks();
    case COMMAND_TEST_MEMORY:
        return test_memory();
    default:
        return RESULT_UNKNOWN_COMMAND;
    }
}

static void go_on_verifying(void)
{
    enum jal_result result = RESULT_OK;
    uint32_t checked = 0;
    uint32_t bad = 0;
    if (!verify_poll(&result, &checked, &bad))
        return;
    state.verifying = false;
    mailbox_respond(0, checked);
    mailbox_respond(1, bad);
    answer(result);
}

void commands_init(enum jal_result fault)
{
    state.fault = fault;
    state.loaded = false;
    state.verifying = false;
    state.number = mailbox_read(FIELD_DOORBELL);
    mailbox_write(FIELD_FAULT, fault);
    if (state.number != mailbox_read(FIELD_ANSWERED))
        answer(RESULT_RESTARTED);
    show_state();
}

/* Takes a new command into `state`; one that is not whole yet, or damaged, comes again. */
static bool take_command(void)
{
    const uint32_t number = mailbox_read(FIELD_DOORBELL);
    if (number == state.number)
        return false;
    const uint32_t command = mailbox_read(FIELD_COMMAND);
    uint32_t check = check_word(check_word(0, number), command);
    for (uint32_t i = 0; i < MAILBOX_ARGUMENTS; i++) {
        state.arguments[i] = mailbox_argument(i);
        check = check_word(check, state.arguments[i]);
    }
    if (check != mailbox_read(FIELD_CHECK))
        return false;
    state.number = number;
    state.command = command;
    return true;
}

void commands_poll(void)
{
    stay_alive();
    if (state.verifying) {
        go_on_verifying();
        return;
    }
    run_poll();
    /* Whatever was written here by mistake does not stay. */
    show_state();
    if (!take_command())
        return;
    for (uint32_t i = 0; i < MAILBOX_RESPONSES; i++)
        mailbox_respond(i, 0);
    enum jal_result result = admit(state.command);
    if (result == RESULT_OK)
        result = execute(state.command);
    if (!state.verifying)
        answer(result);
    else
        show_state();
}
