"""The simulated system, built once and started as often as tests need it."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from jalhost.cli.options import DEMO_MODEL
from jalhost.environment import SIMULATION
from jalhost.models.convert import read_model
from jalhost.models.image import Image
from jalhost.models.image_file import load_image, save_image
from jaltest.models import require_model
from jaltest.system import System

Start = Callable[..., System]
"""Starts a system; takes the arguments of :class:`jaltest.system.System` behind the build."""


@pytest.fixture(scope="session", autouse=True)
def tools() -> None:
    """Skips where the simulator cannot be built."""
    missing = [item.name for item in SIMULATION.missing()]
    if missing:
        pytest.skip(f"not installed: {', '.join(missing)} (jalhost doctor tells how)")


@pytest.fixture(scope="session")
def simulator_build() -> object:
    """The simulator that ``jalhost generate`` uses, too."""
    from jalsoc.sim.build import build
    from jalsoc.sim.config import SimulatorConfig

    return build(SimulatorConfig())


@pytest.fixture(scope="session")
def ethernet_build() -> object:
    """A simulator with Ethernet."""
    from jalsoc.sim.build import build
    from jalsoc.sim.config import SimulatorConfig

    return build(SimulatorConfig(link="eth"))


@pytest.fixture
def start(simulator_build: object) -> Iterator[Start]:
    """Starts systems that end with the test."""
    systems: list[System] = []

    def start_one(preload: bytes | None = None, **options: object) -> System:
        systems.append(System(simulator_build, preload, **options))
        return systems[-1]

    yield start_one
    for system in systems:
        system.close()


@pytest.fixture(scope="module")
def shared(simulator_build: object) -> Iterator[System]:
    """One system without an image for tests that leave it as they found it.

    Not for the whole session: a simulator that waits keeps a processor busy.
    """
    system = System(simulator_build)
    yield system
    system.close()


@pytest.fixture(scope="session")
def stories(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """stories260K as an image."""
    image = read_model(require_model("stories260K.bin"), require_model("tok512.bin"))
    path = tmp_path_factory.mktemp("stories") / "stories260K.jal"
    save_image(image, path)
    return path


@pytest.fixture(scope="module", params=["stories260K", "demo"])
def image(request: pytest.FixtureRequest) -> Image:
    """Each of the models."""
    if request.param == "demo":
        return load_image(DEMO_MODEL)
    path: Path = request.getfixturevalue("stories")
    return load_image(path)


@pytest.fixture(scope="session")
def csr_json(simulator_build: object) -> Path:
    """The register map of the simulated system."""
    from jalsoc.sim.build import SimulatorBuild

    assert isinstance(simulator_build, SimulatorBuild)
    return simulator_build.csr_json
