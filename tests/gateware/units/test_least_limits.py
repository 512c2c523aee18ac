"""Engines of every width, and at the lower ends of their limits, become Verilog."""

from itertools import product
from typing import Any

import pytest
from litedram.common import LiteDRAMNativePort
from litex.gen.fhdl.verilog import convert
from migen import ClockDomain

from jalgateware.contract.config import EngineConfig
from jalgateware.units.engine import Engine

LEAST: dict[str, Any] = {
    "max_dim": 64,
    "max_hidden": 64,
    "max_heads": 1,
    "max_kv_heads": 1,
    "max_group": 1,
}


def check_verilog(config: EngineConfig) -> None:
    """Writes the engine as LiteX does; it refuses what Migen's simulation lets pass (no bits)."""
    modes = ["read"] * config.read_ports
    ports = [LiteDRAMNativePort(mode, 24, config.word_bits) for mode in [*modes, "write"]]
    engine = Engine(config, ports[:-1], ports[-1])
    engine.cd_sys = ClockDomain()
    assert convert(engine, ios={engine.cd_sys.clk}).main_source


@pytest.mark.parametrize(("lanes", "tokens"), list(product((2, 4, 8, 16, 32, 64), (1, 2, 3, 4))))
def test_all_widths_make_an_engine(lanes: int, tokens: int) -> None:
    for mxfp4 in (False, True):
        check_verilog(EngineConfig(lanes, tokens=tokens, mxfp4=mxfp4))


@pytest.mark.parametrize(("lanes", "head_dim"), [(16, 2), (64, 16), (64, 2)])
def test_least_limits_make_an_engine(lanes: int, head_dim: int) -> None:
    limits = dict(LEAST, max_head_dim=head_dim, max_context=16, attention_slots=1)
    check_verilog(EngineConfig(lanes, **limits))
