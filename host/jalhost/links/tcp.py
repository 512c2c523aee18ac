"""A TCP connection as a byte stream: serial port servers, and simulators."""

import socket

from jalhost.errors import ConnectionLost, LinkError

CONNECT_TIMEOUT_S = 5.0
SEND_TIMEOUT_S = 30.0


class TcpConnection:
    """A connection to ``host``:``port``.

    Raises:
        LinkError: nobody listens there.
    """

    def __init__(self, host: str, port: int) -> None:
        self.description = f"{host}:{port}"
        self.baud = None
        try:
            self._socket = socket.create_connection((host, port), CONNECT_TIMEOUT_S)
        except OSError as error:
            raise LinkError(
                f"cannot connect to {self.description}: {error.strerror or error}",
                "is the server running?",
            ) from error
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def send(self, data: bytes) -> None:
        """Sends all of the data.

        Raises:
            LinkError: the connection is lost.
        """
        try:
            self._socket.settimeout(SEND_TIMEOUT_S)
            self._socket.sendall(data)
        except OSError as error:
            raise self._lost(str(error)) from error

    def receive(self, most: int, timeout_s: float) -> bytes:
        """Returns what is there, 1 to ``most`` bytes; empty if nothing came within the time.

        Raises:
            LinkError: the connection is lost.
        """
        try:
            self._socket.settimeout(timeout_s)
            data = self._socket.recv(most)
        except TimeoutError:
            return b""
        except OSError as error:
            raise self._lost(str(error)) from error
        if not data:
            raise self._lost("closed by the other side")
        return data

    def discard_input(self) -> None:
        """Throws away what has arrived.

        Raises:
            LinkError: the connection is lost.
        """
        try:
            self._socket.settimeout(0)
            while self._socket.recv(4096):
                pass
        except BlockingIOError:
            return
        except OSError as error:
            raise self._lost(str(error)) from error
        raise self._lost("closed by the other side")

    def drain(self) -> None:
        """Nothing to wait for that this end would know of."""

    def close(self) -> None:
        """Ends the connection."""
        self._socket.close()

    def _lost(self, reason: str) -> ConnectionLost:
        return ConnectionLost(f"lost the connection to {self.description}: {reason}")
