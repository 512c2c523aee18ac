"""What one would do without the engine: llama2.c's int8 arithmetic as a program for the CPU.

Takes the place of the firmware in the ROM. Arithmetic and structure are those of runq.c of llama2.c
(Andrej Karpathy, github.com/karpathy/llama2.c), written anew for this system.
"""
