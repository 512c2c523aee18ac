"""What errors look like, and what the bring-up makes of them."""

from typing import Any

import numpy as np
import pytest

from jalgateware.contract.config import STANDARD, EngineConfig
from jalhost.bringup.build import Geometry
from jalhost.bringup.compare import Difference, Result, first_difference, most_telling, run_golden
from jalhost.bringup.levelling import Eye, decode, lost_writes
from jalhost.bringup.lines import Observation, address_line, aliases, diagnose
from jalhost.bringup.probe import patterns
from jalhost.bringup.vectors import Case, cases

ECP5 = """\
  best: m0, b02 delays: 01+-01
  best: m1, b03 delays: -
"""

ARTIX = """\
  m0: |0000000000000111111111111111| delay: 13
  m1: |1111111111100000000000000111| delay: -
  best: m0, b01 delays: 12+-05
  best: m1, b01 delays: 16+-06
"""

PER_LINE = "  best: m0, b02, dq_line1 delays: 100+-31\n"


def test_eyes_of_a_phy_with_few_taps() -> None:
    assert decode(ECP5) == [Eye(0, 2, 1, 1), Eye(1, 3, None, None)]
    assert [eye.width for eye in decode(ECP5)] == [3, 0]


def test_eyes_with_write_levelling() -> None:
    assert decode(ARTIX) == [
        Eye(0, 1, 12, 5, write_delay=13),
        Eye(1, 1, 16, 6),
    ]
    assert lost_writes(ARTIX) == [1]


def test_eyes_of_each_data_line() -> None:
    assert decode(PER_LINE) == [Eye(0, 2, 100, 31, line=1)]


def test_the_last_calibration_counts() -> None:
    again = "  best: m1, b01 delays: 03+-02\n"
    assert decode(ECP5 + again)[1] == Eye(1, 1, 3, 2)
    assert decode("nothing of that") == []


def observe(damage: dict[str, int]) -> Observation:
    """What is seen of all patterns through a faulty memory: bits set, cleared, or flipped."""
    observed = Observation()
    for turn, block in enumerate(patterns()):
        for index, word in enumerate(block):
            found = (word | damage.get("high", 0)) & ~damage.get("low", 0) & 0xFFFFFFFF
            if (turn + index) % 3 == 0:
                found ^= damage.get("weak", 0)
            observed.note(index, word, found)
    return observed


@pytest.mark.parametrize(
    ("damage", "bits", "text"),
    [
        ({}, 16, "all 16 data lines follow"),
        ({"high": 0x0020_0020}, 16, "data line D5 reads 1 always"),
        ({"low": 0x8000_8000}, 16, "data line D15 reads 0 always"),
        ({"low": 0x0000_0100}, 32, "data line D8 reads 0 always"),
        ({"weak": 0x00FF_00FF}, 16, "byte lane 0 (D0 to D7)"),
        ({"weak": 0xFFFF_FFFF}, 16, "no byte lane reads back"),
        ({"weak": 0x0006_0006}, 16, "data lines D1, D2 read wrong now and then"),
    ],
)
def test_data_lines(damage: dict[str, int], bits: int, text: str) -> None:
    finding = diagnose(observe(damage), bits)
    assert text in finding.what
    assert bool(finding.causes) == bool(damage)
    assert finding.nothing_works == ("no byte lane" in text)


def test_bits_of_words_at_odd_places_are_lines_of_wide_memory() -> None:
    observed = Observation()
    for word in (0, 0xFFFFFFFF):
        observed.note(0, word, word)
        observed.note(1, word, word | 4)
    assert diagnose(observed, 64).what == "data line D34 reads 1 always"


def test_address_bits_have_lines() -> None:
    chips = Geometry(data_bits=16, banks=8, row_bytes=2048)
    assert address_line(3, chips) == "column line A2"
    assert address_line(11, chips) == "bank line BA0"
    assert address_line(17, chips) == "row line A3"
    assert address_line(17, None) == ""


def test_aliases_are_pairs() -> None:
    assert aliases({0: 8, 4: 4, 8: 8, 16: None}) == [(0, 8)]


LITTLE = EngineConfig(max_dim=64, max_hidden=64, max_heads=1, max_kv_heads=1, max_group=1,
                      max_head_dim=64, max_context=16, attention_slots=1)  # fmt: skip


@pytest.mark.parametrize(
    "config", [STANDARD, LITTLE, EngineConfig(lanes=64), EngineConfig(lanes=2)]
)
def test_cases_fit_any_gateware(config: EngineConfig) -> None:
    found = list(cases(config))
    names = [case.name for case in found]
    assert names[:1] == ["lanes-mxint8"]
    assert ("lanes-mxfp4" in names) == config.mxfp4
    assert ("streams" in names) == (config.tokens > 1)
    for case in found:
        # Prompts and samples stay within the context.
        longest = max(map(len, case.prompts))
        assert longest + case.samples <= case.image.plan.architecture.context + 1


@pytest.fixture(scope="module")
def golden() -> dict[str, tuple[Case, Result]]:
    """Cases of the standard gateware with what they give."""
    wanted = ("lanes-mxint8", "attention", "sampler")
    chosen = [case for case in cases(STANDARD) if case.name in wanted]
    return {case.name: (case, run_golden(case, STANDARD)) for case in chosen}


def changed(result: Result, layer: int, kind: str, where: Any, by: int = 64) -> Result:
    """A result with other values in a part of a cache."""
    caches = {place: cache.copy() for place, cache in result.caches.items()}
    caches[0, layer, kind][where] += by
    return Result(result.tokens, caches)


def unit(golden: dict[str, tuple[Case, Result]], name: str, result: Result) -> str | None:
    case, right = golden[name]
    difference = first_difference(case, STANDARD, result, right)
    return difference.unit if difference else None


def test_what_is_equal_has_no_difference(golden: dict[str, tuple[Case, Result]]) -> None:
    for name, (_, right) in golden.items():
        assert unit(golden, name, right) is None


def test_a_lane_that_loses_products_is_named(golden: dict[str, tuple[Case, Result]]) -> None:
    _, right = golden["lanes-mxint8"]
    lane = (slice(None), slice(1, None, 4), slice(5, None, 16))
    found = unit(golden, "lanes-mxint8", changed(right, 0, "values", lane))
    assert found == "lane 5 of token row 1"


def test_a_lane_with_a_bit_stuck_at_1_is_named(golden: dict[str, tuple[Case, Result]]) -> None:
    _, right = golden["lanes-mxint8"]
    spoilt = changed(right, 0, "values", ...)
    kept = np.s_[:, ::3, 2::16]
    spoilt.caches[0, 0, "values"][kept] = right.caches[0, 0, "values"][kept]
    assert unit(golden, "lanes-mxint8", spoilt) == "lane 2"


def test_a_wrong_norm_spoils_whole_positions(golden: dict[str, tuple[Case, Result]]) -> None:
    _, right = golden["lanes-mxint8"]
    found = unit(golden, "lanes-mxint8", changed(right, 0, "values", np.s_[:, 40:47]))
    assert found is not None
    assert found.startswith("norm (1/sqrt) or embedding")


def test_wrong_keys_alone_are_the_rotary_embedding(golden: dict[str, tuple[Case, Result]]) -> None:
    _, right = golden["lanes-mxint8"]
    found = unit(golden, "lanes-mxint8", changed(right, 0, "keys", np.s_[:, 9]))
    assert found is not None
    assert found.startswith("rotary embedding")


def test_behind_attention_it_is_attention(golden: dict[str, tuple[Case, Result]]) -> None:
    _, right = golden["attention"]
    found = unit(golden, "attention", changed(right, 1, "values", np.s_[:, 3]))
    assert found is not None
    assert found.startswith("attention")


def test_wrong_tokens_alone_are_the_sampler(golden: dict[str, tuple[Case, Result]]) -> None:
    _, right = golden["sampler"]
    wrong = Result(((right.tokens[0][0] ^ 1, *right.tokens[0][1:]),), right.caches)
    found = unit(golden, "sampler", wrong)
    assert found is not None
    assert "sampler" in found


def test_what_follows_a_wrong_token_says_nothing(golden: dict[str, tuple[Case, Result]]) -> None:
    case, right = golden["sampler"]
    behind = len(case.prompts[0]) + 5
    spoilt = changed(right, 0, "values", np.s_[:, behind:])
    tokens = list(right.tokens[0])
    tokens[5] ^= 1
    wrong = Result((tuple(tokens),), spoilt.caches)
    assert unit(golden, "sampler", wrong) == case.unit
    assert unit(golden, "sampler", spoilt) != case.unit


def test_keys_and_values_tell_more_than_tokens(golden: dict[str, tuple[Case, Result]]) -> None:
    lanes, attention, sampler = (golden[name][0] for name in golden)
    tokens = Difference("tokens alone", "x", 1, 1, tokens_alone=True)
    values = Difference("values of layer 1", "attention", 1, 1)
    assert most_telling([(lanes, tokens), (attention, values)]) == (attention, values)
    assert most_telling([(lanes, tokens), (sampler, tokens)]) == (sampler, tokens)
    assert most_telling([(lanes, tokens)]) == (lanes, tokens)
