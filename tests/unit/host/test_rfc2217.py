"""Serial ports of other computers: pyserial's server at the other end, or nonsense."""

import os
import socket
import threading
import tty
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from jalhost.device import Device
from jalhost.errors import ConnectionLost, LinkError, UsageError
from jalhost.links import rfc2217
from jalhost.links.open import open_link
from jalhost.links.rfc2217 import Rfc2217Port
from jaltest.bridge import serve
from jaltest.device import FINGERPRINT, FakeDevice
from jaltest.ser2net import serve as serve_port


@contextmanager
def server(work: Callable[[socket.socket], None]) -> Iterator[int]:
    """A TCP server for one client; yields its port."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=lambda: work(listener.accept()[0]))
        thread.start()
        yield int(listener.getsockname()[1])
        thread.join()


@contextmanager
def pseudo_terminal() -> Iterator[tuple[int, str]]:
    master, slave = os.openpty()
    tty.setraw(slave)
    yield master, os.ttyname(slave)
    os.close(slave)
    os.close(master)


def test_all_bytes_pass_in_both_directions() -> None:
    every = bytes(range(256)) + b"\xff\xff\xff"
    with pseudo_terminal() as (master, path), server(lambda client: serve_port(client, path)) as at:
        port = Rfc2217Port("127.0.0.1", at)
        port.send(every)
        arrived = b""
        while len(arrived) < len(every):
            arrived += os.read(master, 4096)
        assert arrived == every
        os.write(master, every)
        found = b""
        while len(found) < len(every):
            found += port.receive(100, 10.0)
        assert found == every
        assert port.receive(10, 0.01) == b""
        port.close()


def test_a_device_behind_it_answers() -> None:
    with pseudo_terminal() as (master, path), server(lambda client: serve_port(client, path)) as at:
        fake = FakeDevice()
        serve(fake, lambda: os.read(master, 4096), lambda data: os.write(master, data))
        device = Device(open_link(f"uart:rfc2217://127.0.0.1:{at}"))
        assert device.identity.fingerprint == FINGERPRINT
        device.close()


def test_the_rate_is_asked_for() -> None:
    said = bytearray()

    def work(client: socket.socket) -> None:
        with client:
            while b"\x05\x01\xff\xf0" not in said:  # the last of what it sets
                said.extend(client.recv(4096))
            # A rate with 255 in it, in pieces, behind a wish that is refused.
            client.sendall(b"\xff\xfd\x18\xff\xfa\x2c\x65\x00\xff")
            client.sendall(b"\xff\x20\x00\xff\xf0x\xff\xf1y")
            while client.recv(4096):
                continue

    with server(work) as at:
        port = Rfc2217Port("127.0.0.1", at, 230400)
        assert b"\xff\xfa\x2c\x01\x00\x03\x84\x00\xff\xf0" in said
        port.close()


def test_a_server_without_serial_ports_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rfc2217, "ANSWER_TIMEOUT_S", 0.1)

    def silent(client: socket.socket) -> None:
        with client:
            while client.recv(4096):
                continue

    with server(silent) as at, pytest.raises(LinkError, match="knows no serial ports"):
        Rfc2217Port("127.0.0.1", at)
    with server(socket.socket.close) as at, pytest.raises(ConnectionLost, match="lost"):
        Rfc2217Port("127.0.0.1", at)


@pytest.mark.parametrize(
    "name", ["rfc2217://host", "rfc2217://host:0", "rfc2217://host:1@x", "tcp://host:1@9600"]
)
def test_names_that_make_no_sense_are_refused(name: str) -> None:
    with pytest.raises(UsageError, match=r"is not|names no rate"):
        open_link(f"uart:{name}")
