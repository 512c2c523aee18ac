"""The firmware's console, over the crossover UART that LiteX puts between bus and CPU."""

import time

from jalhost.engine.access import Access
from jalhost.errors import DeviceError, UsageError

SILENCE_S = 5.0
"""How long the console of a board may say nothing while an answer is due."""

LONGEST_LINE = 46
"""Characters of a line that the firmware keeps."""

AT_ONCE = 256
"""Characters that are read before somebody looks at them: a broken register may never be empty."""

LONGEST_ANSWER = 4096
"""Characters: twice what the firmware keeps and its longest answer has."""

MARK = ("read", "read ADDRESS [WORDS], ")
MARK_BEHIND_READ = ("help", "commands: ")
"""What is typed behind a command, and how its answer begins, which ends the command's. No command
that starts with ``read`` is answered by the second, and no other by the first."""


class Console:
    """Types and reads.

    Args:
        access: to the device's bus, with the names of its registers.
        silence_s: how long it may say nothing while an answer is due.

    Raises:
        UsageError: the registers have no names, or there is no such UART.
    """

    def __init__(self, access: Access, silence_s: float = SILENCE_S) -> None:
        find = access.named.find
        self._link = access.link
        self._data = find("uart_xover_rxtx").address
        self._full = find("uart_xover_txfull").address
        self._empty = find("uart_xover_rxempty").address
        self._silence_s = max(silence_s, access.patience_s)
        self._name = access.link.description

    def type(self, text: str) -> None:
        """Types a text.

        Raises:
            DeviceError: the firmware takes nothing.
        """
        for character in text.encode("ascii", "replace"):
            deadline = time.monotonic() + self._silence_s
            while self._link.read(self._full)[0]:
                if time.monotonic() > deadline:
                    raise self._dead()
            self._link.write(self._data, [character])

    def read(self) -> str:
        """What has been shown since the last time, or some of it."""
        shown = bytearray()
        while len(shown) < AT_ONCE and not self._link.read(self._empty)[0]:
            shown.append(self._link.read(self._data)[0] & 0xFF)
        return shown.decode("ascii", "replace")

    def ask(self, command: str) -> list[str]:
        """Runs a command of the console; returns the lines of its answer.

        What was shown before, by the start of the firmware for example, is passed over.

        Raises:
            UsageError: the command is longer than a line, or has several.
            DeviceError: no answer comes.
        """
        if len(command) > LONGEST_LINE or not command.isprintable():
            raise UsageError(f"a command is one line of at most {LONGEST_LINE} characters")
        typed, answer = MARK_BEHIND_READ if command.strip().startswith("read") else MARK
        self.type(f"\n{typed}\n")
        self._lines_until(answer)
        self.type(f"{command}\n{typed}\n")
        return self._lines_until(answer)

    def _lines_until(self, mark: str) -> list[str]:
        """The lines before the one that begins with a mark."""
        shown = ""
        deadline = time.monotonic() + self._silence_s
        while True:
            fresh = self.read()
            if fresh:
                deadline = time.monotonic() + self._silence_s
            shown += fresh
            *lines, _ = shown.split("\n")
            for number, line in enumerate(lines):
                if line.startswith(mark):
                    return [before.rstrip("\r") for before in lines[:number]]
            if time.monotonic() > deadline:
                raise self._dead()
            if len(shown) > LONGEST_ANSWER:
                raise DeviceError(
                    f"the console of {self._name} does not stop, nor makes sense",
                    "is the bundle that of the device's build?",
                )

    def _dead(self) -> DeviceError:
        return DeviceError(
            f"the console of {self._name} is silent",
            "the firmware does not run: jalhost csr read watchdog_status tells of resets",
        )
