"""Bench meters, supplies and USB meters that speak SCPI, by VISA."""

from typing import Any

from jalhost.environment import POWER
from jalhost.errors import DeviceError, EnvironmentProblem, LinkError, UsageError
from jalhost.power.meter import Source
from jalhost.power.units import parse_power

QUERY = "MEAS:POW?"
TIMEOUT_S = 2.0
OPEN_TIMEOUT_MS = 5000
INTERVAL_S = 0.1
BACKEND = "@py"
"""pyvisa-py: no vendor's library is needed."""


class ScpiMeter:
    """An instrument that answers ``query`` by power, or by what ``times`` makes power of."""

    source = Source.METERED

    def __init__(
        self, resource: Any, name: str, query: str, times: str, unit: str, interval_s: float
    ) -> None:
        self._resource = resource
        self._query, self._times, self._unit = query, times, unit
        self.interval_s = interval_s
        self.description = f"scpi {name}"

    def read_w(self) -> float:
        """Asks the instrument.

        Raises:
            LinkError: it does not answer in time.
            DeviceError: its answer is no power.
        """
        watts = parse_power(self._ask(self._query), self._unit, self.description)
        if self._times:
            watts *= parse_power(self._ask(self._times), "", self.description)
        return watts

    def _ask(self, query: str) -> str:
        import pyvisa

        try:
            return str(self._resource.query(query))
        except (pyvisa.Error, OSError) as error:
            raise LinkError(
                f"{self.description} does not answer {query}: {_reason(error)}",
                "check that it knows the query (query=...), and its cable",
            ) from error
        except UnicodeDecodeError as error:
            raise DeviceError(
                f"{self.description} answers {query} by something that is no text",
                "check that it speaks SCPI",
            ) from error

    def close(self) -> None:
        """Gives the instrument back."""
        import pyvisa

        try:
            self._resource.close()
        except (pyvisa.Error, OSError):
            return


def open_scpi(
    place: str,
    query: str = QUERY,
    times: str = "",
    unit: str = "W",
    timeout: float = TIMEOUT_S,
    visa: str = BACKEND,
    interval: float = INTERVAL_S,
) -> ScpiMeter:
    """The meter ``scpi:RESOURCE``.

    Raises:
        UsageError: the name is none of an instrument.
        EnvironmentProblem: pyvisa or its back end is not installed.
        LinkError: there is no such instrument.
    """
    if "::" not in place:
        raise UsageError(
            f"{place!r} is no VISA resource", "for example scpi:TCPIP::192.168.1.60::INSTR"
        )
    missing = POWER.missing()
    if missing:
        raise EnvironmentProblem(
            f"the meter scpi: needs {', '.join(item.name for item in missing)}",
            "; ".join(POWER.fixes()),
        )
    import pyvisa

    options: dict[str, Any] = {
        "timeout": round(1000 * timeout),
        "open_timeout": OPEN_TIMEOUT_MS,
        "read_termination": "\n",
        "write_termination": "\n",
    }
    try:
        resource = pyvisa.ResourceManager(visa).open_resource(place, **options)
    except (pyvisa.Error, OSError, ValueError) as error:
        raise LinkError(
            f"cannot open the instrument {place}: {_reason(error)}",
            "a VISA resource, for example TCPIP::192.168.1.60::INSTR",
        ) from error
    return ScpiMeter(resource, place, query, times, "" if times else unit, interval)


def _reason(error: Exception) -> str:
    """The first line of what a library says, without the codes of VISA."""
    text = (str(error).strip() or type(error).__name__).splitlines()[0]
    return text.split("): ", 1)[-1].rstrip(".")
