"""Rules that every source file keeps."""

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from jaltest.models import REPOSITORY

MAX_LINES = 400
MAX_SUPPRESSIONS = 12
"""Per kind, over the whole project: each one is a place where a checker sees nothing."""

# In pieces, so that this file does not find itself.
NOQA = re.compile("# no" + r"qa(?P<code>: [A-Z]+\d+(, [A-Z]+\d+)*)?(?P<reason> +[-#] *\w.*)?")
TYPE_IGNORE = re.compile("# type: ig" + r"nore(?P<code>\[[a-z, -]+\])?(?P<reason> +[-#] *\w.*)?")
UNFINISHED = re.compile(r"\b(TO" + r"DO|FIX" + r"ME|XX" + r"X)\b")


def project_files(*suffixes: str) -> list[Path]:
    """Returns the files of the project that have one of the suffixes; all files for none."""
    listing = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    if listing.returncode != 0:
        pytest.skip("not a git working copy")
    files = [REPOSITORY / name for name in listing.stdout.split("\0") if name]
    return [file for file in files if file.is_file() and (not suffixes or file.suffix in suffixes)]


def numbered_lines(files: list[Path]) -> Iterator[tuple[str, str]]:
    """Yields (place, line) for each line of the files that are text."""
    for file in files:
        try:
            text = file.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        for number, line in enumerate(text.splitlines(), 1):
            yield f"{file.relative_to(REPOSITORY)}:{number}", line


def test_files_can_be_read_in_one_sitting() -> None:
    lengths = {
        str(file.relative_to(REPOSITORY)): len(file.read_text(encoding="utf-8").splitlines())
        for file in project_files(".py", ".c", ".cpp")
    }
    assert lengths
    assert not {name: length for name, length in lengths.items() if length >= MAX_LINES}


@pytest.mark.parametrize("pattern", [NOQA, TYPE_IGNORE], ids=["noqa", "type-ignore"])
def test_suppressions_are_few_and_explained(pattern: re.Pattern[str]) -> None:
    found = [
        (place, match)
        for place, line in numbered_lines(project_files(".py"))
        for match in pattern.finditer(line)
    ]
    assert not [place for place, match in found if not match["code"]], "without a code"
    assert not [place for place, match in found if not match["reason"]], "without a reason"
    assert len(found) <= MAX_SUPPRESSIONS, [place for place, _ in found]


def test_nothing_is_left_for_later() -> None:
    assert not [
        f"{place}: {line}"
        for place, line in numbered_lines(project_files())
        if UNFINISHED.search(line)
    ]


@pytest.mark.parametrize(
    ("pattern", "line", "explained"),
    [
        (NOQA, "x = 1  # no" + "qa", (False, False)),
        (NOQA, "x = 1  # no" + "qa: E501", (True, False)),
        (NOQA, "x = 1  # no" + "qa: E501, B008 - a table", (True, True)),
        (TYPE_IGNORE, "x = 1  # type: ig" + "nore", (False, False)),
        (TYPE_IGNORE, "x = 1  # type: ig" + "nore[misc]", (True, False)),
        (TYPE_IGNORE, "x = 1  # type: ig" + "nore[misc]  # LiteX is untyped", (True, True)),
    ],
)
def test_suppressions_are_recognised(
    pattern: re.Pattern[str], line: str, explained: tuple[bool, bool]
) -> None:
    match = pattern.search(line)
    assert match
    assert (bool(match["code"]), bool(match["reason"])) == explained
