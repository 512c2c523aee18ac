"""The system around the engine: CPU, DRAM, mailbox, bridge and supervision, for any platform."""

import hashlib
import json
from typing import Any

from litedram.core.controller import ControllerSettings
from litex.gen import LiteXModule
from litex.soc.cores.uart import RS232PHY, UARTBone, UARTInterface
from litex.soc.integration.export import get_csr_json
from litex.soc.integration.soc import SoCRegion
from litex.soc.integration.soc_core import SoCCore
from litex.soc.interconnect import stream, wishbone
from migen import If, ResetInserter

from jalgateware.contract import memory_map, serial_port
from jalgateware.contract.config import EngineConfig
from jalgateware.golden.crc32 import WORD_BITS
from jalgateware.units.crc32 import CrcEngine
from jalgateware.units.engine import Engine
from jalsoc.bus_register import BusRegister
from jalsoc.cpu import CONSOLE_BYTES, CPUS, DEFAULT_CPU
from jalsoc.refresher import POSTPONING, BurstRefresher
from jalsoc.supervisor import CpuWatchdog, Fingerprint, Uptime


class JalSoC(SoCCore):
    """CPU with firmware, DRAM, engine, CRC engine, mailbox, watchdog, fingerprint and UARTBone.

    Args:
        platform: where it runs.
        crg: clocks and resets; its ``rst``, if it has one, resets the whole system.
        clock_hz: of the system.
        chip: the DRAM chip (an instance of a class of :mod:`litedram.modules`).
        phy: its PHY.
        bone_phy: byte streams ``sink`` and ``source`` of the UARTBone; an ``RS232PHY`` should have
            a dynamic baud rate, or the link stays as slow as it starts.
        engine_config: sizes of the engine.
        dram_bytes: size of the DRAM, if less than the chip's is there.
        firmware: words of the ROM; without, the ROM is loaded by other means.
        rom_bytes: size of the ROM, where it is smaller than its region.
        cpu: which of :data:`jalsoc.cpu.CPUS`.
        console_bytes: console output that waits for a reader.
        description: what the identifier adds to the project's name.
        simulated: whether this is for a simulator; the mailbox tells it to hosts.
    """

    csr_map = memory_map.CSR_LOCATIONS

    def __init__(
        self,
        platform: Any,
        crg: LiteXModule,
        clock_hz: int,
        chip: Any,
        phy: Any,
        bone_phy: Any,
        engine_config: EngineConfig,
        dram_bytes: int | None = None,
        firmware: list[int] | None = None,
        rom_bytes: int = memory_map.ROM.size,
        cpu: str = DEFAULT_CPU,
        console_bytes: int = CONSOLE_BYTES,
        description: str = "",
        simulated: bool = False,
    ) -> None:
        self.crg = crg
        self.engine_config = engine_config
        self.simulated = simulated
        cpu_type, cpu_variant = CPUS[cpu]
        SoCCore.__init__(
            self,
            platform,
            clock_hz,
            cpu_type=cpu_type,
            cpu_variant=cpu_variant,
            integrated_rom_size=rom_bytes,
            integrated_rom_init=firmware or [],
            integrated_sram_size=memory_map.SRAM.size,
            ident=f"{memory_map.IDENTIFIER} {description}".strip(),
            ident_version=False,
            uart_name="crossover",
            uart_fifo_depth=console_bytes,
            with_timer=False,
        )
        self._register_cpu_buses()
        self._add_bridge(bone_phy, clock_hz)
        self._add_mailbox()
        self._add_supervision()
        self._add_dram(chip, phy, dram_bytes)
        self._add_engines()

    def add_cpu(self, *args: Any, **options: Any) -> None:
        """Each CPU brings a memory map of its own; hosts know ours."""
        super().add_cpu(*args, **options)
        self.mem_map.update(
            rom=memory_map.ROM.origin,
            sram=memory_map.SRAM.origin,
            main_ram=memory_map.MAIN_RAM_ORIGIN,
            csr=memory_map.CSR_ORIGIN,
        )

    def _register_cpu_buses(self) -> None:
        """Between the CPU and what all masters share. What resets the CPU drops its accesses."""
        for name, master in list(self.bus.masters.items()):
            register = ResetInserter()(BusRegister(master))
            self.add_module(name=f"{name}_register", module=register)
            self.comb += register.reset.eq(self.cpu.reset)
            self.bus.masters[name] = register.bus

    def _add_bridge(self, phy: Any, clock_hz: int) -> None:
        """A bus master behind a byte stream.

        A serial port does not wait when the bridge is busy: bytes do, in a FIFO. ``tuning_word``
        is what its register resets to, None without such a register.
        """
        self.uartbone_phy = phy
        self.tuning_word: int | None = None
        stream_end = phy
        if isinstance(phy, RS232PHY):
            self.uartbone_fifo = stream.SyncFIFO([("data", 8)], serial_port.FIFO_BYTES)
            self.comb += phy.source.connect(self.uartbone_fifo.sink)
            stream_end = UARTInterface()
            stream_end.source, stream_end.sink = self.uartbone_fifo.source, phy.sink
            if hasattr(phy, "_tuning_word"):
                self.tuning_word = int(phy._tuning_word.storage.reset.value)
        self.uartbone = UARTBone(stream_end, clk_freq=clock_hz)
        self.bus.add_master(name="uartbone", master=self.uartbone.wishbone)

    def _add_mailbox(self) -> None:
        region = memory_map.MAILBOX
        self.mailbox = wishbone.SRAM(
            region.size, bus=wishbone.Interface(data_width=32, address_width=32, addressing="word")
        )
        self.bus.add_slave(
            "mailbox",
            self.mailbox.bus,
            SoCRegion(origin=region.origin, size=region.size, cached=False),
        )

    def _add_supervision(self) -> None:
        self.uptime = Uptime()
        self.watchdog = CpuWatchdog()
        self.comb += [
            self.watchdog.disarm.eq(self.ctrl.cpu_rst),
            If(self.watchdog.cpu_reset, self.cpu.reset.eq(1)),
        ]
        self.fingerprint = Fingerprint()

    def _add_dram(self, chip: Any, phy: Any, size: int | None) -> None:
        """No L2 cache: so what CPU and bridges write is what the engine reads."""
        # LiteDRAM's C code names the registers of a PHY that it levels.
        name = "ddrphy" if getattr(phy, "get_csrs", list)() else "sdrphy"
        setattr(self, name, phy)
        self.add_sdram(
            "sdram",
            phy=phy,
            module=chip,
            size=size,
            l2_cache_size=0,
            controller_settings=ControllerSettings(
                refresh_cls=BurstRefresher, refresh_postponing=POSTPONING
            ),
        )

    def _add_engines(self) -> None:
        crossbar = self.sdram.crossbar
        dram_bits, word_bits = crossbar.controller.data_width, self.engine_config.word_bits
        if word_bits < dram_bits:
            # LiteDRAM's converter for narrower ports handles one word at a time, and can hang.
            raise ValueError(
                f"{self.engine_config.lanes} lanes read {word_bits} bits, and the DRAM"
                f" controller's port has {dram_bits}: choose at least {dram_bits // 8} lanes"
            )
        crc_bits = max(WORD_BITS, dram_bits)
        self.crc = CrcEngine(crossbar.get_port(mode="read", data_width=crc_bits))
        modes = ["read"] * self.engine_config.read_ports + ["write"]
        ports = [crossbar.get_port(mode=mode, data_width=word_bits) for mode in modes]
        self.engine_ports = ports
        self.engine = Engine(self.engine_config, ports[:-1], ports[-1])

    def finalize(self) -> None:
        """Gives all registers their addresses, and then the fingerprint its value."""
        if self.finalized:
            return
        SoCCore.finalize(self)
        self.fingerprint.set(self.fingerprint_value())

    def fingerprint_value(self) -> int:
        """First 64 bits of the SHA-256 over the engine's configuration and all addresses."""
        registers = json.loads(get_csr_json(self.csr_regions, self.constants, self.mem_regions))
        text = json.dumps([self.engine_config.fingerprint(), registers], sort_keys=True)
        return int(hashlib.sha256(text.encode()).hexdigest()[:16], 16)
