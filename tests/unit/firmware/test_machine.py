"""The firmware is compiled for the system's CPU."""

from pathlib import Path

import pytest

from jalfirmware.build import SERV, WITHOUT_MULTIPLIER, cpu_folder, machine


@pytest.mark.parametrize("name", WITHOUT_MULTIPLIER)
def test_a_cpu_without_multiplier_gets_no_multiplications(tmp_path: Path, name: str) -> None:
    (tmp_path / "soc.h").write_text(f"#define {name}\n")
    assert machine(tmp_path)[0] == "-march=rv32i"


def test_others_do(tmp_path: Path) -> None:
    (tmp_path / "soc.h").write_text("#define CONFIG_CPU_VARIANT_LITE\n")
    assert machine(tmp_path)[0] == "-march=rv32im"


@pytest.mark.parametrize(
    ("name", "folder"), [(SERV, "serv"), ("CONFIG_CPU_TYPE_VEXRISCV", "vexriscv")]
)
def test_headers_are_the_cpus(tmp_path: Path, name: str, folder: str) -> None:
    (tmp_path / "soc.h").write_text(f"#define {name}\n")
    assert cpu_folder(tmp_path) == folder
    assert machine(tmp_path)[-1] == f"-D__{folder}__"
