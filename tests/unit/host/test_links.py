"""UARTBone over streams that lose bytes, over TCP and over pseudo terminals."""

import errno
import os
import socket
import tty
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jalhost.errors import LinkError, UsageError
from jalhost.links import serial_port, uartbone
from jalhost.links.open import open_uart
from jalhost.links.uartbone import UartBone
from jaltest.bridge import Bridge, BridgeStream, serve

WORDS = st.integers(0, (1 << 32) - 1)


@pytest.fixture
def no_pause(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Skips pauses; returns how long they would have been."""
    pauses: list[float] = []
    monkeypatch.setattr("time.sleep", pauses.append)
    return pauses


@given(st.lists(WORDS, min_size=1, max_size=600), st.integers(1, 7))
def test_words_round_trip_in_pieces(values: list[int], piece: int) -> None:
    bridge = Bridge()
    link = UartBone(BridgeStream(bridge, piece))
    link.write(0x4010_0000, values)
    assert link.read(0x4010_0000, len(values)) == values


def test_requests_are_those_of_litex() -> None:
    stream = BridgeStream(Bridge())
    UartBone(stream).write(0x4000_0004, [0x01020304, 5])
    assert stream.sent == [bytes([1, 2, 0x10, 0, 0, 1, 1, 2, 3, 4, 0, 0, 0, 5])]


def test_long_accesses_are_cut_into_bursts() -> None:
    bridge = Bridge()
    link = UartBone(BridgeStream(bridge))
    link.write(0, list(range(600)))
    link.read(0, 256)
    assert bridge.requests == [
        (1, 255, 0),
        (1, 255, 1020),
        (1, 90, 2040),
        (2, 255, 0),
        (2, 1, 1020),
    ]


@pytest.mark.parametrize("lost", [1, 3, 5])
def test_short_answer_is_asked_for_again(lost: int, no_pause: list[float]) -> None:
    stream = BridgeStream(Bridge({0: 7, 4: 8}))
    stream.lose_answer = [lost]
    assert UartBone(stream).read(0, 2) == [7, 8]
    assert no_pause


@pytest.mark.parametrize("lost", [1, 5, 6])
def test_lost_request_is_sent_again_after_the_bridge_forgot_it(
    lost: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    bridge = Bridge({0: 7, 4: 8})
    stream = BridgeStream(bridge)
    stream.lose_request = [lost]
    pauses: list[float] = []

    def sleep(seconds: float) -> None:
        pauses.append(seconds)
        bridge.reset()

    monkeypatch.setattr("time.sleep", sleep)
    assert UartBone(stream).read(0, 2) == [7, 8]
    assert pauses
    assert min(pauses) > uartbone.BRIDGE_TIMEOUT_S


def test_late_answer_is_not_taken_for_the_next() -> None:
    stream = BridgeStream(Bridge({0: 7, 4: 8}))
    link = UartBone(stream)
    stream.send(bytes([2, 1, 0, 0, 0, 0]))  # an answer that nobody waits for any more
    assert link.read(4) == [8]


def test_silence_is_reported(no_pause: list[float]) -> None:
    stream = BridgeStream(Bridge())
    stream.lose_request = [6] * 10
    with pytest.raises(
        LinkError, match=r"no answer from bridge: nothing within 2 s \(is the board"
    ):
        UartBone(stream).read(0)
    assert len(no_pause) == 2
    stream.lose_request, stream.lose_answer = [], [1] * 10
    with pytest.raises(LinkError, match="no answer from bridge: 3 of 4 bytes"):
        UartBone(stream).read(0)


@pytest.fixture
def pty() -> Iterator[tuple[int, str]]:
    """A pseudo terminal: the device's end, and the port's name."""
    master, slave = os.openpty()
    tty.setraw(slave)
    name = os.ttyname(slave)
    os.close(slave)
    yield master, name
    os.close(master)


def test_serial_port(pty: tuple[int, str]) -> None:
    master, name = pty
    keeper = os.open(name, os.O_RDWR | os.O_NOCTTY)  # the pty stays alive between openings
    bridge = Bridge()
    serve(bridge, lambda: os.read(master, 4096), lambda data: os.write(master, data))
    link = open_uart(f"{name}@1000000")
    values = list(range(1, 3000))
    link.write(0, values)
    assert link.read(0, len(values)) == values
    assert link.description == name
    link.close()
    link.close()
    os.close(keeper)


def test_busy_port_is_named(pty: tuple[int, str]) -> None:
    _, name = pty
    first = open_uart(name)
    with pytest.raises(LinkError, match=f"port {name} is busy .close the other program"):
        open_uart(name)
    first.close()
    open_uart(name).close()


def test_missing_port_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serial_port, "serial_ports", lambda: [("/dev/ttyUSB7", "cable")])
    with pytest.raises(
        LinkError, match=r"there is no port /dev/ttyNO \(ports here: /dev/ttyUSB7\)"
    ):
        open_uart("/dev/ttyNO")
    monkeypatch.setattr(serial_port, "serial_ports", list)
    with pytest.raises(LinkError, match=r"there is no port /dev/ttyNO \(no ports\)"):
        open_uart("/dev/ttyNO@9600")


def test_forbidden_port_is_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr("serial.Serial", refuse)
    with pytest.raises(
        LinkError, match=r"not allowed to open /dev/null \(sudo usermod -aG dialout"
    ):
        open_uart("/dev/null")


def test_file_that_is_no_port_is_explained(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.touch()
    with pytest.raises(LinkError, match=r"cannot open .*file"):
        open_uart(str(path))


def test_unplugged_port_is_reported(pty: tuple[int, str]) -> None:
    master, name = pty
    link = open_uart(name)
    spare = os.dup(master)
    os.dup2(os.open(os.devnull, os.O_RDWR), master)  # the fixture closes this one
    os.close(spare)
    with pytest.raises(LinkError, match=f"lost the connection to {name}"):
        link.read(0)
    link.close()


def test_tcp() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        link = open_uart(f"tcp://127.0.0.1:{port}")
        connection, _ = server.accept()
    bridge = Bridge()
    serve(bridge, lambda: connection.recv(4096), connection.sendall)
    values = list(range(5000))
    link.write(64, values)
    assert link.read(64, len(values)) == values
    connection.shutdown(socket.SHUT_RDWR)
    with pytest.raises(LinkError, match=f"lost the connection to 127.0.0.1:{port}"):
        link.read(0)
    link.close()
    connection.close()


def test_tcp_without_server_is_reported() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    with pytest.raises(LinkError, match=f"cannot connect to 127.0.0.1:{port}: Connection refused"):
        open_uart(f"tcp://127.0.0.1:{port}")


@pytest.mark.parametrize(
    "name", ["", "@9600", "/dev/ttyUSB0@fast", "tcp://", "tcp://host", "tcp://h:99999"]
)
def test_names_that_make_no_sense_are_refused(name: str) -> None:
    with pytest.raises(UsageError, match="is not"):
        open_uart(name)
