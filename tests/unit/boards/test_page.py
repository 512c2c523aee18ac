"""docs/boards.md: its table of figures comes from bundles."""

from pathlib import Path

import pytest

from jalboards import page
from jalboards.catalogue import all_boards
from jaltest.bundles import bundle
from jaltest.models import REPOSITORY

TEXT = f"# Boards\n\n{page.BEGIN}{page.HEADER}| ecpix5 | old |\n| ulx3s | old |\n{page.END}rest\n"


def test_rows_are_replaced_and_others_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "boards.md"
    path.write_text(TEXT, encoding="utf-8")
    monkeypatch.setattr(page, "PAGE", path)
    assert page.main([str(bundle(tmp_path))]) == 0
    lines = path.read_text(encoding="utf-8").splitlines()
    assert lines[5] == "| ecpix5 | old |"
    assert lines[6] == (
        "| ulx3s | LFE5U-85F-6BG381C | 16 x 4 | 50 MHz | 61.5 MHz | 31,234 (37%) | 0 | 0 |"
    )
    assert lines[-1] == "rest"


def test_a_page_without_a_table_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "boards.md"
    path.write_text("nothing", encoding="utf-8")
    monkeypatch.setattr(page, "PAGE", path)
    assert page.main([str(bundle(tmp_path))]) == 2
    assert "has no table of figures" in capsys.readouterr().err
    assert path.read_text(encoding="utf-8") == "nothing"


def test_the_page_names_only_boards_that_exist() -> None:
    text = (REPOSITORY / page.PAGE).read_text(encoding="utf-8")
    rows = text.partition(page.BEGIN)[2].partition(page.END)[0].splitlines()
    assert rows[:2] == page.HEADER.splitlines()
    names = {board.name for board in all_boards()}
    assert {line.split(" | ")[0].removeprefix("| ") for line in rows[2:]} <= names
