"""The same model on the system's CPU alone: what the engine is compared with.

``python -m jalsoc.baseline CHECKPOINT`` compiles llama2.c's int8 arithmetic for the simulated
system's own CPU, lets it generate, and prints its cycles per token. What makes the comparison fair:

- It is the same simulated system: same DRAM, same refresh, same clock. The engine idles.
- The arithmetic is that of runq.c (int8 groups, 32-bit dot products, float scales and vectors),
  compiled with ``-O3``. The tokens are checked against a NumPy model of it.
- Weights and keys and values lie in DRAM, as they do not fit anywhere else, in the order in which
  they are read. The CPU (VexRiscv "lite") has no data cache, since it must see what the engine
  writes; so weights come in whole words, four at a time, and everything else stays in SRAM.
- Code runs from the ROM through the instruction cache, which holds the inner loops.
- Where runq.c has slower ways, ours is the faster one: rotary tables instead of sines, a table for
  the exponential function, reciprocals instead of divisions, no logits for prompt tokens, logits
  compared as they come, and no arithmetic on padding.
- What is not done is what changes the hardware: the CPU has no floating point unit, and its
  multiplier takes a cycle per bit. The engine takes the place of a larger CPU.
"""
