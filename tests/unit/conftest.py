"""What unit tests share."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from jaltest.side_by_side import tool_folder


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """A temporary folder that yosys from pip sees as well."""
    with tool_folder() as path:
        yield path
