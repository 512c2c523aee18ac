"""From an instruction to the reads from DRAM that it causes."""

from litex.gen import LiteXModule
from litex.soc.interconnect import stream
from migen import FSM, Array, Cat, If, Mux, NextState, ResetInserter, Signal

from jalgateware.contract.config import EngineConfig
from jalgateware.contract.formats import BLOCK, POSITION_BITS, TOKEN_BITS
from jalgateware.contract.isa import FIELDS, Opcode, Register
from jalgateware.units.reader import ADDRESS_BITS, WORDS_BITS

REGISTER_BITS = FIELDS["base"][1]

AS_THEY_ARE = (Opcode.MATVEC, Opcode.BIASES, Opcode.GAINS)
"""Instructions that read the same words whatever the tokens and their positions."""


class ReadCommands(LiteXModule):
    """Computes which words an instruction needs, in order.

    ======  ===================================================================================
    EMBED   per block of the token's row: 1 word of scales, then ``words_per_block`` of elements
    ROPE    ``words`` from ``base + position * words``
    MATVEC  ``words`` from ``base``; BIASES and GAINS likewise
    ATTEND  per key/value head ``position * HEAD_WORDS`` words of keys, then as many of values
    ======  ===================================================================================

    EMBED and ROPE do so for each token row, ATTEND for the first one if the rows are consecutive
    positions of one sequence (``shared``), else for each.

    Addresses count from ``tape_base`` (EMBED, ROPE, MATVEC) or from the token row's ``kv_bases``
    (ATTEND).

    Interface: ``start`` (pulse, while ``idle``) with ``field`` (an instruction's), ``tokens``,
    ``positions``, ``kv_bases`` (one per token row), ``last_row``, ``shared``, ``tape_base``,
    ``registers``, all stable until ``idle`` again -> ``source`` {address, words}, valid/ready.
    ``reset``: forgets the instruction.
    Latency: ``LATENCY`` cycles from ``start`` to the first command of MATVEC; the others multiply
    first, one cycle per significant bit of ``blocks``, ``words`` or ``HEAD_WORDS``.
    Throughput: a command every other cycle for ATTEND, two in 7 cycles for EMBED.
    Overflow: addresses wrap at 2**32 words.
    Golden model: the addresses of :class:`jalgateware.golden.machine.Machine`.
    """

    LATENCY = 2

    def __init__(
        self,
        config: EngineConfig,
        field: dict[str, Signal],
        registers: dict[Register, Signal],
    ) -> None:
        self.field = field
        self.registers = registers
        self.start = Signal()
        self.reset = Signal()
        self.idle = Signal(reset=1)
        self.tokens = [Signal(TOKEN_BITS) for _ in range(config.tokens)]
        self.positions = [Signal(POSITION_BITS) for _ in range(config.tokens)]
        self.kv_bases = [Signal(ADDRESS_BITS) for _ in range(config.tokens)]
        self.last_row = Signal(max=max(2, config.tokens))
        self.shared = Signal()
        self.tape_base = Signal(ADDRESS_BITS)
        self.source = stream.Endpoint([("address", ADDRESS_BITS), ("words", WORDS_BITS)])

        # # #

        self._arithmetic(config)
        self.control = ResetInserter()(FSM(reset_state="IDLE"))
        self.comb += self.control.reset.eq(self.reset)
        # Registered, as the walk over the program hangs on it.
        self.sync += self.idle.eq(self.control.ongoing("IDLE") & ~self._hold & ~self.start)
        self._begin()
        self._matrix_and_rotation()
        self._embedding(config)
        self._attention()

    def _arithmetic(self, config: EngineConfig) -> None:
        """The registers, one adder for addresses, and a multiplier that takes a bit per cycle.

        ``add``: address <= left + right. ``keep``: origin <= left + right. ``step``: product +=
        multiplicand for the multiplier's lowest bit. ``next_block``: product + 1; it and
        ``next_head`` count down what is left over.
        """
        rows_bits = (config.rows_parallel - 1).bit_length()
        # The token row whose turn it is; the last row's end is the instruction's.
        self._row = Signal.like(self.last_row)
        self._done, self._load = Signal(), Signal()
        self._token, position = Signal(TOKEN_BITS), Signal(POSITION_BITS)
        self._left, self._right = Signal(ADDRESS_BITS), Signal(ADDRESS_BITS)
        self._add, self._keep = Signal(), Signal()
        # A sum takes a cycle for choosing its terms and one for adding, during which all hold; so
        # does another token row, until its addresses are chosen.
        self._hold, self._again, adding, keep = (Signal() for _ in range(4))
        self._row_base, self._row_offset = (Signal(ADDRESS_BITS) for _ in range(2))
        left, right = (Signal(ADDRESS_BITS, reset_less=True) for _ in range(2))
        self._step, self._next_block, self._next_head = Signal(), Signal(), Signal()
        # Registered: a step more than there are bits adds nothing, and the product rests by then.
        self._bits_left, self._nothing = Signal(), Signal()
        self._origin, self._product, self._multiplicand = (
            Signal(ADDRESS_BITS, reset_less=True) for _ in range(3)
        )
        self._multiplier = Signal(WORDS_BITS, reset_less=True)
        most = max(config.max_kv_heads + 1, 1 << FIELDS["blocks"][1])
        self._left_over = Signal(max=most, reset_less=True)
        self.source.address.reset_less = True
        total, field = Signal(ADDRESS_BITS), self.field
        self._attend = field["opcode"] == Opcode.ATTEND
        self._embed = field["opcode"] == Opcode.EMBED
        head_words = self.registers[Register.HEAD_WORDS]
        self.comb += [
            self._left.eq(self.source.address),
            total.eq(left + right),
            self._token.eq(Array(self.tokens)[self._row]),
            position.eq(Array(self.positions)[self._row]),
        ]
        self.sync += [
            If(self.start, self._row.eq(0)),
            If(self._done, self._row.eq(self._row + 1)),
            left.eq(self._left),
            right.eq(self._right),
            self._bits_left.eq(self._multiplier != 0),
            self._nothing.eq(self._product == 0),
            self._hold.eq(self._add | self._again),
            adding.eq(self._add),
            keep.eq(self._keep),
            self._row_base.eq(self.tape_base),
            self._row_offset.eq(field["base"]),
            If(
                self._attend,
                self._row_base.eq(Array(self.kv_bases)[self._row]),
                self._row_offset.eq(field["kv_base"]),
            ),
            If(adding, self.source.address.eq(total)),
            If(keep, self._origin.eq(total)),
            If(
                self._step,
                self._multiplier.eq(self._multiplier[1:]),
                self._multiplicand.eq(Cat(0, self._multiplicand)),
            ),
            If(
                self._next_block | (self._step & self._multiplier[0]),
                self._product.eq(self._product + Mux(self._step, self._multiplicand, 1)),
            ),
            If(self._next_block | self._next_head, self._left_over.eq(self._left_over - 1)),
            If(
                self._load,
                self._product.eq(0),
                self._multiplicand.eq(Mux(self._embed, self._token[rows_bits:], position)),
                self._multiplier.eq(field["words"]),
                self._left_over.eq(field["blocks"]),
                If(self._embed, self._multiplier.eq(field["blocks"])),
                If(
                    self._attend,
                    self._multiplier.eq(head_words),
                    self._left_over.eq(self.registers[Register.KV_HEADS]),
                ),
            ),
        ]

    def _begin(self) -> None:
        """The instruction's own address, and the product that it needs, for each token row."""
        field = self.field
        self.control.act(
            "IDLE",
            self._left.eq(self.tape_base),
            self._right.eq(field["base"]),
            If(
                self.start,
                self._add.eq(1),
                NextState("ROW"),
                *[If(field["opcode"] == item, NextState("COMMAND")) for item in AS_THEY_ARE],
                If(field["opcode"] == Opcode.END, NextState("IDLE")),
            ),
        )
        self.control.act(
            "ROW",
            If(
                ~self._hold,
                self._load.eq(1),
                self._left.eq(self._row_base),
                self._right.eq(self._row_offset),
                self._add.eq(1),
                self._keep.eq(1),
                NextState("MULTIPLY"),
            ),
        )
        only = (self._row == self.last_row) | (self._attend & self.shared)
        self._next_row = [
            self._done.eq(1),
            self._again.eq(1),
            NextState("ROW"),
            If(only, self._again.eq(0), NextState("IDLE")),
        ]
        self.control.act(
            "MULTIPLY",
            If(
                ~self._hold,
                If(self._bits_left, self._step.eq(1))
                .Elif(self._embed, NextState("GROUP"))
                .Elif(~self._attend, NextState("ROTATION"))
                .Elif(self._nothing, *self._next_row)
                .Else(NextState("KEYS")),
            ),
        )

    def _issue(self, words: Signal | int, *accepted: object) -> list[object]:
        """Offers a command for ``words`` words; the statements hold when it is accepted."""
        return [
            self.source.valid.eq(1),
            self.source.words.eq(words),
            If(self.source.ready, *accepted),
        ]

    def _matrix_and_rotation(self) -> None:
        self.control.act(
            "COMMAND",
            If(
                ~self._hold,
                *self._issue(
                    self.field["words"],
                    NextState("IDLE"),
                    If(self.field["opcode"] == Opcode.ROPE, *self._next_row),
                ),
            ),
        )
        self.control.act(
            "ROTATION",
            If(
                ~self._hold,
                self._right.eq(self._product),
                self._add.eq(1),
                NextState("COMMAND"),
            ),
        )

    def _embedding(self, config: EngineConfig) -> None:
        """A group is one word of scales and BLOCK of elements: its place is group * (BLOCK + 1)."""
        lane_bits, block_bits = (config.lanes - 1).bit_length(), BLOCK.bit_length() - 1
        rows_bits = (config.rows_parallel - 1).bit_length()
        index = Signal(ADDRESS_BITS)
        member, place = Signal(lane_bits), Signal(block_bits + 1)
        group = index[lane_bits:]
        self.comb += [
            index.eq(Cat(*[self._token[bit] for bit in range(rows_bits)], self._product)),
            member.eq(index[:lane_bits]),
        ]
        # The member's first word behind the scales: member * BLOCK // lanes + 1. The product has
        # rested for two cycles when it is used.
        self.sync += place.eq((Cat(*[0] * block_bits, member) >> lane_bits) + 1)
        self.control.act(
            "GROUP",
            If(
                ~self._hold,
                self._left.eq(self._origin),
                self._right.eq(Cat(*[0] * block_bits, group)),
                self._add.eq(1),
                NextState("GROUP_SCALES"),
            ),
        )
        self.control.act(
            "GROUP_SCALES",
            If(
                ~self._hold,
                self._right.eq(group),
                self._add.eq(1),
                NextState("SCALES"),
            ),
        )
        self.control.act(
            "SCALES",
            If(
                ~self._hold,
                self._right.eq(place),
                *self._issue(1, self._add.eq(1), NextState("ELEMENTS")),
            ),
        )
        self.control.act(
            "ELEMENTS",
            If(
                ~self._hold,
                *self._issue(
                    config.words_per_block,
                    self._next_block.eq(1),
                    NextState("GROUP"),
                    If(self._left_over == 1, *self._next_row),
                ),
            ),
        )

    def _attention(self) -> None:
        """Each head's keys lie at ``origin``, its values VALUE_OFFSET behind."""
        length = Signal(WORDS_BITS)
        self.comb += length.eq(self._product)
        self.control.act(
            "KEYS",
            If(
                ~self._hold,
                self._right.eq(self.registers[Register.VALUE_OFFSET]),
                *self._issue(length, self._add.eq(1), NextState("VALUES")),
            ),
        )
        self.control.act(
            "VALUES",
            If(
                ~self._hold,
                self._left.eq(self._origin),
                self._right.eq(self.registers[Register.HEAD_STRIDE]),
                *self._issue(
                    length,
                    self._add.eq(1),
                    self._keep.eq(1),
                    self._next_head.eq(1),
                    NextState("KEYS"),
                    If(self._left_over == 1, *self._next_row),
                ),
            ),
        )
