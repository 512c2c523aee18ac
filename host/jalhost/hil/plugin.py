"""A pytest plugin for tests on a target: a board, a simulator, or the emulator.

``pytest --jalhost-target uart:/dev/ttyUSB0`` (or the environment variable ``JALHOST_HIL``) names
it; tests that use its fixtures are skipped without. It is loaded into each run of pytest, so it
imports nothing of weight.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from jalhost.device import Device
    from jalhost.engine.target import Target
    from jalhost.models.image import Image

ENVIRONMENT = "JALHOST_HIL"

MARKER = "jalhost_needs"

NO_TARGET = f"no target is named: --jalhost-target TARGET, or {ENVIRONMENT}=TARGET"

USES = {"target", "device", "jalhost_target_name"}
"""Fixtures that need the target."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Names that no other plugin has."""
    group = parser.getgroup("jalhost", "jalhost: tests on boards and simulators")
    group.addoption(
        "--jalhost-target",
        dest="jalhost_target",
        metavar="TARGET",
        help=f"Run tests on it, for example uart:/dev/ttyUSB0 or sim:uart (or {ENVIRONMENT}).",
    )
    group.addoption(
        "--jalhost-model",
        dest="jalhost_model",
        metavar="FILE",
        help="A .jal image for the fixture `model` (the demo model).",
    )
    group.addoption(
        "--jalhost-gateware",
        dest="jalhost_gateware",
        metavar="KEY=VALUE,...",
        help="Gateware to simulate or emulate (the default gateware).",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Declares the marker.

    Raises:
        UsageError: several processes would use the target.
    """
    config.addinivalue_line(
        "markers",
        f"{MARKER}(rows=1, mxfp4=False, links=()): skips unless the target has so many token"
        " rows, takes MXFP4, or is behind one of these links (uart, eth, pcie)",
    )
    named = config.getoption("jalhost_target")
    several = config.getoption("numprocesses", None)
    if named and several and config.getoption("dist", None) != "loadgroup":
        raise pytest.UsageError("a target serves one process: leave out -n, or --dist loadgroup")


def pytest_report_header(config: pytest.Config) -> list[str]:
    """Says what is tested."""
    name = _configured(config)
    return [f"jalhost target: {name}"] if name else []


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Has needs checked before each test that has some; keeps tests of the target together."""
    together = config.pluginmanager.hasplugin("xdist") and _configured(config)
    for item in items:
        names = getattr(item, "fixturenames", None)
        if names is None:
            continue
        if item.get_closest_marker(MARKER) and "jalhost_needs_met" not in names:
            names.insert(0, "jalhost_needs_met")
        if together and (USES | {"jalhost_needs_met"}) & set(names):
            item.add_marker(pytest.mark.xdist_group("jalhost"))


def _configured(config: pytest.Config) -> str:
    return config.getoption("jalhost_target") or os.environ.get(ENVIRONMENT, "")


@pytest.fixture(scope="session")
def jalhost_target_name(pytestconfig: pytest.Config) -> str:
    """The name of the target under test; skips where there is none."""
    name = _configured(pytestconfig)
    if not name:
        pytest.skip(NO_TARGET)
    return name


@pytest.fixture(scope="session")
def target(pytestconfig: pytest.Config, jalhost_target_name: str) -> "Iterator[Target]":
    """The target under test; it is open for all tests of the run."""
    from jalhost.engine.targets import open_target
    from jalhost.errors import JalError

    opened = open_target(
        jalhost_target_name, print, gateware=pytestconfig.getoption("jalhost_gateware")
    )
    try:
        found = opened.__enter__()
    except JalError as error:
        pytest.fail(f"target {jalhost_target_name}: {error}", pytrace=False)
    try:
        yield found
    finally:
        opened.__exit__(None, None, None)


@pytest.fixture(scope="session")
def model(pytestconfig: pytest.Config) -> "Image":
    """The model to run: the demo model, or that of ``--jalhost-model``."""
    from jalhost.cli.options import open_model

    path = pytestconfig.getoption("jalhost_model")
    return open_model(Path(path) if path else None, None)


@pytest.fixture
def device(target: "Target", model: "Image") -> "Device":
    """The device behind the target, with the model loaded; skips on the emulator."""
    target.load(model)
    found: Device | None = getattr(target, "device", None)
    if found is None:
        pytest.skip(f"{target.info.name} has no device")
    return found


@pytest.fixture
def jalhost_needs_met(request: pytest.FixtureRequest) -> None:
    """Skips a test that needs what the target does not have."""
    markers = list(request.node.iter_markers(MARKER))
    needs: dict[str, Any] = {}
    for marker in reversed(markers):  # the test's own comes last, and wins
        unknown = set(marker.kwargs) - {"rows", "mxfp4", "links"}
        if unknown or marker.args:
            pytest.fail(f"{MARKER} takes rows=, mxfp4= and links=", pytrace=False)
        needs |= marker.kwargs
    target: Target = request.getfixturevalue("target")
    reason = _lack(target, **needs)
    if reason:
        pytest.skip(f"{target.info.name} {reason}")


def _lack(target: "Target", rows: int = 1, mxfp4: bool = False, links: tuple[str, ...] = ()) -> str:
    """What a target lacks, for people; empty where it has everything."""
    info = target.info
    if info.token_rows < rows:
        return f"has {info.token_rows} token rows, the test needs {rows}"
    if mxfp4 and not info.mxfp4:
        return "takes no MXFP4"
    kind = link_kind(info.name)
    wanted = (links,) if isinstance(links, str) else tuple(links)
    if wanted and kind not in wanted:
        return f"is not behind {' or '.join(wanted)}"
    return ""


def link_kind(name: str) -> str:
    """The link to a target: ``uart``, ``eth``, ``pcie``, or empty for the emulator."""
    kind, _, way = name.partition(":")
    if kind == "sim":
        # Without another way, a simulator is reached by the byte stream of its UART.
        return way.partition("-")[0] or "uart"
    return "" if kind == "emu" else kind
