"""What the firmware keeps of LiteDRAM's calibration, compiled for this computer."""

import shutil
import subprocess
from pathlib import Path

import pytest

from jalfirmware.build import SOURCE_FOLDER
from jalgateware.contract.mailbox import LEVELLING_BYTES
from jalhost.bringup.levelling import Eye, decode, lost_writes

MAILBOX = """
#pragma once
#include <stdint.h>
#define FIELD_LEVELLING 0x400u
#define MAILBOX_LEVELLING_BYTES {size}u
extern uint32_t words[];
static inline uint32_t mailbox_read(uint32_t offset) {{ return words[(offset - 0x400u) / 4u]; }}
static inline void mailbox_write(uint32_t offset, uint32_t value)
{{
    words[(offset - 0x400u) / 4u] = value;
}}
"""

PROGRAM = """
#include <stdio.h>
#include "levelling.h"
#include "mailbox.h"
uint32_t words[{size} / 4 + 1] = {{[{size} / 4] = 0xA5A5A5A5u}};
int main(void)
{{
    for (int c; (c = getchar()) != EOF;)
        levelling_take((char)c);
    if (words[{size} / 4] != 0xA5A5A5A5u)
        return 1;
    fwrite(words, 1, {size}, stdout);
    return 0;
}}
"""

# In the format of LiteDRAM's sdram.c (LiteX 2024.12), for a PHY with write levelling.
LOG = """\
Initializing SDRAM @0x40000000...
Switching SDRAM to software control.
Write leveling:
  tCK equivalent taps: 32
  Cmd/Clk scan (0-16)
  |0000000000000000| best: 8
  Setting Cmd/Clk delay to 8 taps.
  Data scan:
  m0: |00000000000011111111111111| delay: 12
  m1: |00000000000000111111111111| delay: 14
Read leveling:
  m0, b00: |00000000000000000000000000000000| delays: -
  m0, b01: |00000001111111111100000000000000| delays: 12+-05
  best: m0, b01 delays: 12+-05
  m1, b00: |00000000000000000000000000000000| delays: -
  m1, b01: |00000000001111111111110000000000| delays: 15+-06
  best: m1, b01 delays: 15+-06
Switching SDRAM to hardware control.
"""


@pytest.fixture(scope="module")
def keep(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A program that takes a log and gives what the mailbox has of it."""
    compiler = shutil.which("gcc")
    if compiler is None:
        pytest.skip("not installed: gcc")
    folder = tmp_path_factory.mktemp("levelling")
    for name in ("levelling.c", "levelling.h"):
        shutil.copy(SOURCE_FOLDER / name, folder)
    (folder / "mailbox.h").write_text(MAILBOX.format(size=LEVELLING_BYTES), encoding="utf-8")
    (folder / "main.c").write_text(PROGRAM.format(size=LEVELLING_BYTES), encoding="utf-8")
    command = [compiler, "-std=c11", "-Wall", "-Wextra", "-Werror", "-fsanitize=address,undefined"]
    command += ["main.c", "levelling.c", "-o", "keep"]
    subprocess.run(command, cwd=folder, check=True)
    return folder / "keep"


def kept(program: Path, log: str) -> str:
    """What the host reads of a log."""
    run = subprocess.run([program], input=log.encode(), capture_output=True, check=True)
    assert len(run.stdout) == LEVELLING_BYTES
    assert run.stdout[-1] == 0
    return run.stdout.partition(b"\0")[0].decode()


def test_results_are_kept_and_decoded(keep: Path) -> None:
    text = kept(keep, LOG)
    assert decode(text) == [
        Eye(0, 1, 12, 5, write_delay=12),
        Eye(1, 1, 15, 6, write_delay=14),
    ]
    assert not lost_writes(text)
    # Scans of what was not chosen are dropped.
    assert "b00" not in text
    assert "Switching" not in text


def test_a_log_that_is_too_long_ends_in_time(keep: Path) -> None:
    text = kept(keep, LOG * 40)
    assert len(text) == LEVELLING_BYTES - 1
    assert decode(text)[0].margin == 5


def test_a_line_that_is_too_long_is_cut(keep: Path) -> None:
    assert kept(keep, "best" + "x" * 1000 + "\n") == "best" + "x" * 156 + "\n"


def test_nothing_is_kept_of_other_text(keep: Path) -> None:
    assert kept(keep, "jalhost: ready\nno end of line: best") == ""
