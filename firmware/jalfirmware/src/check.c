#include "check.h"

/* Four bits at a time: a table for eight would be larger than the rest of the firmware's data. */
#define BITS 4u

uint32_t check_word(uint32_t check, uint32_t word)
{
    /* The polynomial 0xEDB88320, 0 to 15 times. */
    static const uint32_t table[1u << BITS] = {
        0x00000000u, 0x1DB71064u, 0x3B6E20C8u, 0x26D930ACu, 0x76DC4190u, 0x6B6B51F4u,
        0x4DB26158u, 0x5005713Cu, 0xEDB88320u, 0xF00F9344u, 0xD6D6A3E8u, 0xCB61B38Cu,
        0x9B64C2B0u, 0x86D3D2D4u, 0xA00AE278u, 0xBDBDF21Cu,
    };
    uint32_t state = ~check ^ word;
    for (uint32_t i = 0; i < 32u / BITS; i++)
        state = (state >> BITS) ^ table[state & ((1u << BITS) - 1u)];
    return ~state;
}
