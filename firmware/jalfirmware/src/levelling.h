/* What LiteDRAM's calibration says of its results, kept in the mailbox for the host. */
#pragma once

/* Takes its text, character by character. */
void levelling_take(char character);
