"""The serial port of a system: its register, its FIFO, and the firmware's part in its rate."""

import ctypes
import json
import subprocess
import sys
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jalfirmware.build import SOURCE_FOLDER
from jalgateware.contract.c_header import HEADER_NAME, c_header
from jalgateware.contract.mailbox import TUNING_MS, Field, Flag, check
from jalgateware.contract.memory_map import (
    CSR_BANK_BYTES,
    IDENTIFIER_ADDRESS,
    MAILBOX,
    TUNING_WORD_ADDRESS,
)
from jalgateware.contract.serial_port import BASE_BAUD, FIFO_BYTES, tuning_word

CLOCK_HZ = 50_000_000

BASE_WORD = tuning_word(BASE_BAUD, CLOCK_HZ)

ELABORATE = f"""
import json, sys
from dataclasses import replace
from litex.soc.cores.uart import RS232PHY, RS232PHYModel, UARTPads
from jalgateware.contract.config import STANDARD
from jalsoc.dram import dram_chip, dram_kind
from jalsoc.dram_phy import DramPhyModel
from jalsoc.export import build_header
from jalsoc.sim.config import SimulatorConfig
from jalsoc.sim.platform import SimulationCrg, simulation_platform
from jalsoc.soc import JalSoC
from litex.soc.integration import export

config = SimulatorConfig(clock_hz={CLOCK_HZ}, engine=replace(STANDARD, tokens=1, mxfp4=False))
answers = []
for real in (False, True):
    platform = simulation_platform()
    kind = dram_kind(config.dram)
    chip = dram_chip(kind, config.dram_mib << 20, config.clock_hz)
    dram = DramPhyModel(chip, data_width=kind.data_bits, clk_freq=config.clock_hz)
    if real:
        phy = RS232PHY(UARTPads(), {CLOCK_HZ}, {BASE_BAUD}, with_dynamic_baudrate=True)
    else:
        phy = RS232PHYModel(platform.request("serial"))
    crg = SimulationCrg(platform.request("sys_clk"))
    soc = JalSoC(platform, crg, {CLOCK_HZ}, chip, dram, phy, config.engine)
    soc.finalize()
    header = export.get_csr_header(soc.csr_regions, soc.constants, soc.mem_regions["csr"].origin)
    registers = {{
        item.name: region.origin
        for region in soc.csr_regions.values()
        if isinstance(region.obj, list)
        for item in region.obj
    }}
    answers.append({{
        "header": build_header(soc, header),
        "registers": registers,
        "banks": {{name: region.origin for name, region in soc.csr_regions.items()}},
        "fifo": soc.uartbone_fifo.depth if hasattr(soc, "uartbone_fifo") else None,
    }})
print("ANSWER" + json.dumps(answers))
"""


def test_serial_port_has_a_register_and_a_fifo() -> None:
    # In a process of its own: LiteX configures logging as a whole.
    run = subprocess.run([sys.executable, "-c", ELABORATE], check=True, capture_output=True)
    model, real = json.loads(run.stdout.decode().partition("ANSWER")[2])
    assert "BUILD_TUNING_WORD" not in model["header"]
    assert model["fifo"] is None
    assert f"#define BUILD_TUNING_WORD {BASE_WORD:#x}u" in real["header"]
    assert f"#define BUILD_FLAGS {1 << Flag.TUNABLE:#x}u" in real["header"]
    assert real["banks"]["uartbone_phy"] == TUNING_WORD_ADDRESS
    assert real["banks"]["identifier_mem"] == model["banks"]["identifier_mem"] == IDENTIFIER_ADDRESS
    assert real["registers"]["tuning_word"] == TUNING_WORD_ADDRESS
    assert TUNING_WORD_ADDRESS % CSR_BANK_BYTES == 0
    assert real["fifo"] == FIFO_BYTES


HARNESS = """
#include <stdbool.h>
#include <stdint.h>
#include "check.h"
#include "clock.h"
#include "mmio.h"
#include "port.h"

uint32_t tuning_word, confirmed;
uint64_t now_ms;

uint32_t mmio_read32(uint32_t address)
{
    return address == CSR_UARTBONE_PHY_TUNING_WORD_ADDR ? tuning_word
         : address == CONFIRMED ? confirmed : 0;
}

void mmio_write32(uint32_t address, uint32_t value)
{
    if (address == CSR_UARTBONE_PHY_TUNING_WORD_ADDR)
        tuning_word = value;
}

struct deadline deadline_in_ms(uint32_t ms) { return (struct deadline){now_ms + ms}; }
bool deadline_passed(struct deadline deadline) { return now_ms > deadline.at; }
"""


@pytest.fixture(scope="module")
def firmware(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    """The firmware's parts, compiled for this computer."""
    folder = tmp_path_factory.mktemp("firmware")
    (folder / "generated").mkdir()
    (folder / "generated/build.h").write_text(
        f"#define BUILD_TUNING_WORD {BASE_WORD}u\n"
        f"#define CSR_UARTBONE_PHY_TUNING_WORD_ADDR {TUNING_WORD_ADDRESS}u\n"
        f"#define CONFIRMED {MAILBOX.origin + Field.TUNING_WORD}u\n"
    )
    (folder / HEADER_NAME).write_text(c_header())
    (folder / "harness.c").write_text(HARNESS)
    sources = [folder / "harness.c", SOURCE_FOLDER / "port.c", SOURCE_FOLDER / "check.c"]
    command = ["gcc", "-shared", "-fPIC", "-DJAL_HOST_TEST", f"-I{folder}", f"-I{SOURCE_FOLDER}"]
    library = folder / "firmware.so"
    subprocess.run([*command, *map(str, sources), "-o", str(library)], check=True)
    return ctypes.CDLL(str(library))


class Port:
    """The registers that the firmware sees."""

    def __init__(self, library: ctypes.CDLL) -> None:
        self._poll = library.port_poll
        self.word = ctypes.c_uint32.in_dll(library, "tuning_word")
        self.confirmed = ctypes.c_uint32.in_dll(library, "confirmed")
        self._now = ctypes.c_uint64.in_dll(library, "now_ms")
        self.word.value, self.confirmed.value = BASE_WORD, 0
        self._poll()

    def pass_time(self, ms: int) -> None:
        for _ in range(ms):
            self._now.value += 1
            self._poll()


def test_rate_that_is_not_confirmed_is_taken_back(firmware: ctypes.CDLL) -> None:
    port = Port(firmware)
    port.word.value = 12345
    port.pass_time(TUNING_MS)
    assert port.word.value == 12345
    port.pass_time(3)
    assert port.word.value == BASE_WORD


def test_rate_that_is_confirmed_stays(firmware: ctypes.CDLL) -> None:
    port = Port(firmware)
    port.word.value = 12345
    port.pass_time(TUNING_MS // 2)
    port.confirmed.value = 12345
    port.pass_time(3 * TUNING_MS)
    assert port.word.value == 12345
    port.word.value ^= 0x100
    port.pass_time(TUNING_MS + 3)
    assert port.word.value == BASE_WORD


def test_each_rate_has_its_time(firmware: ctypes.CDLL) -> None:
    port = Port(firmware)
    for word in (1, 2, 3):
        port.word.value = word
        port.pass_time(TUNING_MS - 10)
        port.confirmed.value = word
        port.pass_time(1)
    assert port.word.value == 3


@given(words=st.lists(st.integers(0, (1 << 32) - 1), max_size=20))
def test_checks_are_the_contracts(firmware: ctypes.CDLL, words: list[int]) -> None:
    firmware.check_word.restype = ctypes.c_uint32
    value = 0
    for word in words:
        value = firmware.check_word(ctypes.c_uint32(value), ctypes.c_uint32(word))
    assert value == check(words)
    assert value == zlib.crc32(b"".join(word.to_bytes(4, "little") for word in words))
