"""Which registers the reset reaches."""

from litex.gen import LiteXModule
from migen import Signal
from migen.fhdl.tools import list_targets

from jalgateware.contract.config import EngineConfig
from jalgateware.units.gumbel import Gumbel
from jalgateware.units.reciprocal import Reciprocal
from jalgateware.units.reset import spare_reset
from jalgateware.units.rotary import WideProduct
from jalgateware.units.rsqrt import ReciprocalRoot
from jalgateware.units.sampler import Sampler
from jalgateware.units.sigmoid import Sigmoid


def test_only_named_and_later_registers_are_reset() -> None:
    unit = LiteXModule()
    data, control, combinational, later = Signal(8), Signal(), Signal(), Signal()
    unit.sync += [data[:4].eq(1), control.eq(1)]
    unit.comb += combinational.eq(control)
    spare_reset(unit, control)
    unit.sync += later.eq(1)
    spared = {s for s in (data, control, combinational, later) if s.reset_less}
    assert spared == {data}


def reset_bits(unit: LiteXModule) -> int:
    """Flip-flops of a unit and its parts that the reset reaches."""
    fragment = unit.get_fragment()
    written = set().union(*[list_targets(part) for part in fragment.sync.values()])
    return sum(len(signal) for signal in written if not signal.reset_less)


def test_pipelines_reset_their_valid_bits_alone() -> None:
    assert reset_bits(Gumbel()) == 0
    for unit in (Reciprocal(), ReciprocalRoot(), Sigmoid()):
        assert reset_bits(unit) == unit.LATENCY
    # The sampler's rows and steps on their way, and ready, first, done.
    for tokens in (1, 4):
        sampler = Sampler(EngineConfig(tokens=tokens))
        control = sampler.latency - 1 + sampler.key_latency - 1 + 2 + tokens
        assert reset_bits(sampler) == control + reset_bits(WideProduct())
