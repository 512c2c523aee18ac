/* The model in DRAM, and its state. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

/* Finds the model and takes memory for it; returns whether there is one. */
bool model_init(void);

/* A word of the image's header. */
uint32_t model_word(uint32_t index);

/* Token of the prompt. */
uint32_t model_prompt(uint32_t index);

/* Reads a token at a position. Returns the likeliest next one where that is wanted, else 0. */
uint32_t model_forward(uint32_t token, uint32_t position, bool wanted);
