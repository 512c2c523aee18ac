"""LiteX's server for its own tools."""

import os
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
import os
import socket
from litex.tools import litex_server

if address := os.environ.get("JALTEST_PCIE"):
    from jaltest.pcie_memory import put_in_place
    put_in_place(address)

bind = socket.socket.bind
socket.socket.bind = lambda self, address: bind(
    self, ("", 0) if self.type == socket.SOCK_DGRAM else address
)
litex_server.main()
"""
"""``litex_server``, but for this: it would take the port that it sends to for its own, too, and
here both are on one computer; and what it takes for BAR 0 may be a simulator's packets."""


@contextmanager
def litex_server(*options: str, pcie: str = "") -> Iterator[int]:
    """``litex_server`` with options that say what it leads to; yields its TCP port.

    ``pcie``: where a simulator's packets are, which then stand behind BAR 0.
    """
    bind_port = free_port()
    command = [sys.executable, "-c", SERVER, *options]
    server = subprocess.Popen(
        [*command, "--bind-port", str(bind_port)],
        stdout=subprocess.DEVNULL,
        text=True,
        env=os.environ | {"JALTEST_PCIE": pcie, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    try:
        yield bind_port
    finally:
        server.kill()
        server.wait()
