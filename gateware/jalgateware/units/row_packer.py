"""Rows of queries, keys and values: elements arrive one by one and leave as words."""

from litex.gen import LiteXModule
from migen import Array, If, Signal

from jalgateware.contract.config import EngineConfig
from jalgateware.contract.formats import KV
from jalgateware.contract.isa import FIELDS, Destination
from jalgateware.units.pipeline import delayed


class RowPacker(LiteXModule):
    """Packs elements to words of ``kv_lanes``; each head starts a new word, zeros fill its last.

    The elements of several token rows alternate in pairs (see
    :class:`~jalgateware.units.vector_unit.VectorUnit`), so each has a word of its own, while they
    share the counters.

    Interface: ``valid``, ``kind`` {Destination}, ``index``, ``row`` (token row), ``data``:
    elements in order, index 0 starts anew; ``last_row``: the last token row in use; ``head_dim``,
    ``group``: constant -> ``word`` with ``word_valid``, ``word_kind``, ``word_row``, ``head``
    (key/value head), ``member`` (query head of its group) and ``chunk`` (word of the head).
    Latency: 2 cycles from a word's last element. Throughput: one element per cycle. Overflow: none.
    """

    def __init__(self, config: EngineConfig) -> None:
        lanes, head_words = config.kv_lanes, -(-config.max_head_dim // config.kv_lanes)
        self.valid = Signal()
        self.kind = Signal(FIELDS["destination"][1])
        self.index = Signal(FIELDS["rows"][1])
        self.row = Signal(max=max(2, config.tokens))
        self.data = Signal((KV.bits, True))
        self.last_row = Signal.like(self.row)
        self.head_dim = Signal(max=config.max_head_dim + 1)
        self.group = Signal(max=config.max_group + 1)
        self.word = Signal(config.word_bits)
        self.word_valid = Signal()
        self.word_kind = Signal.like(self.kind)
        self.word_row = Signal.like(self.row)
        self.head = Signal(max=max(2, config.max_kv_heads))
        self.member = Signal(max=max(2, config.max_group))
        self.chunk = Signal(max=max(2, head_words))

        # # #

        # A cycle behind: what is known of the element by then needs no long path.
        valid, data = delayed(self, self.valid, 1), delayed(self, self.data, 1)
        row, kind = delayed(self, self.row, 1), delayed(self, self.kind, 1)
        lane, element = Signal(max=max(2, lanes)), Signal.like(self.head_dim)
        counters = [lane, element, Signal.like(self.chunk), Signal.like(self.member)]
        counters.append(Signal.like(self.head))
        _, _, chunk, member, head = counters
        following = [Signal.like(counter) for counter in counters]
        self._keep(config, counters, following)
        # How the counters go on behind the element that is here now.
        next_lane, next_element, next_chunk, next_member, next_head = following
        head_end, word_end, group_end = Signal(), Signal(), Signal()
        self.comb += [
            head_end.eq(element == self.head_dim - 1),
            word_end.eq(head_end | (lane == lanes - 1)),
            group_end.eq((kind != Destination.QUERY) | (member == self.group - 1)),
            next_lane.eq(lane + 1),
            next_element.eq(element + 1),
            next_chunk.eq(chunk + word_end),
            next_member.eq(member),
            next_head.eq(head),
            If(word_end, next_lane.eq(0)),
            If(
                head_end,
                next_element.eq(0),
                next_chunk.eq(0),
                next_member.eq(member + 1),
                If(group_end, next_member.eq(0), next_head.eq(head + 1)),
            ),
        ]
        words = [Signal(config.word_bits, reset_less=True) for _ in range(config.tokens)]
        for number, word in enumerate(words):
            for i in range(lanes):
                part = word[KV.bits * i : KV.bits * (i + 1)]
                self.sync += If(
                    valid & (row == number),
                    If(lane == i, part.eq(data)).Elif(lane == 0, part.eq(0)),
                )
        self.sync += [
            self.word_valid.eq(valid & word_end),
            self.word_kind.eq(kind),
            self.word_row.eq(row),
            self.head.eq(head),
            self.member.eq(member),
            self.chunk.eq(chunk),
        ]
        self.comb += self.word.eq(Array(words)[self.word_row])

    def _keep(self, config: EngineConfig, counters: list[Signal], following: list[Signal]) -> None:
        """Counters as they apply to the element that is here now."""
        valid, first = delayed(self, self.valid, 1), Signal()
        self.sync += first.eq(self.valid & (self.index == 0))
        if config.tokens == 1:
            for now, after in zip(counters, following, strict=True):
                kept = Signal.like(now)
                self.comb += If(~first, now.eq(kept))
                self.sync += If(valid, kept.eq(after))
            return
        # The next token row starts again where this one's pair did.
        odd, done = delayed(self, self.index[0], 1), Signal()
        self.sync += done.eq(self.valid & self.index[0] & (self.row == self.last_row))
        for now, after in zip(counters, following, strict=True):
            pair, second = Signal.like(now), Signal.like(now)
            self.comb += If(odd, now.eq(second)).Elif(~first, now.eq(pair))
            self.sync += [
                If(valid & ~odd, second.eq(after)),
                If(done, pair.eq(after)),
            ]
