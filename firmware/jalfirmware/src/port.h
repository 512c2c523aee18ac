/* The serial port's rate. */
#pragma once

/* Sets the port back to the rate that it starts with, where it has a rate that the host has not
 * confirmed in time: a tuning word that was damaged on the way must not cut the host off. */
void port_poll(void);
