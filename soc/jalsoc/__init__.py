"""The LiteX system around the engine: CPU, DRAM, mailbox, bridges and their builds."""
