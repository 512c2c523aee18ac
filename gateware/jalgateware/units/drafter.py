"""Guesses the tokens that a pass checks."""

from functools import reduce
from operator import or_, xor
from typing import Any

from litex.gen import LiteXModule
from litex.soc.interconnect import stream
from migen import (
    FSM,
    READ_FIRST,
    Array,
    Cat,
    If,
    Memory,
    NextState,
    NextValue,
    Replicate,
    ResetInserter,
    Signal,
)

from jalgateware.contract import formats
from jalgateware.contract.config import MAX_TOKENS
from jalgateware.contract.drafting import (
    ENTRY_BITS,
    KEY_START,
    ORDERS,
    PRELOADED_WAYS,
    SET_BITS,
    SETS,
    TABLE_WORDS,
    TOKEN_BITS,
    WAYS,
)
from jalgateware.golden.crc32 import WORD_BITS, advance_masks
from jalgateware.units.fifo import NEVER_COLLIDES
from jalgateware.units.pipeline import delayed, registered
from jalgateware.units.reset import spare_reset


class DraftTable(LiteXModule):
    """Entries, a block RAM for each way, and what they say about a key.

    Interface: ``read`` with ``key`` -> ``hit`` and ``token``, of the first way that knows it;
    ``write`` (strobe) with ``address`` (a set) and ``data`` (an entry): the learnt way;
    ``preload`` (strobe) with ``preload_address``, ``preload_data``: the others. No ``read`` with
    either.
    Latency: ``LATENCY`` cycles. Throughput: one key per cycle.
    Overflow: none; an entry is overwritten.
    """

    LATENCY = 4

    def __init__(self) -> None:
        self.read = Signal()
        self.key = Signal(WORD_BITS)
        self.hit = Signal()
        self.token = Signal(TOKEN_BITS)
        self.write = Signal()
        self.address = Signal(SET_BITS)
        self.data = Signal(ENTRY_BITS)
        self.preload = Signal()
        self.preload_address = Signal(max=TABLE_WORDS)
        self.preload_data = Signal(ENTRY_BITS)

        # # #

        # An entry in use has a one above its tag.
        wanted = delayed(self, Cat(self.key[TOKEN_BITS:-1], 1), 2)
        hits, tokens = Signal(WAYS), []
        for way in range(WAYS):
            memory = Memory(ENTRY_BITS, SETS)
            memory.attr = {NEVER_COLLIDES}
            writer = memory.get_port(write_capable=True, mode=READ_FIRST)
            reader = memory.get_port(has_re=True, mode=READ_FIRST)
            self.specials += memory, writer, reader
            if way < PRELOADED_WAYS:
                chosen = self.preload_address[SET_BITS:] == way
                strobe, address, data = (
                    self.preload & chosen,
                    self.preload_address,
                    self.preload_data,
                )
            else:
                strobe, address, data = self.write, self.address, self.data
            self.comb += [
                writer.we.eq(strobe),
                writer.adr.eq(address[:SET_BITS]),
                writer.dat_w.eq(data),
                reader.re.eq(self.read),
                reader.adr.eq(self.key[:SET_BITS]),
            ]
            # Block RAM answers late in its cycle.
            entry = delayed(self, reader.dat_r, 1)
            self.sync += hits[way].eq(entry[TOKEN_BITS:] == wanted)
            first = hits[way] & (hits[:way] == 0) if way else hits[way]
            tokens.append(Replicate(first, TOKEN_BITS) & delayed(self, entry[:TOKEN_BITS], 1))
        self.sync += [self.hit.eq(hits != 0), self.token.eq(reduce(or_, tokens))]
        spare_reset(self)


class Drafter(LiteXModule):
    """Drafts up to ``drafts`` tokens: what followed the longest context that the table knows.

    Interface: ``clear`` (pulse, at any time) starts a run: the last tokens and all that was learnt
    are forgotten, which takes SETS cycles. ``learn`` {token}, valid/ready: the run's tokens, prompt
    and accepted samples, in order. ``draft`` (pulse) with ``most`` -> ``done`` (pulse) with
    ``tokens`` and ``count``, which stay until the next ``draft``; it waits until ``learn`` has
    nothing more to offer. ``table_write`` (strobe) with ``table_address``, ``table_data``: the
    preloaded entries, while no draft is asked for.
    Latency: ``LEARN_CYCLES`` from a token to the next; ``DRAFT_CYCLES`` for each token that is
    drafted and for one that is not found, and ``START_CYCLES`` before.
    Throughput: one thing at a time.
    Overflow: none; a token that does not fit an entry is not learnt.
    Golden model: :class:`jalgateware.golden.drafter.Drafter`.
    """

    LEARN_CYCLES = ORDERS + 3
    START_CYCLES = 2
    DRAFT_CYCLES = ORDERS + DraftTable.LATENCY + 3

    def __init__(self, drafts: int = MAX_TOKENS - 1) -> None:
        if not 1 <= drafts < MAX_TOKENS:
            raise ValueError(f"drafts is 1 to {MAX_TOKENS - 1}, not {drafts}")
        self.clear = Signal()
        self.learn = stream.Endpoint([("token", formats.TOKEN_BITS)])
        self.draft = Signal()
        self.most = Signal(max=drafts + 1)
        self.tokens = [Signal(formats.TOKEN_BITS, reset_less=True) for _ in range(drafts)]
        self.count = Signal(max=drafts + 1)
        self.done = Signal()
        self.table_write = Signal()
        self.table_address = Signal(max=TABLE_WORDS)
        self.table_data = Signal(ENTRY_BITS)

        # # #

        self.table = table = DraftTable()
        self.comb += [
            table.preload.eq(self.table_write),
            table.preload_address.eq(self.table_address),
            table.preload_data.eq(self.table_data),
        ]
        self._next = Signal(formats.TOKEN_BITS, reset_less=True)
        self._wiped = Signal(SET_BITS)
        # One key after the other.
        self._begin, self._walk, self._look = Signal(), Signal(), Signal()
        self._step = Signal(max=self.DRAFT_CYCLES)
        self._key = Signal(WORD_BITS, reset_less=True)
        self._found = Signal()
        self._best = Signal(TOKEN_BITS, reset_less=True)
        # A token was learnt, one was drafted.
        self._push, self._append = Signal(), Signal()
        self._walk_keys(self._last_token())
        self._control()

    def _last_token(self) -> Any:
        """While walking, a cycle behind: the last token, then the one before it, and so on."""
        context = [Signal(TOKEN_BITS) for _ in range(ORDERS)]
        for older, newer in zip(context, [self._next[:TOKEN_BITS], *context], strict=False):
            self.sync += [If(self._push, older.eq(newer)), If(self.clear, older.eq(0))]
        # Drafted tokens follow them, and the next one looks back from there.
        last = [*(token[:TOKEN_BITS] for token in reversed(self.tokens[:-1])), *context]
        place = Signal(max=len(last))
        self.sync += [
            place.eq(place + 1),
            If(self._begin, place.eq(len(last) - ORDERS)),
            If(self._append, place.eq(len(last) - ORDERS - 1 - self.count)),
        ]
        return registered(self, Array(last)[place], 1)

    def _walk_keys(self, token: Any) -> None:
        """While ``walk``, ``key`` is that of the last ``step`` - 1 tokens; ``look``: its entry."""
        added = Signal(WORD_BITS)
        extended = [
            reduce(xor, [added[bit] for bit in range(WORD_BITS) if mask >> bit & 1])
            for mask in advance_masks(TOKEN_BITS)
        ]
        reading = Signal()
        self.comb += [
            added.eq(self._key ^ token),
            self.table.key.eq(self._key),
            self.table.read.eq(reading),
            reading.eq(self._look & (self._step > 1) & (self._step <= ORDERS + 1)),
        ]
        self.sync += [
            If(self._walk, self._step.eq(self._step + 1)),
            self._key.eq(Cat(*extended)),
            If(self._step == 0, self._key.eq(KEY_START)),
            If(
                delayed(self, reading, DraftTable.LATENCY) & self.table.hit,
                self._found.eq(1),
                self._best.eq(self.table.token),
            ),
            If(self._begin, self._step.eq(0), self._key.eq(KEY_START), self._found.eq(0)),
        ]

    def _control(self) -> None:
        table, last = self.table, self.DRAFT_CYCLES - 1
        waiting, most = Signal(), Signal.like(self.most)
        wipe, learnt = Signal(), Signal()
        fits = self._next[TOKEN_BITS:] == 0
        self.comb += [
            table.write.eq(wipe | learnt),
            If(wipe, table.address.eq(self._wiped)).Else(
                table.address.eq(self._key[:SET_BITS]),
                table.data.eq(Cat(self._next[:TOKEN_BITS], self._key[TOKEN_BITS:-1], 1)),
            ),
        ]
        for number, token in enumerate(self.tokens):
            self.sync += If(self._append & (self.count == number), token.eq(self._best))
        self.sync += [
            If(self.learn.ready, self._next.eq(self.learn.token)),
            If(self.draft, waiting.eq(1), most.eq(self.most)),
            If(self.done | self.clear, waiting.eq(0)),
        ]

        self.fsm = fsm = ResetInserter()(FSM(reset_state="WIPE"))
        self.comb += fsm.reset.eq(self.clear)
        fsm.act(
            "WIPE",
            wipe.eq(1),
            NextValue(self._wiped, self._wiped + 1),
            If(self._wiped == SETS - 1, NextState("IDLE")),
        )
        fsm.act(
            "IDLE",
            self.learn.ready.eq(1),
            self._begin.eq(1),
            If(self.learn.valid, NextState("LEARN")).Elif(
                waiting,
                NextValue(self.count, 0),
                If(most == 0, NextState("DONE")).Else(NextState("DRAFT")),
            ),
        )
        fsm.act(
            "LEARN",
            self._walk.eq(1),
            learnt.eq(fits & (self._step > 1)),
            If(self._step == ORDERS + 1, self._push.eq(1), NextState("IDLE")),
        )
        fsm.act(
            "DRAFT",
            self._walk.eq(1),
            self._look.eq(1),
            If(
                self._step == last,
                self._begin.eq(1),
                NextState("DONE"),
                If(
                    self._found,
                    self._append.eq(1),
                    NextValue(self.count, self.count + 1),
                    If(self.count + 1 != most, NextState("DRAFT")),
                ),
            ),
        )
        fsm.act("DONE", self.done.eq(1), NextState("IDLE"))
