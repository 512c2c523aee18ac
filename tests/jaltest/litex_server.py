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


@contextmanager
def litex_server(*options: str) -> Iterator[int]:
    """``litex_server`` with options that say what it leads to; yields its TCP port."""
    bind_port = free_port()
    command = [sys.executable, "-m", "litex.tools.litex_server", *options]
    server = subprocess.Popen(
        [*command, "--bind-port", str(bind_port)], stdout=subprocess.DEVNULL, text=True
    )
    try:
        yield bind_port
    finally:
        server.kill()
        server.wait()
