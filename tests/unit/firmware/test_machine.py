"""The firmware is compiled for the system's CPU."""

from pathlib import Path

from jalfirmware.build import WITHOUT_MULTIPLIER, machine


def test_a_cpu_without_multiplier_gets_no_multiplications(tmp_path: Path) -> None:
    (tmp_path / "soc.h").write_text(f"#define {WITHOUT_MULTIPLIER}\n")
    assert machine(tmp_path)[0] == "-march=rv32i"


def test_others_do(tmp_path: Path) -> None:
    (tmp_path / "soc.h").write_text("#define CONFIG_CPU_VARIANT_LITE\n")
    assert machine(tmp_path)[0] == "-march=rv32im"
