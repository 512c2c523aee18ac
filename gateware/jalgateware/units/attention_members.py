"""Which query heads attention serves when, and which of them see a position."""

from litex.gen import LiteXModule
from migen import Array, Cat, If, Mux, Signal

from jalgateware.contract.config import EngineConfig
from jalgateware.units.attention_lanes import slot_steps


class Members(LiteXModule):
    """Steps of a turn, and the slots whose query head sees the position that is on.

    Member ``m = row * group + head of the group`` of a key/value head is served by slot
    ``m % attention_slots`` in step ``m // attention_slots``.

    Interface: ``group``: constant for a model; ``last_row``, ``shared``: of the pass; ``turn``:
    token row whose sequence is on (0 where all share one) -> ``first``, ``last`` (members of the
    turn), ``first_step``, ``last_step``; ``step``, ``cached`` (an earlier position), ``own`` (which
    of the pass' positions otherwise) -> ``visible`` (a bit per slot). Latency: 1 cycle, and
    one more from ``group``.
    """

    def __init__(self, config: EngineConfig, group: Signal) -> None:
        slots, tokens, steps = config.attention_slots, config.tokens, slot_steps(config)
        count = config.max_group * tokens
        self.last_row = Signal(max=max(2, tokens))
        self.shared = Signal()
        self.turn = Signal.like(self.last_row)
        self.first, self.last = Signal(max=max(2, count)), Signal(max=max(2, count))
        self.first_step, self.last_step = Signal(max=max(2, steps)), Signal(max=max(2, steps))
        self.step = Signal.like(self.first_step)
        self.cached = Signal()
        self.own = Signal.like(self.last_row)
        self.visible = Signal(slots)

        # # #

        groups = range(config.max_group + 1)

        def constant(values: list[int], bits: int) -> Signal:
            """A register that holds what belongs to the model's group."""
            register = Signal(bits)
            self.sync += register.eq(Array(values)[group])
            return register

        bits, step_bits = len(self.first), len(self.first_step)
        firsts = [constant([t * g for g in groups], bits) for t in range(tokens)]
        lasts = [constant([max(0, (t + 1) * g - 1) for g in groups], bits) for t in range(tokens)]
        first_steps = [constant([t * g // slots for g in groups], step_bits) for t in range(tokens)]
        last_steps = [
            constant([max(0, (t + 1) * g - 1) // slots for g in groups], step_bits)
            for t in range(tokens)
        ]
        end = Signal.like(self.last_row)
        self.comb += end.eq(Mux(self.shared, self.last_row, self.turn))
        self.sync += [
            self.first.eq(Array(firsts)[self.turn]),
            self.last.eq(Array(lasts)[end]),
            self.first_step.eq(Array(first_steps)[self.turn]),
            self.last_step.eq(Array(last_steps)[end]),
        ]
        # A token row sees the earlier positions, and the pass' own ones up to itself.
        start = Signal.like(self.last_row)
        self.comb += If(self.shared, If(~self.cached, start.eq(self.own))).Else(start.eq(self.turn))
        visible = []
        for slot in range(slots):
            # The row behind the last one stands for no query head at all.
            row_of = Array(
                [
                    constant(
                        [min((step * slots + slot) // g, tokens) if g else 0 for g in groups],
                        tokens.bit_length(),
                    )
                    for step in range(steps)
                ]
            )[self.step]
            row = Signal(tokens.bit_length())
            self.comb += row.eq(row_of)
            visible.append((row >= start) & (row <= end))
        self.sync += self.visible.eq(Cat(*visible))
