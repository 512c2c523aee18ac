"""Datagrams to and from one other side."""

import socket
import time

from jalhost.errors import LinkError

MOST_BYTES = 2048
"""No datagram that belongs here is longer."""


class UdpSocket:
    """A UDP socket for one other side: what comes from elsewhere is not seen.

    Raises:
        LinkError: there is no such host, or no way to it.
    """

    def __init__(self, host: str, port: int) -> None:
        self.description = f"{host}:{port}"
        self.refused = False
        """Whether the other side's computer says that nobody listens there."""
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            self._socket.connect((host, port))
        except OSError as error:
            self.close()
            raise self._unreachable(error) from error

    def send(self, packet: bytes) -> None:
        """Sends a datagram, which may get lost.

        Raises:
            LinkError: there is no way to the other side.
        """
        try:
            self._socket.send(packet)
        except ConnectionRefusedError:
            self.refused = True  # said of an earlier one; this one is as good as lost
        except OSError as error:
            raise self._unreachable(error) from error

    def receive(self, timeout_s: float) -> bytes | None:
        """The next datagram; None if there is none in time.

        Raises:
            LinkError: there is no way to the other side.
        """
        deadline = time.monotonic() + timeout_s
        while True:
            try:
                # 0 would mean something else: not to wait at all.
                self._socket.settimeout(max(deadline - time.monotonic(), 1e-6))
                packet = self._socket.recv(MOST_BYTES)
            except TimeoutError:
                return None
            except ConnectionRefusedError:
                self.refused = True
            except OSError as error:
                raise self._unreachable(error) from error
            else:
                self.refused = False
                return packet

    def close(self) -> None:
        """Gives the socket back. May be called twice."""
        self._socket.close()

    def _unreachable(self, error: OSError) -> LinkError:
        reason = error.strerror or str(error)
        return LinkError(f"cannot reach {self.description}: {reason}", "is the address right?")
