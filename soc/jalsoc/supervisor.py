"""Small parts of the system around the CPU: its watchdog and clock, the build's fingerprint."""

from litex.gen import LiteXModule
from litex.soc.interconnect.csr import CSRField, CSRStatus, CSRStorage
from migen import If, Signal

RESET_CYCLES = 16
"""How long the watchdog holds the CPU in reset."""


class CpuWatchdog(LiteXModule):
    """Resets the CPU, and nothing else, when its firmware stops feeding.

    DRAM controller, mailbox and bridges go on, so that a host can see what happened and the image
    need not be loaded again.

    Interface: ``cpu_reset`` holds the CPU in reset; ``disarm`` switches the watchdog off, for
    example while somebody else resets the CPU. The registers do the rest: ``timeout`` in cycles, 0
    switches the watchdog off; any write to ``feed`` starts the time anew.
    Latency: the reset starts ``timeout`` + 2 cycles after the write to ``feed`` (or ``timeout``)
    and ends ``RESET_CYCLES`` later, when the watchdog is off until the firmware sets it again.
    """

    def __init__(self) -> None:
        self.cpu_reset = Signal()
        self.disarm = Signal()
        self._timeout = CSRStorage(
            32, write_from_dev=True, description="Cycles until the CPU is reset; 0: never."
        )
        self._feed = CSRStorage(description="Any write starts the time anew.")
        self._control = CSRStorage(
            fields=[
                CSRField("acknowledge", pulse=True, description="Write 1 to clear expired."),
            ],
            description="Handling of a reset.",
        )
        self._status = CSRStatus(
            fields=[
                CSRField("expired", description="The watchdog has reset the CPU."),
                CSRField("resets", size=8, offset=8, description="How often, modulo 256."),
            ],
            description="What the watchdog did.",
        )
        self._warm = CSRStorage(
            description="Set by the firmware once DRAM works; a reset of the CPU leaves it set."
        )

        # # #

        left = Signal(32)
        armed = Signal()
        hold = Signal(max=RESET_CYCLES + 1)
        expire = Signal()
        expired = Signal()
        resets = Signal(8)
        self.comb += [
            expire.eq(armed & ~self.disarm & (left == 0)),
            self.cpu_reset.eq(hold != 0),
            self._timeout.we.eq(expire),
            self._timeout.dat_w.eq(0),
            self._status.fields.expired.eq(expired),
            self._status.fields.resets.eq(resets),
        ]
        self.sync += [
            If(left != 0, left.eq(left - 1)),
            If(hold != 0, hold.eq(hold - 1)),
            If(self._control.fields.acknowledge, expired.eq(0)),
            If(
                expire,
                armed.eq(0),
                expired.eq(1),
                resets.eq(resets + 1),
                hold.eq(RESET_CYCLES),
            ),
            If(
                self._feed.re | self._timeout.re,
                left.eq(self._timeout.storage),
                armed.eq(self._timeout.storage != 0),
            ),
            If(self.disarm, armed.eq(0)),
        ]


class Uptime(LiteXModule):
    """The firmware's clock: LiteX's timer counts down as well, which nobody needs."""

    def __init__(self) -> None:
        self._latch = CSRStorage(1, description="Written: copies the count to ``cycles``.")
        self._cycles = CSRStatus(64, description="Cycles since the system's reset, when latched.")

        # # #

        cycles = Signal(64)
        self.sync += [
            cycles.eq(cycles + 1),
            If(self._latch.re, self._cycles.status.eq(cycles)),
        ]


class Fingerprint(LiteXModule):
    """Tells builds apart: a hash that is known only once all registers have their addresses.

    ``set`` is called between the system's finalisation and its conversion to Verilog.
    """

    def __init__(self) -> None:
        self._value = CSRStatus(
            64, description="Hash of the engine's configuration and of the register map."
        )

    def set(self, value: int) -> None:
        """Makes ``value`` (64 bits) what the register reads."""
        self._value.status.reset.value = value
