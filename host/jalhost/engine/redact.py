"""Takes what is personal out of texts that others will read.

Names of this computer and its user are known; addresses and serial numbers are found by how they
look. Equal things get equal names, so a reader still sees what belongs together.
"""

import getpass
import ipaddress
import json
import os
import platform
import re
import socket
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

PUBLIC_NAMES = frozenset({"root", "localhost", "localhost.localdomain", "nobody", "runner", ""})
"""Names that are everybody's."""

LOOPBACK = "127."

_ESCAPE = r"(?<=\\[nrt])"
"""Behind it a word begins, too: a line's end as JSON writes it."""

_HOME = re.compile(
    rf"(?:(?<![\w./-])|{_ESCAPE})(?:/home|/Users|/export/home|/var/home)/[^/\\\s\"':;,)]+"
)
_EMAIL = re.compile(r"[\w.+-]+@[\w-]+(?:\.[\w-]+)+")
_MAC = re.compile(
    r"(?<![0-9A-Fa-f:-])(?:(?:[0-9A-Fa-f]{2}:){5}[0-9A-Fa-f]{2}|(?:[0-9A-Fa-f]{2}-){5}[0-9A-Fa-f]{2}"
    r"|(?:[0-9A-Fa-f]{4}\.){2}[0-9A-Fa-f]{4})(?![0-9A-Fa-f:-])"
)
_IPV4 = re.compile(
    rf"(?:(?<![\w.])|{_ESCAPE})" r"(?:\d{1,3}\.){3}\d{1,3}(?!\w)(?!\.(?:post|dev|rc)\d)"
)
_IPV6 = re.compile(
    rf"(?:(?<![\w:.])|{_ESCAPE})" r"[0-9A-Fa-f:]*:[0-9A-Fa-f:]*:[0-9A-Fa-f:.]*(?:%\w+)?"
)
_BY_ID = re.compile(r"/dev/serial/by-(?:id|path)/[^\\\s\"',;)]+")
_SERIAL = re.compile(
    r"(?P<before>--serial[ =]\"?"
    rf"|(?:\b|_|\bi|{_ESCAPE})serial(?:[ _-]?(?:number|num|no|nr))?\\*[\"']?\s*[:=]\s*\\*[\"']?)"
    r"(?P<value>(?!None\b|null\b|true\b|false\b)[\w.-]*\d[\w.-]*)",
    re.IGNORECASE,
)


class Redactor:
    """Replaces what is personal by names like ``<user>`` and ``<ip-1>``.

    Args:
        users: names of people or accounts.
        hosts: names of computers.
        homes: folders of users.
        serials: numbers of things that are plugged in.
        macs: addresses of this computer's network ports, also as twelve digits.
    """

    def __init__(
        self,
        users: Iterable[str] = (),
        hosts: Iterable[str] = (),
        homes: Iterable[str] = (),
        serials: Iterable[str] = (),
        macs: Iterable[str] = (),
    ) -> None:
        self.counts: Counter[str] = Counter()
        self._names: dict[tuple[str, str], str] = {}
        self._literals: list[tuple[re.Pattern[str], str]] = []
        for kind, words in (("home", homes), ("host", hosts), ("user", users), ("serial", serials)):
            # The longest first: others may be parts of it.
            known = set(words) - PUBLIC_NAMES
            known |= {json.dumps(word)[1:-1] for word in known}  # as JSON writes them
            for word in sorted(known, key=len, reverse=True):
                self._literals.append((_word(word), kind))
        for mac in macs:
            bare = mac.replace(":", "").replace("-", "")
            self._literals.append((_word(bare), "mac"))

    def names(self, text: str) -> str:
        """The text without what is known to be personal: numbers may look like addresses."""
        for pattern, kind in self._literals:
            text = pattern.sub(self._by(kind, kind in ("serial", "mac")), text)
        return text

    def __call__(self, text: str) -> str:
        """The text without what is personal."""
        text = self.names(text)
        text = _HOME.sub(self._by("home", False), text)
        text = _EMAIL.sub(self._by("email"), text)
        text = _BY_ID.sub(self._by("serial"), text)
        text = _SERIAL.sub(self._serial, text)
        text = _MAC.sub(self._by("mac"), text)
        text = _IPV4.sub(self._address, text)
        return _IPV6.sub(self._address, text)

    def _by(self, kind: str, numbered: bool = True) -> Callable[[re.Match[str]], str]:
        return lambda match: self._name(kind, match[0], numbered)

    def _name(self, kind: str, value: str, numbered: bool = True) -> str:
        self.counts[kind] += 1
        if not numbered:
            return f"<{kind}>"
        key = (kind, value.lower())
        number = 1 + sum(other == kind for other, _ in self._names)
        return self._names.setdefault(key, f"<{kind}-{number}>")

    def _serial(self, match: re.Match[str]) -> str:
        return match["before"] + self._name("serial", match["value"])

    def _address(self, match: re.Match[str]) -> str:
        text = match[0]
        # What stands behind an address in a sentence is no part of it.
        plain = text.rstrip(".:") if not text.endswith("::") else text
        try:
            address = ipaddress.ip_address(plain)
        except ValueError:
            return text
        if address.is_loopback or address.is_unspecified:
            return text
        return self._name("ip", plain) + text[len(plain) :]


def _word(text: str) -> re.Pattern[str]:
    """Finds a word where it is not a part of another; what JSON has escaped is no part of one."""
    escaped = re.escape(text).replace(r"\\", r"\\+")
    return re.compile(rf"(?:(?<![A-Za-z0-9])|{_ESCAPE}){escaped}(?![A-Za-z0-9])", re.IGNORECASE)


def personal() -> Redactor:
    """What is personal on this computer."""
    users = {os.environ.get(name, "") for name in ("USER", "LOGNAME", "SUDO_USER", "LG_USERNAME")}
    with suppress(KeyError, OSError):
        users.add(getpass.getuser())
    hosts = {socket.gethostname(), platform.node(), os.environ.get("LG_HOSTNAME", "")}
    hosts |= {name.partition(".")[0] for name in hosts}
    homes = {os.environ.get("HOME", "")}
    with suppress(RuntimeError):
        homes.add(str(Path.home()))
    return Redactor(users, hosts, homes - {"/"}, _serials(), _macs())


def _serials() -> list[str]:
    """Serial numbers of USB adapters that are plugged in."""
    from jalhost.environment import BOARDS
    from jalhost.links.ports import list_ports

    if BOARDS.missing():
        return []
    return [port.serial for port in list_ports() if port.serial]


def _macs() -> list[str]:
    """Addresses of this computer's network ports."""
    found = []
    for path in Path("/sys/class/net").glob("*/address"):
        with suppress(OSError):
            found.append(path.read_text(encoding="ascii").strip())
    return [mac for mac in found if mac.strip("0:")]
