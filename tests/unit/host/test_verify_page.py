"""docs/verify.md says what the commands print."""

import re
from dataclasses import fields

import pytest

from jalhost.verify.report import KEYS, Cause
from jalhost.verify.soak_log import Totals
from jaltest.models import REPOSITORY

PAGE = (REPOSITORY / "docs" / "verify.md").read_text(encoding="utf-8")


def listed(title: str) -> set[str]:
    """Names in code in the section's text and tables."""
    section = PAGE.partition(f"\n{title}\n")[2].partition("\n## ")[0]
    return set(re.findall(r"`([\w-]+)`", section))


@pytest.mark.parametrize("kind", KEYS)
def test_every_key_of_a_verification_is_listed(kind: str) -> None:
    assert set(KEYS[kind]) <= listed("### Options, exit codes, JSON")


def test_every_cause_is_listed() -> None:
    assert set(Cause) <= listed("### Options, exit codes, JSON")


def test_every_sum_of_a_long_test_is_listed() -> None:
    assert {item.name for item in fields(Totals)} <= listed("## jalhost soak")
