"""What tests of gateware share: processes for Migen that feed, watch and empty a unit."""

import random
from collections.abc import Generator, Iterable, Sequence
from graphlib import TopologicalSorter
from typing import Any

from migen import Case, Cat, Constant, If, Replicate, Signal, run_simulation
from migen.fhdl.bitcontainer import value_bits_sign
from migen.fhdl.specials import _MemoryLocation
from migen.fhdl.structure import _ArrayProxy, _Operator, _Slice
from migen.fhdl.tools import flat_iteration, list_targets
from migen.sim.core import Simulator

Process = Generator[Any, Any, Any]
"""A process of the simulation: yields statements, expressions, and nothing for the next cycle."""


class Clock:
    """Counts cycles; its process stands first in the list, so that all see the same number."""

    def __init__(self) -> None:
        self.cycle = 0

    def process(self) -> Process:
        yield "passive"
        while True:
            self.cycle += 1
            yield


class Receiver:
    """Consumes a stream, and checks that a payload is held until it is accepted.

    Args:
        source: the stream's endpoint.
        fields: signals of its payload; with one, ``values`` are plain integers, else tuples.
        clock: for ``arrivals``, the cycle of each acceptance.
        stall: probability of not being ready in a cycle.
        after_valid: becomes ready only once something is valid, as some consumers do.
    """

    def __init__(
        self,
        source: Any,
        fields: list[Signal],
        clock: Clock,
        stall: float = 0.0,
        after_valid: bool = False,
        seed: int = 0,
    ) -> None:
        self.source = source
        self.fields = fields
        self.clock = clock
        self.stall = stall
        self.after_valid = after_valid
        self.random = random.Random(seed)
        self.values: list[Any] = []
        self.arrivals: list[int] = []
        self.held: list[int] | None = None

    def clear(self) -> None:
        """Forgets what was received, also what was offered: for streams that an abort cuts off."""
        self.held = None
        self.values.clear()
        self.arrivals.clear()

    def process(self) -> Process:
        yield "passive"
        while True:
            valid, ready = (yield self.source.valid), (yield self.source.ready)
            payload = []
            for field in self.fields if valid else []:
                payload.append((yield field))
            if self.held is not None and payload != self.held:
                raise AssertionError(f"{self.held} was not accepted and became {payload}")
            self.held = payload if valid and not ready else None
            if valid and ready:
                self.values.append(payload[0] if len(payload) == 1 else tuple(payload))
                self.arrivals.append(self.clock.cycle)
            willing = self.random.random() >= self.stall
            if self.after_valid:
                willing = willing and valid and not ready
            yield self.source.ready.eq(int(willing))
            yield


def wait_for(signal: Signal, limit: int = 50000) -> Process:
    """Waits until a signal is 1; returns the number of cycles."""
    for cycle in range(limit):
        if (yield signal):
            return cycle
        yield
    raise AssertionError(f"nothing happened in {limit} cycles")


def pulse(signal: Signal) -> Process:
    """Sets a signal for one cycle; returns in that cycle."""
    yield signal.eq(1)
    yield
    yield signal.eq(0)


class Sender:
    """Feeds a stream, with pauses; what it offers it holds until it is accepted.

    Args:
        sink: the stream's endpoint.
        fields: signals of its payload.
        values: what to send, integers for one field, else tuples.
        stall: probability of a pause before a value.
    """

    def __init__(
        self,
        sink: Any,
        fields: list[Signal],
        values: Sequence[Any],
        stall: float = 0.0,
        seed: int = 0,
    ) -> None:
        self.sink = sink
        self.fields = fields
        self.values = values
        self.stall = stall
        self.random = random.Random(seed)

    def process(self) -> Process:
        for value in self.values:
            while self.random.random() < self.stall:
                yield
            row = value if isinstance(value, tuple) else (value,)
            for field, item in zip(self.fields, row, strict=True):
                yield field.eq(item)
            yield self.sink.valid.eq(1)
            yield
            while not (yield self.sink.ready):
                yield
            yield self.sink.valid.eq(0)


class Pipeline:
    """Checks a valid-only pipeline: fixed latency, one row per cycle, no backpressure.

    Args:
        unit: what to simulate, once for each instance of this class.
        inputs: the signals that a row sets.
        outputs: the signals that answer it.
        latency: cycles between a row and its answer.
        valid: the pipeline's valid input and output, if it has them.
    """

    def __init__(
        self,
        unit: Any,
        inputs: list[Signal],
        outputs: list[Signal],
        latency: int,
        valid: tuple[Signal, Signal] | None = None,
    ) -> None:
        self.unit = unit
        self.inputs = inputs
        self.outputs = outputs
        self.latency = latency
        self.valid = valid

    def run(self, rows: Iterable[tuple[int, ...]], gaps: float = 0.0, seed: int = 0) -> list[Any]:
        """The answers to ``rows``, each sampled exactly ``latency`` cycles behind its row.

        ``gaps`` is the probability of a cycle without a row, in which the inputs are noise. Where
        the pipeline has a valid output, it must be 1 for the rows and 0 for the gaps.
        """
        pick = random.Random(seed)
        slots: list[tuple[int, ...] | None] = []
        for row in rows:
            while pick.random() < gaps:
                slots.append(None)
            slots.append(row)
        answers: list[Any] = []
        run_simulation(self.unit, self._process(slots, pick, answers))
        return answers

    def _process(
        self, slots: list[tuple[int, ...] | None], pick: random.Random, answers: list[Any]
    ) -> Process:
        # What is set in a cycle is there in the next one. Valid is watched from the start.
        start = 1 + self.latency
        for cycle in range(len(slots) + start):
            expected = slots[cycle - start] if cycle >= start else None
            if self.valid:
                assert (yield self.valid[1]) == (expected is not None), f"valid in cycle {cycle}"
            if expected is not None:
                answer = []
                for signal in self.outputs:
                    answer.append((yield signal))
                answers.append(tuple(answer))
            row = slots[cycle] if cycle < len(slots) else None
            noise = tuple(pick.getrandbits(len(signal)) for signal in self.inputs)
            for signal, value in zip(self.inputs, noise if row is None else row, strict=True):
                yield signal.eq(value)
            if self.valid:
                yield self.valid[0].eq(int(row is not None))
            yield


def simulate(unit: Any, processes: list[Process]) -> None:
    """Migen's ``run_simulation``, up to 50 times as fast: compiles the unit to Python.

    For units with the clock domain ``sys`` alone and without combinational loops.

    Raises:
        graphlib.CycleError: there is such a loop.
    """
    with Simulator(unit, processes) as simulator:
        evaluator, fragment = simulator.evaluator, simulator.fragment
        values, changes = evaluator.signal_values, evaluator.modifications
        compiler = _Compiler(evaluator.replaced_memories)
        settle = compiler.combinational(list(flat_iteration(fragment.comb)))
        clock = compiler.clocked(list(flat_iteration(fragment.sync["sys"])))
        for signal in compiler.signals:
            values[signal.duid] = signal.reset.value
        settle(values, compiler.tables)
        while simulator._continue_simulation():
            clock(values, changes, compiler.tables)
            simulator._process_generators("sys")
            for identity, value in changes.items():
                values[identity] = value
            changes.clear()
            settle(values, compiler.tables)


class _Compiler:
    """Migen's expressions and statements as Python source, with the meaning of its simulator.

    Signals are entries of a list ``v`` by their identity; clocked statements write to ``m``, which
    a cycle's end makes visible. ``t`` holds what arrays choose from.
    """

    def __init__(self, memories: dict[Any, Any]) -> None:
        self.memories = memories
        self.tables: list[tuple[int, ...]] = []
        self.signals: set[Signal] = set()
        self.reads: set[Signal] = set()
        self._table_of: dict[Any, int] = {}

    def combinational(self, statements: list[Any]) -> Any:
        """A function that settles all combinational signals, each in its turn."""
        by_target: dict[Signal, list[Any]] = {}
        for statement in statements:
            for target in list_targets(statement):
                by_target.setdefault(target, []).append(statement)
        lines, graph = {}, {}
        for target, group in by_target.items():
            self.reads = set()
            lines[target] = self._statements(group, target, " ")
            graph[target] = self.reads - {target}
        order = TopologicalSorter(graph).static_order()
        return self._function("v, t", [line for one in order for line in lines.get(one, [])])

    def clocked(self, statements: list[Any]) -> Any:
        """A function for the clock's edge."""
        return self._function("v, m, t", self._statements(statements, None, " "))

    def _function(self, arguments: str, lines: list[str]) -> Any:
        scope: dict[str, Any] = {}
        exec(f"def function({arguments}):\n pass\n" + "\n".join(lines), scope)
        return scope["function"]

    def _statements(self, statements: Any, target: Signal | None, indent: str) -> list[str]:
        """Lines that execute the statements; with a target only what drives it."""
        lines = []
        for item in flat_iteration(statements):
            if target is not None and target not in list_targets(item):
                continue
            if isinstance(item, If):
                lines.append(f"{indent}if {self._truth(item.cond)}:")
                lines += self._statements(item.t, target, indent + " ") or [f"{indent} pass"]
                otherwise = self._statements(item.f, target, indent + " ")
                lines += [f"{indent}else:", *otherwise] if otherwise else []
            elif isinstance(item, Case):
                lines += self._case(item, target, indent)
            else:
                lines += self._assign(item.l, self.value(item.r), target, indent)
        return lines

    def _case(self, item: Case, target: Signal | None, indent: str) -> list[str]:
        lines = [f"{indent}c = {self._fit(self.value(item.test), *value_bits_sign(item.test))}"]
        word = "if"
        for key, statements in sorted(
            item.cases.items(), key=lambda pair: isinstance(pair[0], str)
        ):
            if not isinstance(key, str):
                lines.append(f"{indent}{word} c == {key.value}:")
            else:
                lines.append(f"{indent}else:" if word == "elif" else f"{indent}if True:")
            lines += self._statements(statements, target, indent + " ") or [f"{indent} pass"]
            word = "elif"
        return lines

    def _truth(self, node: Any) -> str:
        return f"{self.value(node)} & {(1 << len(node)) - 1}"

    @staticmethod
    def _fit(value: str, bits: int, signed: bool) -> str:
        """Truncation to a signal's width."""
        if not signed:
            return f"({value} & {(1 << bits) - 1})"
        half = 1 << (bits - 1)
        return f"((({value} + {half}) & {2 * half - 1}) - {half})"

    def _assign(self, node: Any, value: str, target: Signal | None, indent: str) -> list[str]:
        if isinstance(node, Signal):
            self.signals.add(node)
            if target is not None and node is not target:
                return []
            place = "m" if target is None else "v"
            return [f"{indent}{place}[{node.duid}] = {self._fit(value, node.nbits, node.signed)}"]
        if isinstance(node, Cat):
            lines, start, name = [], 0, f"x{len(indent)}"
            for part in node.l:
                lines += self._assign(part, f"({name} >> {start})", target, indent)
                start += len(part)
            return [f"{indent}{name} = {value}", *lines]
        if isinstance(node, _Slice):
            mask = (1 << (node.stop - node.start)) - 1
            old = self._pending(node.value, target)
            new = f"({old} & {~(mask << node.start)} | ({value} & {mask}) << {node.start})"
            return self._assign(node.value, new, target, indent)
        table, first = self._choices(node)
        return [f"{indent}m[{table}] = {self._fit(value, first.nbits, first.signed)}"]

    def _pending(self, node: Any, target: Signal | None) -> str:
        """What a signal or memory is about to become, as the source of a partial write."""
        if isinstance(node, Signal):
            self.signals.add(node)
            place = f"v[{node.duid}]"
            return f"m.get({node.duid}, {place})" if target is None else place
        table, _ = self._choices(node)
        return f"m.get({table}, v[{table}])"

    def _choices(self, node: Any) -> tuple[str, Signal]:
        """Identity of the signal that an array or memory access means, and one of its signals."""
        memory = isinstance(node, _MemoryLocation)
        choices = self.memories[node.memory] if memory else node.choices
        key = self.value(node.index if memory else node.key)
        identities = tuple(signal.duid for signal in choices)
        self.signals.update(choices)
        if identities not in self._table_of:
            self._table_of[identities] = len(self.tables)
            self.tables.append(identities)
        index = key if memory else f"min({len(identities) - 1}, {key})"
        return f"t[{self._table_of[identities]}][{index}]", choices[0]

    def value(self, node: Any) -> str:
        """An expression, of any width, as Migen's simulator evaluates it."""
        if isinstance(node, Constant):
            return f"({node.value})"
        if isinstance(node, Signal):
            self.signals.add(node)
            self.reads.add(node)
            return f"v[{node.duid}]"
        if isinstance(node, _Operator):
            return self._operator(node.op, [self.value(operand) for operand in node.operands])
        if isinstance(node, _Slice):
            mask = (1 << (node.stop - node.start)) - 1
            return f"({self.value(node.value)} >> {node.start} & {mask})"
        if isinstance(node, (Cat, Replicate)):
            parts, start = [], 0
            for part in node.l if isinstance(node, Cat) else [node.v] * node.n:
                parts.append(f"({self.value(part)} & {(1 << len(part)) - 1}) << {start}")
                start += len(part)
            return f"({' | '.join(parts)})"
        return self._chosen(node)

    def _chosen(self, node: Any) -> str:
        """An array's or a memory's element."""
        if not isinstance(node, (_ArrayProxy, _MemoryLocation)):
            raise TypeError(f"{type(node).__name__} is not an expression of Migen's")
        if isinstance(node, _ArrayProxy):
            if not all(isinstance(choice, Signal) for choice in node.choices):
                # Only the chosen expression is evaluated.
                choices = ", ".join(f"lambda: {self.value(choice)}" for choice in node.choices)
                return f"({choices},)[min({len(node.choices) - 1}, {self.value(node.key)})]()"
            self.reads.update(node.choices)
        return f"v[{self._choices(node)[0]}]"

    @staticmethod
    def _operator(op: str, operands: list[str]) -> str:
        if op == "m":
            return f"({operands[1]} if {operands[0]} else {operands[2]})"
        if len(operands) == 1:
            return f"({op}(+{operands[0]}))"
        return f"({operands[0]} {op[:2] if op in ('<<<', '>>>') else op} {operands[1]})"
