"""LitePCIe's driver in bundles of boards with PCIe: complete, and as the host takes it to be."""

import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from jalgateware.contract import pcie
from jalgateware.contract.memory_map import CSR_ORIGIN
from jalhost.links import pcie_driver

needs_compiler = pytest.mark.skipif(not shutil.which("gcc"), reason="gcc is not installed")


@pytest.fixture(scope="module")
def driver(elaborated_little: Callable[..., Path]) -> Path:
    """The driver's folder of a board."""
    return elaborated_little("acorn", pcie=True, ethernet=False) / "driver"


VALUES = {
    "LITEPCIE_IOCTL_REG": pcie_driver.IOCTL_REGISTER,
    "LITEPCIE_IOCTL_DMA_WRITER": pcie_driver.IOCTL_WRITER,
    "LITEPCIE_IOCTL_DMA_READER": pcie_driver.IOCTL_READER,
    "LITEPCIE_IOCTL_LOCK": pcie_driver.IOCTL_LOCK,
    "sizeof(struct litepcie_ioctl_reg)": pcie_driver.REGISTER.size,
    "offsetof(struct litepcie_ioctl_reg, val)": 4,
    "offsetof(struct litepcie_ioctl_reg, is_write)": 8,
    "sizeof(struct litepcie_ioctl_dma_writer)": pcie_driver.DIRECTION.size,
    "sizeof(struct litepcie_ioctl_dma_reader)": pcie_driver.DIRECTION.size,
    "offsetof(struct litepcie_ioctl_dma_writer, enable)": 0,
    "sizeof(struct litepcie_ioctl_lock)": pcie_driver.LOCK.size,
    "offsetof(struct litepcie_ioctl_lock, dma_reader_request)": 0,
    "offsetof(struct litepcie_ioctl_lock, dma_writer_request)": 1,
    "offsetof(struct litepcie_ioctl_lock, dma_reader_status)": 4,
    "offsetof(struct litepcie_ioctl_lock, dma_writer_status)": 5,
    "DMA_BUFFER_SIZE": pcie_driver.BUFFER_BYTES,
    "DMA_BUFFER_COUNT": pcie_driver.BUFFERS,
    "DMA_BUFFER_TOTAL_SIZE": pcie_driver.RING_BYTES,
    "DMA_CHANNEL_COUNT": 1,
    "CSR_BASE": CSR_ORIGIN,
    "CSR_PCIE_DMA0_BASE": pcie.bank("pcie_dma0"),
    "CSR_PCIE_DMA0_BASE + PCIE_DMA_WRITER_ENABLE_OFFSET": pcie.DMA_TO_HOST,
    "CSR_PCIE_DMA0_BASE + PCIE_DMA_READER_ENABLE_OFFSET": pcie.DMA_TO_DEVICE,
    "PCIE_DMA_WRITER_TABLE_LOOP_STATUS_OFFSET": pcie.Table.STATUS,
    "PCIE_DMA0_READER_INTERRUPT": pcie.MSI_FROM_DMA["reader"],
    "PCIE_DMA0_WRITER_INTERRUPT": pcie.MSI_FROM_DMA["writer"],
}
"""What the host says, by what the driver's headers call it."""


@needs_compiler
def test_the_host_and_the_drivers_headers_agree(driver: Path, tmp_path: Path) -> None:
    lines = [f'printf("%lu\\n", (unsigned long)({name}));' for name in VALUES]
    headers = ("stddef.h", "stdint.h", "stdio.h", "sys/ioctl.h", "litepcie.h")
    source = "".join(f"#include <{name}>\n" for name in headers)
    source += "int main(void) {\n" + "\n".join(lines) + "\nreturn 0;\n}\n"
    (tmp_path / "values.c").write_text(source)
    program = tmp_path / "values"
    command = ["gcc", "-I", str(driver / "kernel"), "-o", str(program), str(tmp_path / "values.c")]
    subprocess.run(command, check=True)
    printed = subprocess.run([program], capture_output=True, text=True, check=True).stdout
    assert dict(zip(VALUES, map(int, printed.split()), strict=True)) == VALUES


@needs_compiler
def test_the_drivers_library_compiles(driver: Path) -> None:
    sources = sorted((driver / "user" / "liblitepcie").glob("*.c"))
    assert len(sources) == 3
    command = ["gcc", "-fsyntax-only", "-I", str(driver / "kernel"), "-I", str(driver / "user")]
    subprocess.run([*command, *map(str, sources)], check=True)


def test_the_module_finds_what_it_needs_of_a_build(driver: Path) -> None:
    """Kernels' headers are rarely there: so this looks for names."""
    kernel = driver / "kernel"
    module = (kernel / "main.c").read_text()
    headers = "".join(path.read_text() for path in kernel.glob("*.h"))
    known = set(re.findall(r"#define (\w+)", headers))
    # What it uses only where a build has it is behind #ifdef with that very name, or belongs to
    # channels of DMA that ours has not, or to LiteX's cores for flash memory.
    asked = set(re.findall(r"#if(?:n?def| defined\()\s*(\w+)", module))
    used = set(re.findall(r"\b(?:CSR|PCIE|DMA)_[A-Z0-9_]+\b", module))
    rare = re.compile(r"DMA[1-7]_|FLASH|ICAP")
    missing = {name for name in used - known - asked if not rare.search(name)}
    assert missing == {"DMA_BIT_MASK"}  # the kernel's own


def test_the_same_build_has_the_same_driver(driver: Path) -> None:
    for path in driver.rglob("*"):
        if path.is_file() and path.name in ("csr.h", "soc.h", "mem.h"):
            assert not re.search(r"20\d\d-\d\d-\d\d", path.read_text()), path
    assert {path.name for path in driver.iterdir()} == {"kernel", "user"}
    assert {"main.c", "Makefile", "csr.h", "soc.h", "config.h", "init.sh"} <= {
        path.name for path in (driver / "kernel").iterdir()
    }


def test_boards_without_pcie_have_no_driver(elaborated_little: Callable[..., Path]) -> None:
    assert not (elaborated_little("acorn", pcie=False) / "driver").exists()
