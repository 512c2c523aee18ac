"""LiteX's server for its own tools."""

import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


SERVER = """
import socket
from litex.tools import litex_server

bind = socket.socket.bind
socket.socket.bind = lambda self, address: bind(
    self, ("", 0) if self.type == socket.SOCK_DGRAM else address
)
litex_server.main()
"""
"""``litex_server``, but for this: it would take the port that it sends to for its own, too, and
here both are on one computer."""


@contextmanager
def litex_server(*options: str) -> Iterator[int]:
    """``litex_server`` with options that say what it leads to; yields its TCP port."""
    bind_port = free_port()
    command = [sys.executable, "-c", SERVER, *options]
    server = subprocess.Popen(
        [*command, "--bind-port", str(bind_port)], stdout=subprocess.DEVNULL, text=True
    )
    try:
        yield bind_port
    finally:
        server.kill()
        server.wait()
