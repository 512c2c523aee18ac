"""What all test suites share: hypothesis profiles, model files, and who runs beside whom."""

import os
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from jaltest.models import REPOSITORY, require_model

SYSTEM_TESTS = REPOSITORY / "tests" / "soc"

# A first example that builds hardware is slow for good reasons, so time is no criterion.
settings.register_profile(
    "dev", deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True
)
settings.register_profile("ci", parent=settings.get_profile("dev"), derandomize=True)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "dev"))


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Keeps the tests of a file of tests/soc in one worker, and begins with what takes long.

    They share systems that take long to start; their simulators are in the cache for all workers.
    """
    items.sort(key=_rank)
    if not config.pluginmanager.hasplugin("xdist"):
        return
    for item in items:
        if item.path.is_relative_to(SYSTEM_TESTS):
            item.add_marker(pytest.mark.xdist_group(item.path.stem))


def _rank(item: pytest.Item) -> int:
    """What takes minutes at once comes first, so that no worker is left alone with it."""
    if item.get_closest_marker("xdist_group"):
        return 0
    return 1 if item.path.is_relative_to(SYSTEM_TESTS) else 2


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown() -> None:
    """Lets go of the units that a test built: Migen keeps each of them, to find names for signals.

    A run of all tests would otherwise take gigabytes.
    """
    tracer = sys.modules.get("migen.fhdl.tracer")
    if tracer:
        tracer.classname_to_objs.clear()
        tracer.name_to_idx.clear()


@pytest.fixture(scope="session")
def stories260k() -> Path:
    """The 260,000 parameter checkpoint of llama2.c."""
    return require_model("stories260K.bin")


@pytest.fixture(scope="session")
def tok512() -> Path:
    """The tokenizer that belongs to stories260K."""
    return require_model("tok512.bin")
