"""docs/numerics.md says what contract/formats.py says."""

import re

from jalgateware.contract import formats
from jalgateware.contract.formats import Fixed
from jaltest.models import REPOSITORY

PAGE = (REPOSITORY / "docs" / "numerics.md").read_text(encoding="utf-8")


def test_every_format_is_listed_with_its_width() -> None:
    rows = re.findall(r"^\| ([A-Z0-9_]+) \| (u?)(\d+)\.(\d+) \|", PAGE, flags=re.MULTILINE)
    listed = {
        name: Fixed(int(bits), int(fraction), signed=not unsigned)
        for name, unsigned, bits, fraction in rows
    }
    assert len(listed) == len(rows)
    assert listed == {name: item for name, item in vars(formats).items() if isinstance(item, Fixed)}


def test_tests_that_are_named_exist() -> None:
    names = re.findall(r"`(tests/[\w/]+\.py)`", PAGE)
    assert len(names) >= 10
    assert not [name for name in names if not (REPOSITORY / name).is_file()]
