/* Start and exceptions of the VexRiscv. The reset vector is the first word of the ROM. */

    .section .text.start
    .global _start
_start:
    la   sp, _stack_top
    la   a0, trap_entry
    csrw mtvec, a0

    /* .data lies in ROM behind .text; both ends are multiples of 4. */
    la   a0, _data_start
    la   a1, _data_end
    la   a2, _data_rom
1:  bgeu a0, a1, 2f
    lw   a3, 0(a2)
    sw   a3, 0(a0)
    addi a0, a0, 4
    addi a2, a2, 4
    j    1b

2:  la   a0, _bss_start
    la   a1, _bss_end
3:  bgeu a0, a1, 4f
    sw   zero, 0(a0)
    addi a0, a0, 4
    j    3b

4:  call main
    /* main does not return; if it does, this is an exception, too. */
    li   a0, -1
    j    5f

    /* Nothing is saved: no exception is survived. The stack may be what is broken. */
    .align 2
trap_entry:
    csrr a0, mcause
5:  csrr a1, mepc
    la   sp, _stack_top
    call trap_report
6:  j    6b
