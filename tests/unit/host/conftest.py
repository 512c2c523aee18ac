"""What several of these tests need."""

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from jaltest.desk import Desk


@pytest.fixture
def loader(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Desk]:
    folder = tmp_path / "loader"
    folder.mkdir()
    desk = Desk(folder, monkeypatch=monkeypatch, capture=capsys)
    monkeypatch.setenv("PATH", desk.path)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    handler = signal.getsignal(signal.SIGTERM)
    yield desk
    signal.signal(signal.SIGTERM, handler)
