"""A model of DRAM chips and their PHY that costs a simulation little."""

from typing import Any

from litedram.phy.dfi import Interface
from litedram.phy.model import get_sdram_phy_settings
from migen import Array, Cat, If, Memory, Module, Mux, Replicate, Signal

BURST_LENGTH = {"SDR": 1, "DDR3": 2}
"""Transfers of a DRAM clock cycle, by type of memory."""


class DramPhyModel(Module):
    """Chips behind a DFI interface: does cycle for cycle what LiteDRAM's ``SDRAMPHYModel`` does.

    That one has eight banks decode every command and shifts read data through registers of full
    width; here commands are decoded once, all banks share one memory, and read data waits in a ring
    of words. It simulates about as fast as if there were no DRAM.

    Interface: ``dfi``, of which at most one activation, precharge, read and write per cycle are
    understood, as LiteDRAM's controller sends them. Latency: ``settings.read_latency`` cycles from
    a read to its data; write data is expected ``settings.write_latency`` cycles after its command.
    Throughput: one word per cycle. Reads of a bank without an open row return 0, writes to it are
    lost. ``memory`` holds the words in the order of their addresses (LiteDRAM's mapping
    ROW_BANK_COL), ``rows`` each bank's open row, and ``ring`` what has been read and is on its way.
    """

    def __init__(self, chip: Any, data_width: int, clk_freq: float) -> None:
        self.settings = settings = get_sdram_phy_settings(chip.memtype, data_width, clk_freq)
        self.module = chip
        geometry = chip.geom_settings
        self.dfi = Interface(
            geometry.addressbits,
            geometry.bankbits,
            settings.nranks,
            settings.dfi_databits,
            settings.nphases,
        )
        burst = BURST_LENGTH[chip.memtype] * settings.nphases
        self._column_bits = (burst - 1).bit_length(), geometry.colbits
        self._row_bits = geometry.rowbits
        bits = settings.dfi_databits * settings.nphases
        words = 1 << (geometry.rowbits + geometry.bankbits + geometry.colbits)
        self.memory = Memory(bits, words // burst)

        # # #

        # Not a LiteXModule, of which all memories would be mapped to the CSR bus.
        self.specials += self.memory
        self._banks = 1 << geometry.bankbits
        self._open = Signal(self._banks)
        self.rows = Memory(geometry.rowbits, self._banks, name="rows")
        self.specials += self.rows
        self._rows_in_banks()
        self._reads(bits)
        self._writes(bits)

    def _command(self, ras: int, cas: int, we: int) -> tuple[Signal, Signal, Signal]:
        """A command by the levels of its lines: (given, bank, address)."""
        given = Signal()
        bank, address = Signal(len(self.dfi.p0.bank)), Signal(len(self.dfi.p0.address))
        for phase in self.dfi.phases:
            self.comb += If(
                ~phase.cs_n & (phase.ras_n == ras) & (phase.cas_n == cas) & (phase.we_n == we),
                given.eq(1),
                bank.eq(phase.bank),
                address.eq(phase.address),
            )
        return given, bank, address

    def _rows_in_banks(self) -> None:
        activate, activate_bank, row = self._command(ras=0, cas=1, we=1)
        precharge, precharge_bank, address = self._command(ras=0, cas=1, we=0)
        port = self.rows.get_port(write_capable=True)
        self.specials += port
        opened, closed = Signal(self._banks), Signal(self._banks)
        every_bank = (1 << self._banks) - 1
        self.comb += [
            port.adr.eq(activate_bank),
            port.dat_w.eq(row),
            port.we.eq(activate),
            If(activate, opened.eq(1 << activate_bank)),
            If(precharge, closed.eq(Mux(address[10], every_bank, 1 << precharge_bank))),
        ]
        self.sync += self._open.eq((self._open | opened) & ~closed)

    def _place(self, bank: Signal, column: Signal) -> tuple[Signal, Any]:
        """Whether a bank has an open row, and the word of that row at a column."""
        port = self.rows.get_port(async_read=True)
        self.specials += port
        self.comb += port.adr.eq(bank)
        first, end = self._column_bits
        is_open = Array(self._open[index] for index in range(self._banks))[bank]
        return is_open, Cat(column[first:end], bank, port.dat_r)

    def _reads(self, bits: int) -> None:
        read, bank, address = self._command(ras=1, cas=0, we=1)
        is_open, place = self._place(bank, address)
        latency = self.settings.read_latency
        port = self.memory.get_port(async_read=True)
        ring = self.ring = Memory(bits, latency)
        enter, leave = ring.get_port(write_capable=True), ring.get_port(async_read=True)
        self.specials += port, ring, enter, leave
        place_in_ring = Signal(max=latency)
        on_the_way = Signal(latency)
        self.sync += [
            place_in_ring.eq(Mux(place_in_ring == latency - 1, 0, place_in_ring + 1)),
            on_the_way.eq(Cat(read, on_the_way)),
        ]
        self.comb += [
            port.adr.eq(place),
            enter.adr.eq(place_in_ring),
            If(is_open, enter.dat_w.eq(port.dat_r)),
            enter.we.eq(read),
            leave.adr.eq(place_in_ring),
        ]
        # The first phase speaks for all of them, as it does there.
        self.comb += [
            self.dfi.p0.rddata_valid.eq(on_the_way[-1]),
            If(
                on_the_way[-1],
                Cat(*(phase.rddata for phase in self.dfi.phases)).eq(leave.dat_r),
            ),
        ]

    def _writes(self, bits: int) -> None:
        command = Cat(*self._command(ras=1, cas=0, we=0))
        for _ in range(self.settings.write_latency):
            later = Signal(len(command))
            self.sync += later.eq(command)
            command = later
        bank_bits = len(self.dfi.p0.bank)
        is_open, place = self._place(command[1 : 1 + bank_bits], command[1 + bank_bits :])
        old, port = self.memory.get_port(async_read=True), self.memory.get_port(write_capable=True)
        self.specials += old, port
        data = Cat(*(phase.wrdata for phase in self.dfi.phases))
        kept = Signal(bits)
        masks = Cat(*(phase.wrdata_mask for phase in self.dfi.phases))
        write = Signal()
        # Bytes one by one would be as many conditional writes in the simulation.
        self.comb += [
            write.eq(command[0] & is_open),
            old.adr.eq(place),
            port.adr.eq(place),
            If(
                write,
                kept.eq(Cat(*(Replicate(masks[index], 8) for index in range(bits // 8)))),
                port.dat_w.eq((old.dat_r & kept) | (data & ~kept)),
                port.we.eq(1),
            ),
        ]
