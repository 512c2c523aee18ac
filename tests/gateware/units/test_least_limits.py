"""Engines at the lower ends of their limits can be elaborated."""

from typing import Any

import pytest
from litedram.common import LiteDRAMNativePort
from migen.fhdl.verilog import convert

from jalgateware.contract.config import EngineConfig
from jalgateware.units.engine import Engine

LEAST: dict[str, Any] = {
    "max_dim": 64,
    "max_hidden": 64,
    "max_heads": 1,
    "max_kv_heads": 1,
    "max_group": 1,
}


@pytest.mark.parametrize(("lanes", "head_dim"), [(16, 2), (64, 16), (64, 2)])
def test_least_limits_make_an_engine(lanes: int, head_dim: int) -> None:
    config = EngineConfig(lanes, **LEAST, max_head_dim=head_dim, max_context=16, attention_slots=1)
    modes = ["read"] * config.read_ports
    ports = [LiteDRAMNativePort(mode, 24, 8 * lanes) for mode in [*modes, "write"]]
    assert convert(Engine(config, ports[:-1], ports[-1])).ns
