"""The same model on the system's CPU alone: what the engine is compared with.

``python -m jalsoc.baseline CHECKPOINT`` compiles llama2.c's int8 arithmetic for the simulated
system's own CPU, lets it generate, and prints its cycles per token. What makes the comparison fair:

- It is the same simulated system: same DRAM, same refresh, same clock. The engine idles.
- The arithmetic is that of runq.c (int8 groups, 32-bit dot products, float32 scales and vectors),
  compiled with ``-O3``. The tokens are checked against a NumPy model of it.
- The model, keys and values lie in DRAM, where else, matrices in the order in which they are read.
  The CPU (VexRiscv "lite") has no data cache, since it must see what the engine writes. So weights
  come in whole words, four at a time, and vectors, activations and stack are in SRAM, as far as
  they fit its 8 KiB and the mailbox's 16.
- Code runs from the ROM through the instruction cache, which holds the inner loops.
- Where runq.c has slower ways, ours is the faster one: rotary tables instead of sines, a table for
  the exponential function, reciprocals instead of divisions, no logits for prompt tokens, logits
  compared as they come, and no more padding than to whole words.
- What is not done is what changes the arithmetic or the hardware. This CPU multiplies and shifts a
  bit per cycle and has no floating point unit. LLVM's compiler-rt, which LiteX brings, multiplies
  floats in 250 cycles, where libgcc takes 600; still, half of stories260K's time goes into floats.
- The time grows with the position, as attention does; ``--depth`` starts at a later one.
"""
