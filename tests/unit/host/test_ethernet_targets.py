"""Boards on a network, played by a stand-in behind a real socket."""

import socket
import subprocess
from collections.abc import Iterator

import pytest

from jalhost.engine.targets import open_target
from jalhost.errors import UsageError
from jaltest.device import FakeDevice
from jaltest.etherbone import EtherboneBridge, Faults, RoughNetwork, serve_etherbone
from jaltest.texts import JALHOST, generate
from jaltest.tiny import tiny_image

IMAGE = tiny_image()


@pytest.fixture
def board() -> Iterator[tuple[FakeDevice, tuple[str, int]]]:
    """A stand-in for a board, and its address."""
    device = FakeDevice()
    server, address = serve_etherbone(EtherboneBridge(device))
    yield device, address
    server.close()


def tokens(name: str) -> list[int]:
    with open_target(name, print) as target:
        target.load(IMAGE)
        if name != "emu":
            assert target.info.name == name
        return generate(target, IMAGE, "the one", 0.8, 3).token_ids


def test_rough_network_gives_the_same_tokens(board: tuple[FakeDevice, tuple[str, int]]) -> None:
    device, address = board
    expected = tokens("emu")
    host, port = address
    assert tokens(f"eth:{host}:{port}") == expected
    commands = device.commands.copy()
    device.dram[:] = 0  # so that the image is sent again
    device.commands.clear()
    with RoughNetwork(address, Faults(seed=1, lose=0.05, repeat=0.05, delay=0.05)) as network:
        host, port = network.address
        assert tokens(f"eth:{host}:{port}") == expected
    assert device.commands == commands
    assert network.passed > 50


def test_dead_peer_is_one_line() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        port = silent.getsockname()[1]
        command = [*JALHOST, "generate", "a", f"--target=eth:127.0.0.1:{port}"]
        run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 4
    (line,) = run.stderr.splitlines()
    assert line.startswith(
        f"jalhost: error: no answer from 127.0.0.1:{port} within 2 s (is the board"
    )


def test_board_has_the_gateware_that_it_has() -> None:
    with (
        pytest.raises(UsageError, match="the gateware that it was built with"),
        open_target("eth:127.0.0.1", print, gateware="tokens=1"),
    ):
        pass


def test_kind_without_a_place_is_refused() -> None:
    with pytest.raises(UsageError, match="there is no target 'eth'"), open_target("eth", print):
        pass
