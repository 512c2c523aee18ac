"""Helpers for valid-only pipelines (fixed latency, no backpressure) and for wiring."""

from collections.abc import Sequence
from functools import reduce
from operator import add
from typing import Any

from migen import Cat, Constant, Module, Replicate, Signal
from migen.fhdl.bitcontainer import value_bits_sign


def delayed(module: Module, signal: Any, cycles: int) -> Any:
    """``signal`` as it was ``cycles`` clock cycles ago (the signal itself for 0).

    More than a byte is data, which a valid bit accompanies: a reset leaves it alone.
    """
    for _ in range(cycles):
        bits, signed = value_bits_sign(signal)
        register = Signal((bits, signed), reset_less=bits > 8)
        module.sync += register.eq(signal)
        signal = register
    return signal


def held(module: Module, signal: Any, cycles: int, slow: bool) -> Any:
    """As :func:`delayed`; the signal itself where that is ``slow``, so that it is still there."""
    return signal if slow else delayed(module, signal, cycles)


def registered(module: Module, value: Any, cycles: int) -> Signal:
    """An expression, delayed by at least one cycle, in registers that a reset leaves alone.

    For wide data that are not used before they are valid; next to a multiplier, such registers fit
    into it.
    """
    for _ in range(cycles):
        register = Signal(value_bits_sign(value), reset_less=True)
        module.sync += register.eq(value)
        value = register
    return register


def registered_sum(module: Module, terms: Sequence[Any]) -> tuple[Any, int]:
    """Adder tree over signed signals, with a register behind each adder.

    Adders one behind the other would become LUTs beside the carry chains: 3,800 in four token rows.

    Returns:
        The sum (wide enough to be exact) and its latency in cycles.
    """
    latency = 0
    while len(terms) > 1:
        terms = [reduce(add, terms[i : i + 2]) for i in range(0, len(terms), 2)]
        bits = max(len(term) for term in terms)
        registers = [Signal((bits, True), reset_less=True) for _ in terms]
        module.sync += [register.eq(term) for register, term in zip(registers, terms, strict=True)]
        terms = registers
        latency += 1
    return terms[0], latency


def sum_latency(count: int) -> int:
    """Latency of :func:`registered_sum` over ``count`` terms."""
    return (count - 1).bit_length()


def each(targets: Sequence[Signal], sources: Sequence[Signal]) -> list[Any]:
    """Assigns signal by signal."""
    return [target.eq(source) for target, source in zip(targets, sources, strict=True)]


def fits(value: Any, bits: int) -> Any:
    """Expression: a signed value fits ``bits`` bits (those from the narrower sign up are equal)."""
    top = value[bits - 1 :]
    return (top == 0) | (top == (1 << len(top)) - 1)


def moved_left(value: Any, amount: int, bits: int) -> Any:
    """Expression: a signed signal times ``2 ** amount``, as ``bits`` bits.

    Written as a concatenation: simulators shift numbers of more than 64 bits word by word.
    """
    kept = value[: bits - amount]
    parts = [Constant(0, amount)] if amount else []
    missing = bits - amount - len(kept)
    return Cat(*parts, kept, *([Replicate(value[-1], missing)] if missing else []))


def moved_right(value: Any, amount: int) -> Any:
    """Expression: a signed signal shifted right arithmetically, as wide as it was."""
    return Cat(value[amount:], Replicate(value[-1], amount)) if amount else value
