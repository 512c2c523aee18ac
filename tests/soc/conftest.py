"""The simulated system, built once and started as often as tests need it."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from jalhost.environment import SIMULATION
from jaltest.system import System

Start = Callable[..., System]
"""Starts a system; takes the arguments of :class:`jaltest.system.System` behind the build."""


@pytest.fixture(scope="session")
def simulator_build() -> object:
    """The simulator that ``jalhost generate`` uses, too."""
    if SIMULATION.missing():
        pytest.skip("the simulator's tools are not installed")
    from jalsoc.sim.build import build
    from jalsoc.sim.config import SimulatorConfig

    return build(SimulatorConfig())


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


@pytest.fixture(scope="session")
def shared(simulator_build: object) -> Iterator[System]:
    """One system without an image for tests that leave it as they found it."""
    system = System(simulator_build)
    yield system
    system.close()


@pytest.fixture(scope="session")
def csr_json(simulator_build: object) -> Path:
    """The register map of the simulated system."""
    from jalsoc.sim.build import SimulatorBuild

    assert isinstance(simulator_build, SimulatorBuild)
    return simulator_build.csr_json
