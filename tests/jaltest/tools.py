"""Finds the tools that some tests run."""

import pytest

from jalhost.errors import EnvironmentProblem
from jalsoc.ooc_tools import find_tool


def require_tool(name: str) -> str:
    """Returns the path of a tool; skips the calling test where it is not installed."""
    try:
        return find_tool(name)
    except EnvironmentProblem as problem:
        pytest.skip(str(problem))
