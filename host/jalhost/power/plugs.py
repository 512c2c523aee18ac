"""Smart plugs on the local network: Shelly (first generation, and second on) and Tasmota."""

import http.client
import json
import re
from typing import Any

from jalhost.errors import DeviceError, LinkError, UsageError
from jalhost.power.meter import Source

TIMEOUT_S = 3.0

INTERVAL_S = 1.0
"""They measure about once a second."""

LONGEST_ANSWER = 1 << 16

HOST = re.compile(r"[\w.-]+(:\d+)?|\[[0-9A-Fa-f:]+\](:\d+)?")


class Plug:
    """What answers at a host; ``kind`` and the host name it in messages."""

    source = Source.METERED

    def __init__(self, kind: str, host: str, timeout_s: float, interval_s: float) -> None:
        if not HOST.fullmatch(host):
            raise UsageError(f"{host!r} is no host", f"for example {kind}:192.168.1.40")
        self._host, self._timeout_s = host, timeout_s
        self.interval_s = interval_s
        self.description = f"{kind} {host}"

    def get(self, path: str) -> dict[str, Any]:
        """What the plug answers, as JSON.

        Raises:
            LinkError: no answer in time.
            DeviceError: another answer than the plug's.
        """
        connection = http.client.HTTPConnection(self._host, timeout=self._timeout_s)
        try:
            connection.request("GET", path)
            with connection.getresponse() as response:
                status, body = response.status, response.read(LONGEST_ANSWER)
        except (OSError, http.client.HTTPException) as error:
            reason = "no answer in time" if isinstance(error, TimeoutError) else _reason(error)
            raise LinkError(
                f"{self.description} cannot be reached: {reason}", "check its address and network"
            ) from error
        finally:
            connection.close()
        if status in (http.client.UNAUTHORIZED, http.client.FORBIDDEN):
            raise DeviceError(
                f"{self.description} asks for a password", "switch its local authentication off"
            )
        try:
            answer = json.loads(body)
        except ValueError:
            answer = None
        if status != http.client.OK or not isinstance(answer, dict):
            raise DeviceError(
                f"{self.description} answers {path} with status {status} and no JSON object",
                "check what is at this address",
            )
        return answer

    def number(self, value: Any, name: str) -> float:
        """A figure of an answer.

        Raises:
            DeviceError: it is none.
        """
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise DeviceError(
                f"{self.description} gives no power: its answer has no number {name}",
                "choose a plug, or a channel, that measures",
            )
        return float(value)

    def close(self) -> None:
        """Nothing: each reading is a connection of its own."""


class Shelly(Plug):
    """A Shelly plug or relay; ``/shelly`` tells its generation."""

    def __init__(self, host: str, switch: int, timeout_s: float, interval_s: float) -> None:
        super().__init__("shelly", host, timeout_s, interval_s)
        self._switch = switch
        self._first = "gen" not in self.get("/shelly")

    def read_w(self) -> float:
        """Power now.

        Raises:
            LinkError: no answer in time.
            DeviceError: no power in it.
        """
        if not self._first:
            answer = self.get(f"/rpc/Switch.GetStatus?id={self._switch}")
            return self.number(answer.get("apower"), "apower")
        answer = self.get(f"/meter/{self._switch}")
        if answer.get("is_valid") is False:
            raise DeviceError(f"{self.description} says that it has no valid reading", "try again")
        return self.number(answer.get("power"), "power")


class Tasmota(Plug):
    """A plug with Tasmota; its channels together."""

    def read_w(self) -> float:
        """Power now.

        Raises:
            LinkError: no answer in time.
            DeviceError: no power in it.
        """
        found: Any = self.get("/cm?cmnd=Status%208")
        for name in ("StatusSNS", "ENERGY", "Power"):
            found = found.get(name) if isinstance(found, dict) else None
        channels = found if isinstance(found, list) and found else [found]
        return sum(self.number(value, "StatusSNS.ENERGY.Power") for value in channels)


def open_shelly(
    place: str, switch: int = 0, timeout: float = TIMEOUT_S, interval: float = INTERVAL_S
) -> Shelly:
    """The meter ``shelly:HOST``."""
    return Shelly(place, switch, timeout, interval)


def open_tasmota(place: str, timeout: float = TIMEOUT_S, interval: float = INTERVAL_S) -> Tasmota:
    """The meter ``tasmota:HOST``."""
    return Tasmota("tasmota", place, timeout, interval)


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
