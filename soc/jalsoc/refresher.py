"""Refresh of the DRAM in bursts: as LiteDRAM's refresher, with less time between the refreshes."""

from typing import Any

from litedram.common import cmd_request_rw_layout
from litedram.core.refresher import RefreshTimer
from litex.gen import LiteXModule
from litex.soc.interconnect import stream
from migen import FSM, If, NextState, NextValue, Signal, log2_int

POSTPONING = 8
"""Refreshes in a burst: JEDEC lets a DDR3 chip go without for nine intervals."""

A10 = 1 << 10
"""Address of a command for all banks."""

PRECHARGE, REFRESH, CALIBRATE = 0b011, 0b110, 0b001
"""Commands as {cas, ras, we}, active high."""


class BurstRefresher(LiteXModule):
    """Closes all banks once for several refreshes, one tRFC apart.

    LiteDRAM's own closes the banks before each refresh of a burst, and waits between them longer
    than tRFC: its burst of eight takes a fifth longer. Takes the same arguments, as
    ``ControllerSettings.refresh_cls``.

    Interface: ``cmd`` {a, ba, cas, ras, we}: ``valid`` while it wants or has the command bus,
    ``ready`` when it has it, ``last`` when it gives it back. Latency: tRP + ``postponing`` x tRFC +
    2 cycles from ``ready`` to ``last``, and tZQCS more for the chip's calibration, ``zqcs_freq``
    times per second. Throughput: ``postponing`` refreshes per ``postponing`` x tREFI cycles.
    Overflow: none, a burst is over long before the next is due.
    """

    def __init__(
        self, settings: Any, clk_freq: float, zqcs_freq: float = 1.0, postponing: int = 1
    ) -> None:
        if not 1 <= postponing <= POSTPONING:
            raise ValueError(f"1 to {POSTPONING} refreshes in a burst, not {postponing}")
        timing = settings.timing
        bank_bits = settings.geom.bankbits + log2_int(settings.phy.nranks)
        self.cmd = cmd = stream.Endpoint(
            cmd_request_rw_layout(a=settings.geom.addressbits, ba=bank_bits)
        )

        # # #

        self.timer = timer = RefreshTimer(timing.tREFI * postponing)
        due, calibration_due = Signal(), Signal()
        self.comb += timer.wait.eq(~timer.done)
        self.sync += If(timer.done, due.eq(int(settings.with_refresh)))
        left = Signal(max=postponing + 1)
        wait = Signal(max=max(timing.tRP, timing.tRFC, timing.tZQCS or 0) + 1)
        self.fsm = fsm = FSM(reset_state="IDLE")
        fsm.act("IDLE", If(due, NextState("CLOSE")))
        fsm.act("CLOSE", cmd.valid.eq(1), If(cmd.ready, NextState("PRECHARGE")))
        fsm.act(
            "PRECHARGE",
            cmd.valid.eq(1),
            *self._command(PRECHARGE),
            NextValue(left, postponing),
            NextValue(wait, timing.tRP - 1),
            NextState("WAIT"),
        )
        fsm.act(
            "WAIT",
            cmd.valid.eq(1),
            NextValue(wait, wait - 1),
            If(wait <= 1, NextState("NEXT")),
        )
        after = NextState("DONE")
        if timing.tZQCS is not None:
            self.calibration_timer = calibration = RefreshTimer(int(clk_freq / zqcs_freq))
            self.comb += calibration.wait.eq(~calibration.done)
            self.sync += If(calibration.done, calibration_due.eq(1))
            self.sync += If(fsm.ongoing("CALIBRATE"), calibration_due.eq(0))
            after = If(calibration_due, NextState("CALIBRATE")).Else(NextState("DONE"))
            fsm.act(
                "CALIBRATE",
                cmd.valid.eq(1),
                *self._command(CALIBRATE),
                NextValue(wait, timing.tZQCS - 1),
                NextState("WAIT"),
            )
        fsm.act(
            "NEXT",
            cmd.valid.eq(1),
            If(
                left != 0,
                *self._command(REFRESH),
                NextValue(left, left - 1),
                NextValue(wait, timing.tRFC - 1),
                NextState("WAIT"),
            ).Else(after),
        )
        fsm.act("DONE", cmd.last.eq(1), NextState("IDLE"))
        self.sync += If(fsm.ongoing("CLOSE"), due.eq(0))

    def _command(self, code: int) -> list[Any]:
        """Statements that put a command for all banks on the bus."""
        cas, ras, we = (code >> bit & 1 for bit in (2, 1, 0))
        cmd = self.cmd
        address = A10 if code != CALIBRATE else 0
        return [cmd.a.eq(address), cmd.cas.eq(cas), cmd.ras.eq(ras), cmd.we.eq(we)]
