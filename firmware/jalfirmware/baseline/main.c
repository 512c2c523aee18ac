/* Reads the prompt and continues it greedily; tokens and times go to the report in DRAM. */
#include "clock.h"
#include "dram.h"
#include "layout.h"
#include "model.h"

int main(void);
int console_printf(const char *format, ...);
void trap_report(uint32_t cause, uint32_t pc);

/* LiteDRAM's initialisation tells what it does; there is no console here. */
int console_printf(const char *format, ...)
{
    (void)format;
    return 0;
}

static void report_write(uint32_t offset, uint32_t value)
{
    dram_write(REPORT_OFFSET + offset, value);
}

/* Called by crt0.S. */
void trap_report(uint32_t cause, uint32_t pc)
{
    (void)cause;
    (void)pc;
    report_write(REPORT_STATE, STATE_TRAPPED);
}

/* Enters a token with the time at which it was there. */
static void report(uint32_t index, uint32_t token)
{
    const uint64_t now = clock_now();
    const uint32_t entry = REPORT_ENTRIES + ENTRY_BYTES * index;
    report_write(entry, token);
    report_write(entry + 4u, (uint32_t)now);
    report_write(entry + 8u, (uint32_t)(now >> 32));
    report_write(REPORT_COUNT, index + 1u);
}

static uint32_t run(void)
{
    if (!model_init())
        return STATE_NO_IMAGE;
    const uint32_t depth = model_word(WORD_DEPTH);
    const uint32_t prompt = model_word(WORD_PROMPT_TOKENS);
    const uint32_t count = model_word(WORD_POSITIONS) - depth;
    uint32_t token = model_prompt(0);
    report(0, token);
    for (uint32_t i = 0; i < count; i++) {
        const bool sampled = i + 1u >= prompt;
        token = model_forward(token, depth + i, sampled);
        if (!sampled)
            token = model_prompt(i + 1u);
        report(i + 1u, token);
    }
    return STATE_DONE;
}

int main(void)
{
    if (dram_init() == RESULT_OK) {
        report_write(REPORT_COUNT, 0);
        report_write(REPORT_STATE, STATE_RUNNING);
        report_write(REPORT_STATE, run());
    }
    for (;;)
        continue;
}
