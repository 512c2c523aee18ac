"""What the benchmarks page makes of the commands' output."""

import json
from pathlib import Path

import pytest

from tools import benchmarks


def test_the_engine_is_compared_at_the_positions_of_the_cpu(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[list[str]] = []

    def output(command: list[str]) -> str:
        asked.append(command)
        depth = int(command[command.index("--depth" if "--depth" in command else "-d") + 1])
        if "jalsoc.baseline" in command:
            return json.dumps({"positions": [depth], "cycles_per_token": 1e6 * (depth + 1)})
        return json.dumps([{"cycles_per_token": 2000.0 + depth}])

    monkeypatch.setattr(benchmarks, "output", output)
    text = benchmarks.baseline_section(Path("/models/tale.bin"), Path("/models/words.bin"))
    assert "| tale | 1 | 2,000,000 | 2,001 | 1,000 |\n" in text
    assert "| tale | 32 | 33,000,000 | 2,032 | 16,240 |\n" in text
    assert "python -m jalsoc.baseline tale.bin --tokens 1 --depth 32 --json\n" in text
    assert "-d 32 --output json --model tale.bin --tokenizer words.bin\n" in text
    assert all(str(Path("/models/tale.bin")) in command for command in asked)
    assert len(asked) == 4
