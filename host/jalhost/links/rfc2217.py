"""A serial port of another computer, behind a server that speaks Telnet's COM port option.

RFC 2217 puts the rate of the port into Telnet (RFC 854) in its binary mode (RFC 856); ser2net and
labgrid's exporters serve ports like that. In the byte stream, 255 stands twice.
"""

import re
import time

from jalgateware.contract.serial_port import BASE_BAUD
from jalhost.errors import LinkError
from jalhost.links.tcp import TcpConnection

IAC, DONT, DO, WONT, WILL, SB, SE = 255, 254, 253, 252, 251, 250, 240
"""Telnet's commands."""

BINARY, SUPPRESS_GO_AHEAD, COM_PORT = 0, 3, 44
"""Telnet's options that are of use here; all others are refused."""

SET_BAUDRATE, SET_DATASIZE, SET_PARITY, SET_STOPSIZE, SET_CONTROL = 1, 2, 3, 4, 5
"""Commands of the COM port option; the server's answers are 100 more."""

SERVER = 100

COMMAND = re.compile(
    rb"\xff(?:\xfa(?P<content>(?:[^\xff]|\xff\xff)*)\xff\xf0"
    rb"|(?P<wish>[\xfb-\xfe])(?P<option>.)|(?P<other>[^\xfa-\xfe]))",
    re.DOTALL,
)
"""A whole command: a subnegotiation with its content, a negotiation with its option, or another."""

ANSWER_TIMEOUT_S = 10.0

FRAME = {SET_DATASIZE: 8, SET_PARITY: 1, SET_STOPSIZE: 1, SET_CONTROL: 1}
"""8 bits, no parity, one stop bit, no flow control."""


class Rfc2217Port:
    """A port of a server, at one rate.

    Args:
        host: the server's.
        port: the server's.
        baud: the serial port's rate.

    Raises:
        LinkError: nobody listens there, or the server speaks something else.
    """

    def __init__(self, host: str, port: int, baud: int = BASE_BAUD) -> None:
        self.description = f"rfc2217://{host}:{port}"
        self.baud = baud
        self._tcp = TcpConnection(host, port)
        self._answered = False
        self._said: set[tuple[int, int]] = set()
        self._pending = b""
        self._data = b""
        try:
            self._start()
        except BaseException:
            self._tcp.close()
            raise

    def _start(self) -> None:
        for option in (BINARY, SUPPRESS_GO_AHEAD, COM_PORT):
            self._say(WILL, option)
        for option in (BINARY, SUPPRESS_GO_AHEAD):
            self._say(DO, option)
        self._set(SET_BAUDRATE, self.baud.to_bytes(4, "big"))
        for command, value in FRAME.items():
            self._set(command, bytes([value]))
        deadline = time.monotonic() + ANSWER_TIMEOUT_S
        while not self._answered:
            self._take(LOOK_S)
            if time.monotonic() > deadline:
                raise LinkError(
                    f"what answers at {self.description} knows no serial ports",
                    "a server without RFC 2217 is named by tcp://HOST:PORT",
                )
        self._data = b""

    def send(self, data: bytes) -> None:
        """Sends all of the data.

        Raises:
            LinkError: the connection is lost.
        """
        self._tcp.send(_escaped(data))

    def receive(self, most: int, timeout_s: float) -> bytes:
        """Returns what is there, 1 to ``most`` bytes; empty if nothing came within the time.

        Raises:
            LinkError: the connection is lost.
        """
        deadline = time.monotonic() + timeout_s
        while not self._data:
            left = deadline - time.monotonic()
            if left <= 0:
                return b""
            self._take(left)
        data, self._data = self._data[:most], self._data[most:]
        return data

    def discard_input(self) -> None:
        """Throws away what has arrived.

        Raises:
            LinkError: the connection is lost.
        """
        while self._take(DISCARD_S):
            pass
        self._data = b""

    def drain(self) -> None:
        """Nothing to wait for that this end would know of."""

    def close(self) -> None:
        """Ends the connection."""
        self._tcp.close()

    def _take(self, timeout_s: float) -> bool:
        """Takes what arrives: data, and what the server says; whether anything came."""
        fresh = self._tcp.receive(4096, timeout_s)
        self._pending += fresh
        while self._pending:
            start = self._pending.find(IAC)
            if start:  # data up to there, or all of it
                end = start if start > 0 else len(self._pending)
                self._data += self._pending[:end]
                self._pending = self._pending[end:]
                continue
            used = self._command()
            if not used:  # the rest of it comes later
                break
            self._pending = self._pending[used:]
        return bool(fresh)

    def _command(self) -> int:
        """Carries out the command that the pending bytes begin with; returns its length.

        0: the rest of it has yet to come.
        """
        match = COMMAND.match(self._pending)
        if not match:
            return 0
        if match["other"] == bytes([IAC]):
            self._data += match["other"]
        elif match["wish"]:
            self._negotiate(match["wish"][0], match["option"][0])
        elif (match["content"] or b"")[:2] == bytes([COM_PORT, SERVER + SET_BAUDRATE]):
            self._answered = True
        return match.end()

    def _negotiate(self, command: int, option: int) -> None:
        """Answers a wish of the server's, each once: endless politeness is no use."""
        if command == DO:
            known = option in (BINARY, SUPPRESS_GO_AHEAD, COM_PORT)
            self._say(WILL if known else WONT, option)
        elif command == WILL:
            known = option in (BINARY, SUPPRESS_GO_AHEAD, COM_PORT)
            self._say(DO if known else DONT, option)

    def _say(self, command: int, option: int) -> None:
        if (command, option) not in self._said:
            self._said.add((command, option))
            self._tcp.send(bytes([IAC, command, option]))

    def _set(self, command: int, value: bytes) -> None:
        self._tcp.send(bytes([IAC, SB, COM_PORT, command]) + _escaped(value) + bytes([IAC, SE]))


LOOK_S = 0.2
"""Between two looks whether the server has answered."""

DISCARD_S = 0.001
"""How long to wait for more of what is thrown away."""


def _escaped(data: bytes) -> bytes:
    return data.replace(b"\xff", b"\xff\xff")
