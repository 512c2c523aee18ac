"""Stages of a bring-up on a stand-in: each fault is found by its stage, with its cause."""

from dataclasses import dataclass, replace

import pytest

from jalgateware.contract import mailbox
from jalgateware.contract.mailbox import BootReason, Field
from jalhost.bringup.bench import Bench
from jalhost.bringup.build import Build
from jalhost.bringup.dram import SIMULATED_WORDS
from jalhost.bringup.report import Verdict
from jalhost.bringup.stages import Stage, StageFailure
from jaltest.bringup import GEOMETRY, BoardUnderTest, FakeAccess, bench_of, run_stages
from jaltest.device import CLOCK_HZ, FINGERPRINT

EARLY = list(Stage)[: list(Stage).index(Stage.DRAM_RETENTION) + 1]


def first_failure(device: BoardUnderTest, access: FakeAccess | None = None) -> tuple[Stage, str]:
    """The stage that names the fault, and what it says."""
    reports = run_stages(bench_of(device, access), EARLY)
    failed = [item for item in reports.values() if item.verdict is Verdict.FAIL]
    assert failed, {name: item.verdict for name, item in reports.items()}
    assert failed[0].causes
    assert failed[0].next_command
    return failed[0].stage, failed[0].summary


def test_a_good_device_passes() -> None:
    reports = run_stages(bench_of(BoardUnderTest()), EARLY)
    skipped = {Stage.CABLE, Stage.IDCODE, Stage.CONFIGURATION, Stage.LEVELLING}
    verdicts = {name: item.verdict for name, item in reports.items()}
    assert verdicts == {
        stage: Verdict.SKIP if stage in skipped else Verdict.PASS for stage in EARLY
    }
    assert reports[Stage.LINK].evidence["wrong_words"] == 0
    assert reports[Stage.CLOCKS].evidence["measured_hz"] == pytest.approx(CLOCK_HZ, rel=0.01)


def test_a_simulator_of_somebody_else_is_treated_as_one() -> None:
    device = BoardUnderTest(simulated=True)
    access = FakeAccess(device, Build(FINGERPRINT), simulated=False)
    reports = run_stages(bench_of(device, access), EARLY[:-1])  # but for waiting
    assert not [name for name, item in reports.items() if item.verdict is Verdict.FAIL]
    assert "somebody else" in reports[Stage.CLOCKS].summary
    assert reports[Stage.DRAM_RANDOM].evidence["words"] == 2 * SIMULATED_WORDS


def test_tokens_are_compared_with_the_golden_model() -> None:
    bench = bench_of(BoardUnderTest())
    reports = run_stages(bench, [Stage.TOKEN, Stage.TOKENS, Stage.SENSORS])
    assert [item.verdict for item in reports.values()] == ["pass", "pass", "skip"]
    evidence = reports[Stage.TOKENS].evidence
    assert evidence["tokens"] == evidence["golden_tokens"]


def test_a_wrong_token_is_found() -> None:
    report = run_stages(bench_of(BoardUnderTest(wrong_sample=2)), [Stage.TOKENS])[Stage.TOKENS]
    assert report.verdict is Verdict.FAIL
    assert report.summary.startswith("token 3 of tiny is not the golden model's")


def test_a_stuck_data_line_is_named() -> None:
    stage, text = first_failure(BoardUnderTest(stuck=0x0020_0020))
    assert (stage, text) == (Stage.DRAM_DATA, "data line D5 reads 1 always")


def test_a_bad_lane_is_named() -> None:
    stage, text = first_failure(BoardUnderTest(noisy=0xFF00_FF00))
    assert stage is Stage.DRAM_DATA
    assert "byte lane 1 (D8 to D15)" in text


def test_no_lane_that_works_is_missing_calibration() -> None:
    device = BoardUnderTest(noisy=0xFFFF_FFFF, dram_failed=True)
    assert first_failure(device) == (
        Stage.LEVELLING,
        "DRAM is not calibrated: all byte lanes read noise",
    )


def test_an_address_line_is_named() -> None:
    stage, text = first_failure(BoardUnderTest(deaf_address=1 << 17))
    assert stage is Stage.DRAM_ADDRESS
    assert "address bit 17 (row line A3) does nothing" in text


def test_forgetting_is_told_from_other_errors() -> None:
    stage, text = first_failure(BoardUnderTest(forgetful=True))
    assert stage is Stage.DRAM_RETENTION
    assert text.startswith("DRAM forgets")
    assert "on D4;" in text


def test_a_wrong_clock_is_measured() -> None:
    stage, text = first_failure(BoardUnderTest(clock=0.8))
    assert stage is Stage.CLOCKS
    assert "80.0" in text
    assert "4/5 of it" in text


def test_a_counter_that_misses_cycles_is_told_from_a_wrong_clock() -> None:
    stage, text = first_failure(BoardUnderTest(counting=0.5))
    assert stage is Stage.CLOCKS
    assert text == "the cycle counter advanced by 0.500 per clock edge"


def test_another_build_is_told() -> None:
    device = BoardUnderTest()
    access = FakeAccess(device, Build(FINGERPRINT ^ 1, CLOCK_HZ, {}, None, GEOMETRY))
    stage, text = first_failure(device, access)
    assert stage is Stage.IDENTITY
    assert f"{FINGERPRINT:016x}" in text


def test_a_register_map_of_another_build_is_told() -> None:
    device = BoardUnderTest()
    build = Build(FINGERPRINT, CLOCK_HZ, {"engine_max_dim": 0xF000_5000}, "0" * 16, GEOMETRY)
    stage, text = first_failure(device, FakeAccess(device, build))
    assert stage is Stage.IDENTITY
    assert "engine_max_dim" in text


def test_a_reset_by_the_watchdog_is_told() -> None:
    device = BoardUnderTest()
    device.put(Field.BOOT_REASON, BootReason.WATCHDOG)
    stage, text = first_failure(device)
    assert stage is Stage.FIRMWARE
    assert "its watchdog reset it" in text


def test_a_trap_is_told() -> None:
    device = BoardUnderTest()
    device.put(Field.LAST_TRAP_CAUSE, 5, 0x1234)
    stage, text = first_failure(device)
    assert stage is Stage.FIRMWARE
    assert "load access fault at 0x00001234" in text


@pytest.mark.parametrize(
    ("magic", "text"), [(mailbox.MAGIC, "firmware 0.1.2"), (0, "not ready yet")]
)
def test_a_version_is_that_of_firmware_that_has_started(magic: int, text: str) -> None:
    """A slow CPU is not ready when the link is."""
    device = BoardUnderTest()
    device.put(Field.MAGIC, magic)
    report = run_stages(bench_of(device), [Stage.IDENTITY])[Stage.IDENTITY]
    assert report.verdict is Verdict.PASS
    assert report.summary.endswith(text)


def test_firmware_that_does_not_start_is_told() -> None:
    device = BoardUnderTest()
    device.put(Field.MAGIC, 0)
    stage, text = first_failure(device)
    assert stage is Stage.FIRMWARE
    assert "no jalhost firmware answers" in text


def test_bytes_that_get_lost_are_told_although_retries_help() -> None:
    device = BoardUnderTest()
    # Every other answer is that of a write, which is empty.
    access = FakeAccess(device, lose_answer=[0] * 11 + [1])
    stage, text = first_failure(device, access)
    assert stage is Stage.LINK
    assert "1 of" in text
    assert "repeated" in text


def test_a_restart_fails_the_stage_in_which_it_happens() -> None:
    bench = bench_of(BoardUnderTest())
    assert bench.mailbox
    before = bench.boots
    bench.check_boots(before)
    assert isinstance(bench.access, FakeAccess)
    device = bench.access.device
    device.put(Field.BOOTS, device.get(Field.BOOTS) + 1)
    with pytest.raises(StageFailure, match="started again during this stage"):
        bench.check_boots(before)


def test_what_needs_a_broken_layer_is_not_tried() -> None:
    reports = run_stages(bench_of(BoardUnderTest(stuck=1)), list(Stage))
    assert reports[Stage.DRAM_DATA].verdict is Verdict.FAIL
    for stage in (Stage.DRAM_ADDRESS, Stage.DRAM_MARCH, Stage.ENGINE, Stage.TOKENS):
        assert reports[stage].verdict is Verdict.SKIP
        assert "which failed" in reports[stage].summary


def test_a_broken_link_ends_all_that_goes_over_it() -> None:
    device = BoardUnderTest()
    access = FakeAccess(device, lose_answer=[0] * 11 + [1])
    stages = list(Stage)[list(Stage).index(Stage.LINK) :]
    link, *others = run_stages(bench_of(device, access), stages).values()
    assert link.verdict is Verdict.FAIL
    assert {report.verdict for report in others} == {Verdict.SKIP}
    assert all("which failed" in report.summary for report in others)


def test_old_firmware_is_no_fault() -> None:
    device = BoardUnderTest()
    device.refuse = {mailbox.Command.TEST_MEMORY: mailbox.Result.UNKNOWN_COMMAND}
    report = run_stages(bench_of(device), [Stage.DRAM_MARCH])[Stage.DRAM_MARCH]
    assert report.verdict is Verdict.SKIP
    assert "older" in report.summary


@dataclass(frozen=True)
class Reading:
    name: str
    value: float | None
    unit: str
    low: float | None = None
    high: float | None = None


CORE = Reading("core", 1.1, "V", 1.05, 1.16)


def sensor_bench(*readings: Reading, named: tuple[str, ...] = ()) -> Bench:
    bench = bench_of(BoardUnderTest())
    bench.read_sensors = lambda _: readings
    assert isinstance(bench.access, FakeAccess)
    bench.access = replace(bench.access, sensors=named)
    return bench


@pytest.mark.parametrize(
    ("readings", "named", "text"),
    [
        ((replace(CORE, value=0.9),), (), "core is 0.9 V, below 1.05"),
        ((Reading("die", 101.0, "°C", None, 85),), (), "die is 101 °C, above 85"),
        ((CORE,), ("die",), "die does not answer"),
    ],
)
def test_sensors_keep_their_limits(
    readings: tuple[Reading, ...], named: tuple[str, ...], text: str
) -> None:
    report = run_stages(sensor_bench(*readings, named=named), [Stage.SENSORS])[Stage.SENSORS]
    assert (report.verdict, report.summary) == (Verdict.FAIL, text)


def test_good_sensors_are_shown_and_give_power() -> None:
    bench = sensor_bench(CORE, Reading("core", 0.5, "A"))
    report = run_stages(bench, [Stage.SENSORS])[Stage.SENSORS]
    assert (report.verdict, report.summary) == (Verdict.PASS, "core 1.1 V, core 0.5 A")
    assert bench.watts() == pytest.approx(0.55)
