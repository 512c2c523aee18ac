"""``litex_server`` leads to a simulated system as to a board."""

import subprocess
import sys
from typing import Any

import pytest

from jalgateware.contract import mailbox
from jalgateware.contract.mailbox import Field
from jalgateware.contract.memory_map import MAILBOX
from jaltest.litex_server import litex_server
from jaltest.system import PATIENCE_S, System

IDENTIFIER = "jalhost simulation"


CLIENT = """
import sys, time
from litex.tools.litex_client import RemoteClient

port, csr_csv, mailbox_magic, patience = int(sys.argv[1]), *sys.argv[2:5]
client = RemoteClient(port=port, csr_csv=csr_csv)
deadline = time.monotonic() + float(patience)
while True:
    try:
        client.open()
        break
    except ConnectionRefusedError:
        assert time.monotonic() < deadline
        time.sleep(0.05)
client.socket.settimeout(float(patience))
text = "".join(chr(client.read(client.bases.identifier_mem + 4 * i)) for i in range(64))
print(text.partition("\\0")[0])
print(hex(client.regs.ctrl_scratch.read()))
print(client.read(int(mailbox_magic)))
"""
"""In a process of its own, as LiteX leaves files and sockets open."""


@pytest.mark.parametrize("way", ["pty", "tcp"])
def test_litex_server_reads_the_identifier(start: Any, way: str) -> None:
    system: System = start(pty=True)
    host, tcp_port = system.simulator.tcp_address
    # Waits until the firmware is ready, and hangs up: the server needs the line for itself.
    assert system.field(Field.BOOTS) == 1
    system.mailbox.link.close()
    port = system.simulator.pty_path if way == "pty" else f"socket://{host}:{tcp_port}"
    assert port
    check(system, "--uart", "--uart-port", port)


@pytest.mark.slow
def test_litex_server_reads_the_identifier_over_ethernet(ethernet_build: object) -> None:
    system = System(ethernet_build)
    assert system.field(Field.BOOTS) == 1
    host, port = system.simulator.udp_address
    check(system, "--udp", "--udp-ip", host, "--udp-port", str(port))
    system.close()


def check(system: System, *options: str) -> None:
    """LiteX's client reads what it should by a server with these options."""
    with litex_server(*options) as bind_port:
        arguments = [bind_port, system.build.csr_csv, MAILBOX.origin + Field.MAGIC, PATIENCE_S]
        client = subprocess.run(
            [sys.executable, "-c", CLIENT, *map(str, arguments)],
            capture_output=True,
            text=True,
            check=False,
        )
    assert client.stdout.splitlines() == [IDENTIFIER, "0x12345678", str(mailbox.MAGIC)], client
