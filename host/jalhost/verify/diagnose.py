"""From tokens or keys that differ to the likeliest cause."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from jalgateware.contract.isa import Opcode
from jalgateware.golden.sampler import Sampling
from jalhost.device import Device
from jalhost.dram import DeviceDram
from jalhost.errors import DeviceError
from jalhost.models.blob import Blob
from jalhost.progress import Report
from jalhost.verify.bisect import Bisection, Difference, difference_place
from jalhost.verify.cache import CacheDifference, compare_cache
from jalhost.verify.explain import Explanation, WrongWord
from jalhost.verify.golden import STEPS, Golden
from jalhost.verify.lane_test import LaneTest, LaneVerdict
from jalhost.verify.places import blob_place
from jalhost.verify.probe import Passed, Prober, row_results
from jalhost.verify.report import Cause, Finding, Place
from jalhost.verify.stuck import StuckBit, with_stuck_bit
from jalhost.verify.weights import damage_finding, find_damage


@dataclass(frozen=True)
class Text:
    """What was run, as far as it is right.

    Args:
        tokens: whose keys and values the golden model has.
        following: the token that it samples behind them.
        sampling: how.
    """

    tokens: tuple[int, ...]
    following: int
    sampling: Sampling


@dataclass(frozen=True)
class Symptom:
    """What a run showed.

    Args:
        cache: elements of the KV cache that differ.
        sampled: the token behind the text.
        wrong: whether that differs.
    """

    cache: tuple[CacheDifference, ...]
    sampled: int | None
    wrong: bool

    @property
    def sound(self) -> bool:
        """Nothing differs."""
        return not self.cache and not self.wrong


class Diagnosis:
    """Looks for the cause of a difference.

    Args:
        golden: has run the text.
        device: has the image loaded, and a sound header in DRAM.
        dram: its DRAM.
        blob: the image.
        report: takes lines of progress.
    """

    def __init__(
        self, golden: Golden, device: Device, dram: DeviceDram, blob: Blob, report: Report
    ) -> None:
        self._golden, self._device, self._dram, self._blob = golden, device, dram, blob
        self._report = report

    def findings(self, text: Text, before: Sequence[CacheDifference]) -> list[Finding]:
        """What is wrong; ``before``: what differed in the cache when it was seen first.

        Raises:
            DeviceError: the device failed.
        """
        self._report("something differs: reading the same text again ...")
        symptom = self._run(text, 0)
        if symptom.sound:
            return [self._once(before)]
        damage = find_damage(self._device, self._dram, self._blob, self._golden)
        if damage:
            return [damage_finding(damage, self._dram.origin, False)]
        prober = Prober(self._golden, self._device, self._dram, self._blob)
        try:
            return self._locate(text, symptom, prober)
        finally:
            prober.restore()

    def lanes(self) -> list[Finding]:
        """What is wrong with the lanes, where the text does not show it.

        Raises:
            DeviceError: the device failed, or has no room for the test.
        """
        prober = Prober(self._golden, self._device, self._dram, self._blob)
        try:
            verdicts = LaneTest(prober).run()
        finally:
            prober.restore()
        nowhere = Passed((), 0)
        return [self._lane(item, (), nowhere, prober) for item in verdicts if not item.sound]

    def _run(self, text: Text, start: int) -> Symptom:
        """Reads the text from a position on, whose predecessors are in the cache."""
        entries = self._device.run([text.tokens[start:]], 1, text.sampling, 0, start)
        sampled = next((entry.token for entry in list(entries)), None)
        found = compare_cache(self._golden, self._dram, self._blob.header, start, len(text.tokens))
        return Symptom(tuple(found), sampled, sampled != text.following)

    def _once(self, before: Sequence[CacheDifference]) -> Finding:
        """A difference that did not come again."""
        if not before:
            return Finding(
                Cause.SPORADIC,
                "a token was wrong once; reading the same text again gives the right one",
                "look at clock, supply and temperature; jalhost soak shows how often it happens",
            )
        first = before[0]
        place = first.place(self._dram.origin)
        layers = {item.layer for item in before if item.position == first.position}
        if max(layers) > first.layer:
            return Finding(
                Cause.SPORADIC,
                f"{first}, and so was what was computed from it; computing it again gives the right"
                " values",
                "look at clock, supply and temperature; jalhost soak shows how often it happens",
                place,
            )
        return self._changed(before)

    def _changed(self, elements: Sequence[CacheDifference]) -> Finding:
        """Keys or values that DRAM does not have as they were written."""
        first = elements[0]
        place = first.place(self._dram.origin)
        more = f", and {len(elements) - 1} more elements" if len(elements) > 1 else ""
        return Finding(
            Cause.CACHE,
            f"the KV cache changed in DRAM after it was written: {first}, DRAM offset"
            f" 0x{place.dram_offset or 0:x}{more}",
            "this place keeps what is written now; jalhost soak shows how often it happens"
            if self._dram.keeps(first.offset)
            else "this place does not keep what is written: test this DRAM, lower its clock",
            place,
        )

    def _locate(self, text: Text, symptom: Symptom, prober: Prober) -> list[Finding]:
        """The first instruction that differs, and why."""
        if symptom.cache and not self._dram.keeps(symptom.cache[0].offset):
            return [self._changed(symptom.cache[:1])]
        rows, length = self._golden.config.tokens, len(text.tokens)
        position = symptom.cache[0].position if symptom.cache else length - 1
        start = position - position % rows
        # Alone, the pass is the same: it finds the earlier keys and values in DRAM.
        alone = self._run(self._cut(text, start + rows), start)
        before: tuple[int, ...] = ()
        if not alone.cache and not (alone.wrong and start + rows >= length):
            before, alone = text.tokens[:start], symptom
        passed = Passed(text.tokens[start : start + rows], start, before)
        here = [item for item in alone.cache if item.position < start + rows]
        candidates = self._candidates(here)
        self._report(
            f"position {start}: looking at {', '.join(map(self._golden.name, candidates))} ..."
        )
        sampled = (text.following, *([] if symptom.sampled is None else [symptom.sampled]))
        bisection = Bisection(self._golden, prober, passed, sampled)
        try:
            # Lanes first: what they compute wrongly they would write out wrongly.
            unsound = [verdict for verdict in LaneTest(prober).run() if not verdict.sound]
            found = None if unsound else bisection.first(candidates)
        except DeviceError as error:
            return [self._too_far(symptom, error)]
        if unsound:
            return [self._lane(verdict, candidates, passed, prober) for verdict in unsound]
        if found is None:
            prober.restore()
            if self._run(text, 0).sound:
                return [self._once(symptom.cache)]
            return [self._between(here, symptom, passed)]
        return [self._cause(found, passed, prober)]

    def _cut(self, text: Text, end: int) -> Text:
        """The text up to a position; what follows there is only known at its end."""
        if end >= len(text.tokens):
            return text
        return replace(text, tokens=text.tokens[:end], following=text.tokens[end])

    def _candidates(self, here: Sequence[CacheDifference]) -> list[int]:
        """Instructions between what is right and what is wrong, in their order."""
        golden, layers = self._golden, self._golden.architecture.layers
        layer, part = min(((item.layer, item.part) for item in here), default=(layers, 0))
        found = [golden.first] if layer == 0 else []
        if layer > 0:
            tail = [step for step in STEPS if step not in ("key", "value")]
            found += [golden.index(layer - 1, step) for step in tail]
        if layer == layers:
            return [*found, len(golden.program) - 2]
        return [*found, *(golden.index(layer, step) for step in STEPS[: 2 + part])]

    def _lane(
        self, verdict: LaneVerdict, candidates: Sequence[int], passed: Passed, prober: Prober
    ) -> Finding:
        """A token row whose lanes fail their test.

        What they compute wrongly they also write out wrongly. So where they first do is computed:
        by the golden model with the same stuck bit.
        """
        stuck, row = verdict.stuck, verdict.token_row
        what = f"the products of token row {row} are wrong, and no single stuck bit explains it"
        place = Place(unit="lanes", token_row=row)
        if stuck:
            what = (
                f"token row {row}, lane {stuck.lane}: bit {stuck.bit} of its products is stuck"
                f" at {stuck.value}"
            )
            place = replace(place, lane=stuck.lane, bit=stuck.bit)
            first = self._first_stuck(stuck, row, candidates, passed, prober)
            if first:
                index, element, expected, got = first
                name = self._golden.name(index)
                what += (
                    f"; first of consequence in instruction {index} ({name}), position"
                    f" {passed.position + row}, element {element}: {got} instead of {expected}"
                )
                place = replace(
                    place,
                    instruction=index,
                    name=name,
                    tensor=name,
                    position=passed.position + row,
                    row=element,
                    expected=expected,
                    got=got,
                )
        return Finding(
            Cause.LANE,
            what,
            "build anew with another seed, or at a lower clock; if it stays, this FPGA is damaged",
            place,
        )

    def _first_stuck(
        self,
        stuck: StuckBit,
        row: int,
        candidates: Sequence[int],
        passed: Passed,
        prober: Prober,
    ) -> tuple[int, int, int, int] | None:
        """Instruction, element, what it should be and what the stuck bit makes of it."""
        if row >= len(passed.tokens):
            return None
        one = Passed(passed.tokens[: row + 1], passed.position)
        for index in candidates:
            item = self._golden.program[index]
            if item.opcode is not Opcode.MATVEC:
                continue
            state = prober.states(one, index)[row]
            right, wrong = (
                row_results(machine, item, one.position + row)
                for machine in (state, with_stuck_bit(state, stuck))
            )
            differing = np.flatnonzero(right != wrong)
            if len(differing):
                element = int(differing[0])
                return index, element, int(right[element]), int(wrong[element])
        return None

    def _cause(self, found: Difference, passed: Passed, prober: Prober) -> Finding:
        golden = self._golden
        place = difference_place(golden, found, passed)
        where = (
            f"instruction {found.instruction} ({place.name}), position {place.position}, token row"
            f" {found.token_row}, element {found.element}: {found.got} instead of {found.expected}"
        )
        explanation = Explanation(golden, prober, passed, found)
        tape = self._dram.origin + self._blob.header.tape_offset
        wrong = explanation.wrong_word(tape // golden.config.lanes)
        if wrong:
            return self._wrong_word(wrong, place, where)
        return self._unit(replace(place, unit=explanation.unit() or place.unit), where)

    def _wrong_word(self, wrong: WrongWord, place: Place, where: str) -> Finding:
        """DRAM is right, and what the engine got is not."""
        header, lanes = self._blob.header, self._golden.config.lanes
        offset = header.tape_offset + wrong.word * lanes
        here = blob_place(header, self._golden.layout, self._golden.config, offset)
        distance = wrong.instead - wrong.word
        other = "before it" if distance < 0 else "behind it"
        return Finding(
            Cause.READ,
            f"a word of DRAM was lost on its way to the engine: that of {here} (DRAM offset"
            f" 0x{self._dram.origin + offset:x}) arrived as the one {abs(distance)} {other};"
            f" first seen at {where}",
            "DRAM has it right: look at the timing of the DRAM controller's ports",
            replace(
                place,
                unit="DRAM read port",
                tensor=here.tensor,
                row=here.row,
                column=here.column,
                dram_offset=self._dram.origin + offset,
            ),
        )

    def _unit(self, place: Place, where: str) -> Finding:
        return Finding(
            Cause.UNIT,
            f"{place.unit}: {where}",
            "does the bitstream meet its clock? simulate the same gateware to compare",
            place,
        )

    def _between(
        self, here: Sequence[CacheDifference], symptom: Symptom, passed: Passed
    ) -> Finding:
        """All instructions write out what they should."""
        if here:
            return Finding(
                Cause.UNIT,
                f"keys and values leave the vector unit as they should, and are wrong in the"
                f" cache: {here[0]}",
                "test the board's DRAM (writes of the engine)",
                replace(here[0].place(self._dram.origin), unit="KV writer"),
            )
        return Finding(
            Cause.UNIT,
            f"logits are as they should be, and the sampler chooses token {symptom.sampled}",
            "does the bitstream meet its clock?",
            Place(unit="sampler", position=passed.position + len(passed.tokens) - 1),
        )

    def _too_far(self, symptom: Symptom, error: DeviceError) -> Finding:
        """The engine cannot be stopped where it differs."""
        what = str(symptom.cache[0]) if symptom.cache else f"token {symptom.sampled} is wrong"
        place = symptom.cache[0].place(self._dram.origin) if symptom.cache else Place()
        return Finding(
            Cause.UNIT,
            f"{what}, each time; the engine cannot be stopped there: {error.what}",
            error.hint,
            place,
        )
