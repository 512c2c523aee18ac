/* Commands from the mailbox, and the state that they lead through. */
#pragma once

#include <stdint.h>

#include "result.h"

/* `fault`: what does not work; RESULT_OK if all does. */
void commands_init(enum jal_result fault);

/* Carries a new command out, goes on with one that takes long, and with a run. */
void commands_poll(void);

/* The state as the mailbox shows it. */
enum jal_state commands_state(void);
