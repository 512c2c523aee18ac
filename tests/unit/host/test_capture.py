"""Triggers as they are written, and what a build without an analyzer says."""

from pathlib import Path

import pytest

from jalhost.engine.capture import Plan, Scope, parse_trigger, read_scope
from jalhost.errors import UsageError
from jaltest.command import Command
from jaltest.register_maps import bundle_with_map

ANALYZER = b"""config,None,data_width,35
config,None,depth,1024
config,None,samplerate,100000000
signal,0,scope_pass_start,1
signal,0,scope_stall_kv,1
signal,0,scope_error,8
"""

SCOPE = read_scope(ANALYZER)


def test_signals_are_read() -> None:
    assert (
        Scope({"scope_pass_start": 1, "scope_stall_kv": 1, "scope_error": 8}, 1024, 100_000_000)
        == SCOPE
    )


@pytest.mark.parametrize(
    ("text", "trigger"),
    [
        ("pass_start", {"kind": "rising", "name": "scope_pass_start"}),
        ("rising:scope_stall_kv", {"kind": "rising", "name": "scope_stall_kv"}),
        ("falling:stall_kv", {"kind": "falling", "name": "scope_stall_kv"}),
        ("error=12", {"kind": "value", "values": {"scope_error": "0xc"}}),
        ("error=0xfX", {"kind": "value", "values": {"scope_error": "0xfx"}}),
        (
            "stall_kv=1, error=0b1xx",
            {"kind": "value", "values": {"scope_stall_kv": "0x1", "scope_error": "0b1xx"}},
        ),
    ],
)
def test_triggers_are_read(text: str, trigger: dict[str, object]) -> None:
    assert parse_trigger(text, SCOPE) == trigger


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("pass_stop", "no signal 'pass_stop'"),
        ("scope_stall_k", "did you mean scope_stall_kv"),
        ("both:stall_kv", "no trigger 'both'"),
        ("error", "several bits, and no edge"),
        ("error=256", "has 8 bits, and is never 256"),
        ("error=0x1xx", "is never 0x1xx"),
        ("error=", "no number"),
        ("error=0bx2", "no number"),
    ],
)
def test_other_triggers_are_refused(text: str, problem: str) -> None:
    with pytest.raises(UsageError, match=problem):
        parse_trigger(text, SCOPE)


@pytest.mark.parametrize(
    ("plan", "problem"),
    [
        (Plan([], 0, 0, 1), "1 to 1016 samples"),
        (Plan([], 0, 1017, 1), "1 to 1016 samples"),
        (Plan([], 16, 16, 1), "the offset is 0 to 15"),
        (Plan([], -1, 16, 1), "the offset is 0 to 15"),
        (Plan([], 0, 16, 0), "subsampling is 1 to 65536"),
    ],
)
def test_what_the_analyzer_cannot_do_is_refused(plan: Plan, problem: str) -> None:
    with pytest.raises(UsageError, match=problem):
        plan.check(SCOPE)
    Plan([], 15, 1016, 65536).check(SCOPE)


def test_a_build_without_an_analyzer_says_how_to_get_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    command = Command(monkeypatch, capsys)
    board = ["--target", "uart:/dev/no-such-port"]
    bundle = str(bundle_with_map(tmp_path / "x.jalb"))
    line = command.fails(8, "capture", "--list", "--bundle", bundle, *board)
    assert f"the build in {bundle} has no logic analyzer (jalhost build BOARD --with-scope" in line
    assert "whose name ends with .vcd" in command.fails(2, "capture", "-o", "x.txt", *board)


def test_a_file_that_cannot_be_written_is_told_before_anything_is_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = Command(monkeypatch, capsys)
    target = ["--target", "uart:/dev/no-such-port"]
    line = run.fails(2, "capture", "-o", str(tmp_path / "none" / "x.vcd"), *target)
    assert "its folder does not exist" in line
    assert "no-such-port" in run.fails(4, "capture", "-o", str(tmp_path / "x.vcd"), *target)
