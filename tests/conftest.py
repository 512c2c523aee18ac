"""What all test suites share: hypothesis profiles, model files, and who runs beside whom."""

import os
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from jaltest.models import REPOSITORY, require_model

# A first example that builds hardware is slow for good reasons, so time is no criterion.
settings.register_profile(
    "dev", deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True
)
settings.register_profile("ci", parent=settings.get_profile("dev"), derandomize=True)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "dev"))


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Keeps the system tests in one worker, as they share simulators that take long to build."""
    if not config.pluginmanager.hasplugin("xdist"):
        return
    for item in items:
        if item.path.is_relative_to(REPOSITORY / "tests" / "soc"):
            item.add_marker(pytest.mark.xdist_group("soc"))


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
