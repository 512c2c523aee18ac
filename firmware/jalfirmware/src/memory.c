/* What the compiler calls for copies and fills of structures; it expects these even without a
 * library. */
#include <stddef.h>
#include <stdint.h>

void *memcpy(void *restrict target, const void *restrict source, size_t length);
void *memset(void *target, int value, size_t length);

void *memcpy(void *restrict target, const void *restrict source, size_t length)
{
    uint8_t *to = target;
    const uint8_t *from = source;
    for (size_t i = 0; i < length; i++)
        to[i] = from[i];
    return target;
}

void *memset(void *target, int value, size_t length)
{
    uint8_t *to = target;
    for (size_t i = 0; i < length; i++)
        to[i] = (uint8_t)value;
    return target;
}
