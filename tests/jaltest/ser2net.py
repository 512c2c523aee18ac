"""Stands in for ser2net, as labgrid's exporters start it: a port behind RFC 2217, by pyserial.

``ser2net -v``, or ``-Y`` with an accepter on a TCP port and a connector to a serial port.
"""

import re
import socket
import sys
import threading

import serial
from serial.rfc2217 import PortManager


class Connection:
    """What pyserial's port manager writes its own answers to."""

    def __init__(self, client: socket.socket) -> None:
        self._client = client
        self._lock = threading.Lock()

    def write(self, data: bytes) -> None:
        with self._lock:
            self._client.sendall(data)


class Port(serial.Serial):
    """A port whose modem lines rest: pseudo terminals have none."""

    cts = dsr = ri = cd = True


def serve(client: socket.socket, path: str) -> None:
    """Passes bytes on in both directions until the client goes."""
    # To open it for oneself alone would keep the simulator's own end out.
    with client, Port(path, timeout=0.05) as port:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection = Connection(client)
        manager = PortManager(port, connection)
        ended = threading.Event()

        def upwards() -> None:
            while not ended.is_set():
                data = port.read(port.in_waiting or 1)
                if data:
                    connection.write(b"".join(manager.escape(data)))

        reader = threading.Thread(target=upwards)
        reader.start()
        try:
            while data := client.recv(4096):
                port.write(b"".join(manager.filter(data)))
        except OSError:
            return
        finally:
            ended.set()
            reader.join()


def main() -> None:
    """Serves one client after the other."""
    if "-v" in sys.argv:
        print("ser2net version 4.6.2")
        return
    text = " ".join(sys.argv)
    accepter = re.search(r"accepter: telnet\(rfc2217,mode=server\),tcp,(\d+)", text)
    connector = re.search(r"connector: serialdev\(nouucplock=true\),([^,]+),", text)
    assert accepter, text
    assert connector, text
    with socket.create_server(("", int(accepter[1]))) as server:
        while True:
            client, _ = server.accept()
            serve(client, connector[1])


if __name__ == "__main__":
    main()
