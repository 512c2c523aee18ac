"""Boards with the smallest engine, as Verilog."""

import subprocess
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from jalboards.catalogue import find_board
from jalboards.config import BuildConfig, configure
from jaltest.little import LIMITS

Elaborated = Callable[..., Path]


def little_config(name: str, **options: Any) -> BuildConfig:
    """A board with the smallest engine that fits its DRAM; ``options`` of ``configure``."""
    board = find_board(name)
    engine = LIMITS | {"tokens": 1, "mxfp4": False, "lanes": board.dram.port_bytes}
    return configure(board, engine, **options)


@pytest.fixture(scope="session")
def little() -> Callable[..., BuildConfig]:
    return little_config


@pytest.fixture(scope="session")
def elaborated_little(tmp_path_factory: pytest.TempPathFactory) -> Elaborated:
    """Gives the folder of a board's Verilog."""

    @cache
    def elaborate(name: str, **options: Any) -> Path:
        folder = tmp_path_factory.mktemp(name)
        config = little_config(name, **options).hardware_json()
        command = [sys.executable, "-m", "jalboards.elaborate", config, str(folder)]
        subprocess.run(command, check=True, capture_output=True)
        return folder

    return elaborate
