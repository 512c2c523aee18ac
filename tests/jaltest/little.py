"""The smallest engine, for designs in which it is not what is tested."""

from typing import Any

from jalgateware.contract.config import EngineConfig

LIMITS: dict[str, Any] = {
    "max_dim": 64,
    "max_hidden": 64,
    "max_heads": 1,
    "max_kv_heads": 1,
    "max_group": 1,
    "max_head_dim": 64,
    "max_context": 16,
    "attention_slots": 1,
    "read_ports": 2,
}
"""Fields of :class:`EngineConfig`: soon written, soon compiled, and too small for any model."""

LITTLE = EngineConfig(**LIMITS)
