"""Everything that can go wrong for a user, as one tree of exceptions with an exit code per class.

An error says what happened and where (``what``) and what to do next (``hint``). The command line
prints both on one line; a traceback appears only with ``--debug``.
"""

NO_LOGITS = "the last run kept no logits"


class JalError(Exception):
    """Base of all errors that a user can meet."""

    exit_code = 1

    def __init__(self, what: str, hint: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.hint = hint

    def __str__(self) -> str:
        """What happened, and the hint behind it."""
        return f"{self.what} ({self.hint})" if self.hint else self.what


class UsageError(JalError):
    """The request itself makes no sense: an empty prompt, an option out of range."""

    exit_code = 2


class ModelError(JalError):
    """A model, tokenizer or image file is missing, damaged, foreign or beyond a limit."""

    exit_code = 3


class LinkError(JalError):
    """The connection to the device is missing, busy, broken or talks nonsense."""

    exit_code = 4


class DeviceError(JalError):
    """The device answered, but refuses or failed."""

    exit_code = 5


class ConnectionLost(LinkError):
    """The port went away, and may come back."""


class DeviceRestarted(DeviceError):
    """The device's CPU started again: what it was doing is gone."""


class EnvironmentProblem(JalError):
    """A tool or a package that the request needs is not installed."""

    exit_code = 6


class BuildError(JalError):
    """Building gateware, firmware or the simulator failed."""

    exit_code = 7


class BundleError(JalError):
    """A bundle is missing, damaged, foreign, of a newer format, or lacks what is asked of it."""

    exit_code = 8


INTERRUPTED = 130
"""Exit code after Ctrl-C."""
