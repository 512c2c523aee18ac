"""Parameters of one gateware build: what a bitstream can do, published in its CSRs."""

import hashlib
import json
from dataclasses import asdict, dataclass

from jalgateware.contract.formats import BLOCK, MAX_BLOCKS
from jalgateware.contract.isa import Format, Option

MAX_TOKENS = 4
"""Most token rows that share a weight."""

ROW_CYCLES = 32
"""From a row to the next one, in an engine of ``slow_rows``."""


@dataclass(frozen=True)
class EngineConfig:
    """Sizes of the decode engine. All limits are maxima that a model must not exceed.

    ``lanes`` is the width of an engine word in bytes: MXINT8 weights consumed per cycle, and the
    width of the engine's DRAM ports. ``tokens`` (T) is the number of token rows that share each
    weight: of one sequence, or of as many sequences. ``mxfp4``: the lanes take MXFP4 matrices, too.
    ``qkv_bias``: rows of queries, keys and values may have biases. ``qk_norm``: heads of queries
    and keys may have an RMSNorm of their own. ``logits``: those of a pass can be written to DRAM.
    ``noise``: samples can be drawn at a temperature. ``slow_rows``: what is behind the lanes takes
    a row every ``ROW_CYCLES`` cycles, in fewer LUTs; for one token row, without biases and norms
    over heads.

    Raises:
        ValueError: a size is out of range; the message carries the offending value.
    """

    lanes: int = 16
    tokens: int = 1
    mxfp4: bool = False
    qkv_bias: bool = False
    qk_norm: bool = False
    logits: bool = True
    noise: bool = True
    slow_rows: bool = False
    max_dim: int = 512
    max_hidden: int = 2048
    max_heads: int = 16
    max_kv_heads: int = 16
    max_group: int = 4
    max_head_dim: int = 128
    max_context: int = 1024
    max_instructions: int = 256
    attention_slots: int = 2
    read_ports: int = 4
    port_fifo_words: int = 256
    port_burst_words: int = 32

    def __post_init__(self) -> None:
        """Checks the ranges that the units rely on."""
        if self.lanes not in (2, 4, 8, 16, 32, 64):
            raise ValueError(f"lanes is a power of two from 2 to 64, not {self.lanes}")
        if not 1 <= self.tokens <= MAX_TOKENS:
            raise ValueError(f"tokens is 1 to {MAX_TOKENS}, not {self.tokens}")
        for name in ("max_dim", "max_hidden"):
            value = getattr(self, name)
            if value % BLOCK or not BLOCK <= value <= BLOCK * MAX_BLOCKS:
                raise ValueError(
                    f"{name} is a multiple of {BLOCK} up to {BLOCK * MAX_BLOCKS}, not {value}"
                )
        for name in ("max_context", "port_fifo_words", "port_burst_words", "max_instructions"):
            value = getattr(self, name)
            if value < 16 or value & (value - 1):
                raise ValueError(f"{name} is a power of two from 16, not {value}")
        if self.read_ports < 2:
            raise ValueError(f"read_ports is 2 or more, not {self.read_ports}")
        most = self.max_group * self.tokens
        if not 1 <= self.attention_slots <= most:
            raise ValueError(
                f"attention_slots is 1 to max_group x tokens ({most}), not {self.attention_slots}"
            )
        if self.slow_rows and (self.tokens > 1 or self.qkv_bias or self.qk_norm):
            raise ValueError("slow_rows goes with one token row, without qkv_bias and qk_norm")
        if self.port_burst_words > self.port_fifo_words:
            raise ValueError("port_burst_words must not exceed port_fifo_words")

    @property
    def word_bits(self) -> int:
        """Width of an engine word in bits."""
        return 8 * self.lanes

    @property
    def words_per_block(self) -> int:
        """Engine words that one block of MXINT8 elements takes (at least 1)."""
        return max(1, BLOCK // self.lanes)

    @property
    def rows_parallel(self) -> int:
        """Matrix rows that share an engine word: one wider than a block has a block of each."""
        return max(1, self.lanes // BLOCK)

    @property
    def kv_lanes(self) -> int:
        """16-bit keys or values in one engine word."""
        return self.lanes // 2

    @property
    def abilities(self) -> int:
        """Formats of matrices and options: the bits of Format and Option in the contract's isa."""
        flags = {
            Format.MXINT8: True,
            Format.MXFP4: self.mxfp4,
            Option.QKV_BIAS: self.qkv_bias,
            Option.QK_NORM: self.qk_norm,
            Option.LOGITS: self.logits,
            Option.NOISE: self.noise,
        }
        return sum(1 << bit for bit, there in flags.items() if there)

    @property
    def bias_rows(self) -> int:
        """Most rows of a layer's queries, keys and values together that have biases."""
        return 1 << (self.max_hidden - 1).bit_length()

    def fingerprint(self) -> str:
        """SHA-256 over all parameters, as 64 hexadecimal digits."""
        text = json.dumps(asdict(self), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()


STANDARD = EngineConfig(tokens=4, mxfp4=True, attention_slots=4, qkv_bias=True, qk_norm=True)
"""What an FPGA of 150 multipliers takes; emulator and simulator have it where nothing is said."""
