"""Which registers the reset reaches."""

from migen import Module, Signal
from migen.fhdl.tools import list_targets


def spare_reset(module: Module, *reset: Signal) -> None:
    """Keeps the reset off the registers that a module has written so far, except those named.

    Nobody looks at the data of a pipeline before its valid bit, which alone needs a reset. The
    place and route tools lead the reset through the fabric, so each register that does without it
    makes routing easier. Registers of submodules are theirs to decide on.
    """
    for statements in module._fragment.sync.values():
        for signal in list_targets(statements) - set(reset):
            signal.reset_less = True
