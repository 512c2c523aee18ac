"""Errors of simulators, in the project's one tree of exceptions."""

from jalhost.errors import JalError


class SimulatorError(JalError):
    """A simulator did not start, or ended before it should."""

    exit_code = 4
