"""``--target``, short for ``--jalhost-target``: here no other plugin can mean something else."""

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--target", dest="jalhost_target", metavar="TARGET", help="what to test")
