#include "crc.h"

#include "clock.h"
#include "registers.h"

/* Several times what a header page takes (1024 cycles and DRAM's latencies). */
#define WAIT_MS 2u

void crc_start(uint32_t offset, uint32_t length)
{
    mmio_write32(REGISTER(CRC_ADDRESS), offset);
    mmio_write32(REGISTER(CRC_LENGTH), length);
    mmio_write32(REGISTER(CRC_CONTROL), FLAG(CRC_CONTROL_START));
}

bool crc_done(uint32_t *crc)
{
    if (FIELD_OF(mmio_read32(REGISTER(CRC_STATUS)), CRC_STATUS_BUSY))
        return false;
    *crc = mmio_read32(REGISTER(CRC_RESULT));
    return true;
}

enum jal_result crc_calculate(uint32_t offset, uint32_t length, uint32_t *crc)
{
    const struct deadline limit = deadline_in_ms(WAIT_MS);
    crc_start(offset, length);
    while (!crc_done(crc))
        if (deadline_passed(limit))
            return RESULT_CRC_TIMEOUT;
    return RESULT_OK;
}
