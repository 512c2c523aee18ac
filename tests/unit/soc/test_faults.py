"""Seeded faults: their texts, and what selects them."""

from pathlib import Path

import pytest

from jalgateware.contract.config import STANDARD, EngineConfig
from jalgateware.contract.tables import EXP2, RSQRT
from jalhost.errors import UsageError
from jalsoc.sim.config import SimulatorConfig
from jalsoc.sim.faults import ENABLE, FORMS, MEMORY, WORDS, faulty_system, parse_fault

SMALL = EngineConfig()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("lane", "no fault 'lane'"),
        ("lane:0.1:2=2", "no fault"),
        ("lane:1.0:0=1", "there is no token row 1"),
        ("lane:0.16:0=1", "there is no lane 16"),
        ("lane:0.15:16=1", "there is no bit 16"),
        ("drop-word:4.1", "there is no read port 4"),
        ("drop-word:0.0", "no word before word 0"),
        ("table:sine:0:0", "there is no table 'sine'"),
        ("table:reciprocal:256:0", "there is no entry 256"),
        ("table:exp2:0:17", "there is no bit 17"),
    ],
)
def test_places_that_do_not_exist_are_refused(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        SimulatorConfig(engine=SMALL, fault=text)


def test_hint_tells_the_forms() -> None:
    with pytest.raises(UsageError) as raised:
        parse_fault("x", SMALL)
    assert FORMS in raised.value.hint


def test_wider_products_have_more_bits() -> None:
    fault = parse_fault("lane:3.15:25=1", STANDARD)
    assert fault.words[:3] == (ENABLE | 15 << 8 | 3, 1 << 25, 1 << 25)


def test_stuck_at_zero_and_lost_word() -> None:
    assert parse_fault("lane:0.2:7=0", SMALL).words[:3] == (ENABLE | 2 << 8, 1 << 7, 0)
    assert parse_fault("drop-word:1.30", SMALL).words[3:5] == (ENABLE | 1, 30)


def write_table(path: Path, entries: tuple[int, ...]) -> None:
    path.write_text("".join(f"{entry:x}\n" for entry in entries))


def test_entry_of_a_table_is_changed_where_the_simulator_reads_it(tmp_path: Path) -> None:
    system, folder = tmp_path / "system", tmp_path / "faulty"
    system.mkdir()
    folder.mkdir()
    (system / "sim.v").write_text("module sim;")
    (system / "soc.json").write_text("{}")
    write_table(system / "sim_rom_1.init", EXP2)
    write_table(system / "sim_rom_2.init", (1, 2, 3))
    faulty_system(system, parse_fault("table:exp2:3:7", SMALL), folder)
    entries = [int(line, 16) for line in (folder / "sim_rom_1.init").read_text().split()]
    assert [i for i in range(len(EXP2)) if entries[i] != EXP2[i]] == [3]
    assert entries[3] == EXP2[3] ^ 1 << 7
    assert (folder / "sim_rom_2.init").read_text() == "1\n2\n3\n"
    assert (folder / f"sim_{MEMORY}.init").read_text() == "0\n" * WORDS
    assert (folder / "soc.json").exists()
    assert not (folder / "sim.v").exists()


def test_table_that_the_engine_lacks(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="does not have that table"):
        faulty_system(tmp_path, parse_fault("table:rsqrt:1:1", SMALL), tmp_path)
    assert len(RSQRT.base) == 256
