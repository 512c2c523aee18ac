"""Several streams and drafts on the command line."""

import json
import os
import subprocess
from pathlib import Path

import pytest

from jalhost.models.image_file import save_image
from jaltest.texts import JALHOST
from jaltest.tiny import tiny_image


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The tiny model's image."""
    path: Path = tmp_path_factory.mktemp("models") / "x.jal"
    save_image(tiny_image(), path)
    return f"--model={path}"


def jalhost(command: str, model: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*JALHOST, command, "--target=emu", model, *arguments],
        capture_output=True,
        encoding="utf-8",
        check=False,
        timeout=120,
    )


def test_texts_are_printed_one_after_the_other(model: str) -> None:
    options = ("--max-tokens=6", "--temperature=0.9")
    run = jalhost("generate", model, "the one", "a", "--streams=3", "--seed=4", *options)
    assert run.returncode == 0, run.stderr
    expected = ""
    for number, prompt in enumerate(["the one", "a", "the one"]):
        alone = jalhost("generate", model, prompt, f"--seed={4 + number}", *options, "--json")
        figures = json.loads(alone.stdout)
        length = f"{figures['generated_tokens']} tokens ({figures['finish_reason']})"
        expected += f"[{number + 1}] {length}, seed {4 + number}\n{figures['text']}\n"
    assert run.stdout == expected
    assert run.stderr.startswith("[18 tokens in 3 streams (3 length), prefill ")
    assert run.stderr.count("\n") == 1


def test_json_has_all_streams(model: str) -> None:
    run = jalhost("generate", model, "the one", "--streams=2", "--max-tokens=5", "--json")
    figures = json.loads(run.stdout)
    assert len(figures["streams"]) == 2
    text = jalhost("generate", model, "the one", "--max-tokens=5", "--no-speculate").stdout
    assert [item["text"] + "\n" for item in figures["streams"]] == [text] * 2
    assert figures["generated_tokens"] == 10
    assert figures["tokens_per_weight_pass"] is None
    assert run.stderr == ""


def test_terminal_shows_all_texts(model: str) -> None:
    master, slave = os.openpty()
    command = ["generate", "--target=emu", model, "the one", "a", "--streams=2"]
    with subprocess.Popen(
        [*JALHOST, *command, "--max-tokens=4"],
        stdout=slave,
        stderr=subprocess.PIPE,
        env=os.environ | {"TERM": "xterm", "COLUMNS": "90", "LINES": "40"},
    ) as process:
        os.close(slave)
        shown = b""
        try:
            while data := os.read(master, 4096):
                shown += data
        except OSError:  # how a terminal's end is told on Linux
            pass
        os.close(master)
        assert process.stderr
        errors = process.stderr.read().decode()
    assert process.returncode == 0, errors
    last = shown.decode().rpartition("[1]")[2]
    single = [
        jalhost("generate", model, prompt, "--max-tokens=4").stdout.split("\n")[0]
        for prompt in ("the one", "a")
    ]
    # The model is random: a text may break lines or have characters that steer terminals.
    assert f" {single[0][:7]}" in last
    assert "[2]" in last
    assert last.index(single[0][:7]) < last.index("[2]")
    assert errors.startswith("[8 tokens in 2 streams (2 length), ")
    assert shown.endswith(b"\x1b[?25h"), "the cursor is back"


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["a", "the"], ["2 prompts need as many streams, not 1", "add --streams 2", "in quotes"]),
        (["a", "b", "c", "--streams=2"], ["3 prompts need as many streams, not 2"]),
        (["a", "--streams=5"], ["at most 4 streams together, not 5", "lower --streams"]),
        (["a", "--streams=0"], ["'--streams'", "greater than or equal to 1"]),
        (["a", "--streams=2", "--speculate"], ["--speculate works on one stream, not on 2"]),
        (["a", "", "--streams=2"], ["the prompt is empty"]),
        (["a", "w" * 99, "--streams=2"], ["the prompt has 10", "the model's context is 64"]),
    ],
)
def test_requests_that_make_no_sense_are_explained(
    model: str, arguments: list[str], parts: list[str]
) -> None:
    run = jalhost("generate", model, *arguments)
    assert run.returncode == 2
    assert run.stdout == ""
    assert run.stderr.startswith("jalhost: error: ")
    assert run.stderr.count("\n") == 1
    for part in parts:
        assert part in run.stderr


def test_benchmark_of_streams_and_drafts(model: str) -> None:
    options = ("-p0", "-n4", "-r1", "--no-warmup", "-ojson")
    run = jalhost("bench", model, "--streams=1,3", *options)
    assert run.returncode == 0, run.stderr
    records = json.loads(run.stdout)
    assert [(item["test"], item["streams"]) for item in records] == [("tg4", 1), ("tg4 x3", 3)]
    run = jalhost("bench", model, "--streams=1,3", "--speculate", *options)
    assert run.returncode == 0, run.stderr
    records = json.loads(run.stdout)
    assert [(item["test"], item["speculate"]) for item in records] == [
        ("tg4 drafts", True),
        ("tg4 x3", False),
    ]


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["--streams=0"], "--streams takes numbers from 1, not 0"),
        (["--streams=many"], "--streams takes numbers like"),
        (["--streams=8"], "at most 4 streams together, not 8"),
        (["--streams=2", "--speculate"], "--speculate works on one stream, not on 2"),
    ],
)
def test_benchmarks_that_make_no_sense_are_explained(
    model: str, arguments: list[str], part: str
) -> None:
    run = jalhost("bench", model, *arguments)
    assert run.returncode == 2
    assert part in run.stderr
    assert run.stderr.count("\n") == 1
