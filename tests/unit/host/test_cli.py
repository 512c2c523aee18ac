"""The command line as users meet it: a process, its output, and its exit code."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from jalhost.models.image_file import load_image, save_image
from jaltest.texts import JALHOST
from jaltest.tiny import tiny_image, tiny_model, tiny_tokenizer, write_checkpoint, write_tokenizer


def jalhost(
    *arguments: str | bytes, env: Mapping[str, str] | None = None, cwd: Path | None = None
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*JALHOST, *arguments],
        capture_output=True,
        encoding="utf-8",
        check=False,
        env=os.environ | (env or {}),
        cwd=cwd,
        timeout=120,
    )


def assert_fails(run: subprocess.CompletedProcess[str], code: int, *parts: str) -> None:
    """One line on stderr, no traceback, nothing on stdout."""
    assert run.returncode == code, run.stderr
    assert run.stderr.count("\n") == 1, run.stderr
    assert run.stderr.startswith("jalhost: error: "), run.stderr
    for part in parts:
        assert part in run.stderr
    assert run.stdout == ""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model as image (x.jal) and as checkpoint with tokenizer (x.bin, tok.bin)."""
    path = tmp_path_factory.mktemp("models")
    save_image(tiny_image(), path / "x.jal")
    write_checkpoint(tiny_model(), path / "x.bin")
    write_tokenizer(tiny_tokenizer(), path / "tok.bin")
    return path


def generate(folder: Path, *arguments: str | bytes) -> subprocess.CompletedProcess[str]:
    model = str(folder / "x.jal")
    return jalhost("generate", "--target", "emu", "--model", model, *arguments)


def test_text_goes_to_stdout_and_figures_to_stderr(folder: Path) -> None:
    run = generate(folder, "the one", "--max-tokens", "8")
    assert run.returncode == 0
    assert run.stdout.startswith("the one")
    assert run.stdout.endswith("\n")
    assert "8 tokens (length), prefill " in run.stderr
    assert "emulated: the times are this computer's" in run.stderr
    assert "cycles" not in run.stderr


def test_json_says_it_all(folder: Path) -> None:
    run = generate(folder, "the one", "--max-tokens", "8", "--json")
    figures = json.loads(run.stdout)
    text = generate(folder, "the one", "--max-tokens", "8").stdout
    assert figures["text"] + "\n" == text
    assert len(figures["token_ids"]) == figures["generated_tokens"] == 8
    assert figures["provenance"] == "emulated"
    assert figures["target"] == "emu"
    assert set(figures) == {
        "text",
        "token_ids",
        "prompt_token_ids",
        "prompt_tokens",
        "generated_tokens",
        "finish_reason",
        "ttft_s",
        "prefill_tokens_per_s",
        "decode_tokens_per_s",
        "cycles_per_token",
        "dram_utilisation",
        "tokens_per_weight_pass",
        "sampled_by",
        "clock_hz",
        "provenance",
        "target",
    }
    assert run.stderr == ""


def test_greedy_is_the_default_and_seeds_repeat(folder: Path) -> None:
    options = ("a", "--max-tokens", "20")
    assert generate(folder, *options).stdout == generate(folder, *options, "--seed", "5").stdout
    hot = (*options, "--temperature", "1.5", "--seed")
    texts = [generate(folder, *hot, seed).stdout for seed in ("1", "2", "1")]
    assert texts[0] == texts[2] != texts[1]


def test_checkpoint_is_converted_on_the_fly(folder: Path) -> None:
    run = jalhost(
        "generate", "a", "--target=emu", "--max-tokens=5",
        "--model", str(folder / "x.bin"), "--tokenizer", str(folder / "tok.bin"),
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    assert run.stdout == generate(folder, "a", "--max-tokens=5").stdout


def test_convert_writes_an_image(folder: Path, tmp_path: Path) -> None:
    output = tmp_path / "y.jal"
    run = jalhost(
        "model", "convert", str(folder / "x.bin"),
        "--tokenizer", str(folder / "tok.bin"), "-o", str(output), "--name", "small one",
        "--draft-tokens", "200",
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    assert "small one, " in run.stderr
    assert load_image(output).name == "small one"
    info = jalhost("model", "info", str(output), "--json")
    facts = json.loads(info.stdout)
    assert (facts["name"], facts["dim"], facts["file_bytes"]) == (
        "small one",
        64,
        output.stat().st_size,
    )
    assert "small one" in jalhost("model", "info", str(output)).stdout


def test_convert_learns_drafts(folder: Path, tmp_path: Path) -> None:
    text, output = tmp_path / "text.txt", tmp_path / "y.jal"
    text.write_text("one on the other", encoding="utf-8")

    def drafts(*options: str) -> int:
        run = jalhost(
            "model", "convert", str(folder / "x.bin"), "--tokenizer", str(folder / "tok.bin"),
            "-o", str(output), *options,
        )  # fmt: skip
        assert run.returncode == 0, run.stderr
        info = jalhost("model", "info", str(output), "--json")
        return int(json.loads(info.stdout)["drafts"])

    assert drafts("--draft-tokens", "0") == 0
    few = drafts("--draft-text", str(text))
    assert 0 < few < drafts("--draft-tokens", "300")


def test_text_for_drafts_must_be_text(folder: Path, tmp_path: Path) -> None:
    text = tmp_path / "text.txt"
    convert = [
        "model", "convert", str(folder / "x.bin"), "--tokenizer", str(folder / "tok.bin"),
        "-o", str(tmp_path / "y.jal"), "--draft-text", str(text),
    ]  # fmt: skip
    assert_fails(jalhost(*convert), 2, f"cannot read {text}: No such file")
    text.write_bytes(b"caf\xe9")
    assert_fails(jalhost(*convert), 2, f"{text} is not UTF-8 text")


def test_failed_conversion_leaves_nothing(folder: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.bin"
    broken.write_bytes((folder / "x.bin").read_bytes()[:-100])
    output = tmp_path / "y.jal"
    run = jalhost(
        "model", "convert", str(broken), "--tokenizer", str(folder / "tok.bin"), "-o", str(output)
    )
    assert_fails(run, 3, "where its header asks for", "truncated")
    assert list(tmp_path.iterdir()) == [broken]


def test_eval_measures(folder: Path) -> None:
    options = ("--reference", str(folder / "x.bin"), "--sequences=1", "--length=20")
    run = jalhost("model", "eval", str(folder / "x.jal"), *options, "--json")
    quality = json.loads(run.stdout)
    assert quality["tokens"] == 20
    assert 0.9 < quality["perplexity_ratio"] < 1.1
    assert (
        "same likeliest token" in jalhost("model", "eval", str(folder / "x.jal"), *options).stdout
    )


@pytest.mark.parametrize(
    ("arguments", "code", "parts"),
    [
        ([""], 2, ["the prompt is empty"]),
        ([b"caf\xe9"], 2, ["the prompt is not valid UTF-8"]),
        (["w" * 500], 2, ["the prompt has", "the model's context is 64"]),
        (["a", "--max-tokens", "0"], 2, ["'--max-tokens'", "greater than or equal to 1"]),
        (["a", "--max-tokens", "many"], 2, ["'--max-tokens'", "valid integer"]),
        (["a", "--temperature", "-1"], 2, ["temperature is 0 or more, not -1"]),
        (["a", "--seed", "-1"], 2, ["the seed is 0 to 4294967295, not -1"]),
        (["a", "--target", "fpga"], 2, ["no target 'fpga'", "emu, sim, sim:uart, "]),
        (["a", "--no-such-option"], 2, ["--no-such-option"]),
        (["a", "--target", "uart:/dev/ttyNO"], 4, ["no port /dev/ttyNO"]),
        (["a", "--model", "/no/such.jal"], 3, ["cannot read /no/such.jal"]),
    ],
)
def test_bad_requests(
    folder: Path, arguments: Sequence[str | bytes], code: int, parts: list[str]
) -> None:
    assert_fails(generate(folder, *arguments), code, *parts)


def bench(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return jalhost("bench", "--target", "emu", "--model", str(folder / "x.jal"), *arguments)


def test_bench_measures(folder: Path) -> None:
    arguments = ["-n", "3", "-r", "2", "-o"]
    records = []
    for tests in (["-p", "4"], ["-p", "0", "-d", "2"]):
        run = bench(folder, *tests, *arguments, "json")
        assert (run.returncode, run.stderr) == (0, "")
        records += json.loads(run.stdout)
    assert [record["test"] for record in records] == ["pp4", "tg3", "tg3 @ d2"]
    for record in records:
        assert record["avg_ts"] > 0
        assert len(record["samples_ts"]) == 2
        assert record["provenance"] == "emulated"
        assert record["cycles_per_token"] is None
    assert "tg3 @ d2" in bench(folder, "-p", "0", "-d", "2", *arguments, "table").stdout


def test_gateware_and_depth_of_a_benchmark(folder: Path) -> None:
    gateware = ["--gateware", "lanes=32,max_dim=64"]
    arguments = ["-p0", "-n2", "-d20", "--cold-cache", "-r1", "-o", "json", *gateware]
    (record,) = json.loads(bench(folder, *arguments).stdout)
    assert record["cold_cache"] is True
    assert record["ttft_s"] is None
    assert record["gateware"] == gateware[1]
    # What a gateware takes, it takes everywhere.
    run = generate(folder, "the one", "--max-tokens", "4", *gateware)
    assert run.stdout == generate(folder, "the one", "--max-tokens", "4").stdout != ""
    assert_fails(
        generate(folder, "a", "--gateware", "max_dim=32"), 3, "this gateware's limit is 32"
    )


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["-p", "x"], ["--n-prompt takes numbers like 16,64, not 'x'"]),
        (["-n", "-4"], ["--n-gen takes numbers from 0, not -4"]),
        (["-d", "5000"], ["needs 5032 positions, the model's context is"]),
        (["-d", "20"], ["pp32 @ d20 is a difference of two times", "--target sim, -p 0 or -d 0"]),
        (["-p", "0", "-n", "0"], ["nothing to measure (give -p or -n a number above 0)"]),
        (["-o", "xml"], ["no output 'xml'", "table, md, csv, json"]),
        (["-r", "0"], ["--repetitions"]),
        (["--gateware", "lamps=3"], ["--gateware knows no 'lamps'", "it knows dram, clock_hz"]),
    ],
)
def test_bad_benchmarks(folder: Path, arguments: Sequence[str], parts: list[str]) -> None:
    assert_fails(bench(folder, *arguments), 2, *parts)


def test_bad_model_files(folder: Path, tmp_path: Path) -> None:
    image = (folder / "x.jal").read_bytes()
    for name, data, part in (
        ("cut.jal", image[:-50], "cut.jal is damaged"),
        ("bit.jal", image[:-50] + b"\xff" * 50, "does not match its SHA-256"),
        ("text.txt", b"Once upon a time there was a story", "is not a llama2.c checkpoint"),
        ("empty", b"", "too short"),
    ):
        path = tmp_path / name
        path.write_bytes(data)
        assert_fails(generate(folder, "a", "--model", str(path)), 3, part)


def test_checkpoint_without_tokenizer(folder: Path) -> None:
    run = generate(folder, "a", "--model", str(folder / "x.bin"))
    assert_fails(run, 3, "without its tokenizer (name it by --tokenizer)")


def test_debug_shows_where_it_happened(folder: Path) -> None:
    run = generate(folder, "", "--debug")
    assert run.returncode == 2
    assert "Traceback" in run.stderr
    assert "the prompt is empty" in run.stderr


def test_defects_are_reported_in_one_line(folder: Path) -> None:
    script = """
import jalhost.engine.emulator
from jalhost.cli.main import main
def fail(*_): raise RuntimeError("it\\nbroke")
jalhost.engine.emulator.Emulator.load = fail
main()
"""
    run = subprocess.run(
        [sys.executable, "-c", script, "generate", "--target=emu", f"--model={folder / 'x.jal'}"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 70
    assert run.stderr == (
        "jalhost: internal error: RuntimeError: it broke (run with --debug for details)\n"
    )


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_interrupted_generation(folder: Path, number: int, code: int) -> None:
    script = """
import jalhost.engine.emulator, time
from jalhost.cli.main import main
run = jalhost.engine.emulator.Emulator.run
def slow(*arguments):
    for sampled in run(*arguments):
        time.sleep(0.2)
        yield sampled
jalhost.engine.emulator.Emulator.run = slow
main()
"""
    command = [sys.executable, "-c", script, "generate", "the one", "--target=emu"]
    with subprocess.Popen(
        [*command, f"--model={folder / 'x.jal'}"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout
        assert process.stdout.read(7) == "the one"
        process.send_signal(number)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == code
    assert "Traceback" not in errors
    assert errors == ("jalhost: interrupted\n" if number == signal.SIGINT else "")


def test_reader_that_leaves_is_no_defect(folder: Path) -> None:
    model = folder / "x.jal"
    command = f"{sys.executable} -c '{JALHOST[-1]}' generate --target=emu --model={model}"
    run = subprocess.run(
        ["bash", "-c", f"{command} | head -c 4; exit ${{PIPESTATUS[0]}}"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.stdout == "Once"
    assert run.stderr == ""
    assert run.returncode == 1


def test_output_survives_a_poor_terminal(folder: Path) -> None:
    model = str(folder / "x.jal")
    run = jalhost(
        "generate", "é", "--target=emu", "--max-tokens=2", "--model", model,
        env={"PYTHONIOENCODING": "ascii"},
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    assert run.stdout.startswith("?")


def test_help_and_version() -> None:
    for arguments in ([], ["--help"]):
        run = jalhost(*arguments)
        assert run.returncode == 0
        for command in ("generate", "model", "bundle", "flash", "targets", "doctor"):
            assert command in run.stdout
    assert "convert" in jalhost("model").stdout
    assert jalhost("--version").stdout.startswith("jalhost 0.")
    assert_fails(jalhost("genrate"), 2, "genrate")


def test_commands_complete() -> None:
    program = Path(sys.executable).parent / "jalhost"
    if not program.is_file():
        pytest.skip("the package is not installed, so its program has no name to complete")
    completed = subprocess.run(
        [program],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ
        | {
            "_JALHOST_COMPLETE": "complete_bash",
            "COMP_WORDS": "jalhost generate --target si",
            "COMP_CWORD": "3",
        },
    )
    assert completed.stdout.split() == ["sim", "sim:uart", "sim:eth", "sim:pcie", "sim:pcie-dma"]


def test_targets_are_listed() -> None:
    names = [item["target"] for item in json.loads(jalhost("targets", "--json").stdout)]
    assert names[:4] == ["emu", "sim", "sim:uart", "sim:eth"]
    listed = jalhost("targets").stdout
    assert "bit-exact model" in listed
    assert "labgrid:PLACE" in listed
