"""Instructions: what is encoded is decoded, and nothing is cut off."""

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jalgateware.contract import isa

INSTRUCTIONS = st.builds(
    isa.Instruction,
    opcode=st.sampled_from(isa.Opcode),
    destination=st.sampled_from(isa.Destination),
    source=st.sampled_from(isa.Source),
    **{
        name: st.integers(0, (1 << width) - 1)
        for name, (_, width) in isa.FIELDS.items()
        if name not in ("opcode", "destination", "source")
    },
)


@given(INSTRUCTIONS)
def test_round_trip(instruction: isa.Instruction) -> None:
    words = isa.encode(instruction)
    assert len(words) == isa.INSTRUCTION_WORDS
    assert all(0 <= word < 1 << 32 for word in words)
    assert isa.decode(words) == instruction


def test_fields_do_not_overlap() -> None:
    taken: set[int] = set()
    for low, width in isa.FIELDS.values():
        bits = set(range(low, low + width))
        assert not bits & taken
        taken |= bits
    assert max(taken) < 32 * isa.INSTRUCTION_WORDS
    assert list(isa.FIELDS) == [field.name for field in dataclasses.fields(isa.Instruction)]


@pytest.mark.parametrize("name", [name for name in isa.FIELDS if name != "opcode"])
def test_values_that_do_not_fit_are_refused(name: str) -> None:
    width = isa.FIELDS[name][1]
    for value in (1 << width, -1):
        instruction = isa.Instruction(isa.Opcode.MATVEC, **{name: value})  # type: ignore[arg-type]  # any field
        with pytest.raises(ValueError, match=f"MATVEC: {name} = {value} does not fit {width} bits"):
            isa.encode(instruction)


def test_unknown_opcode_is_refused() -> None:
    with pytest.raises(ValueError, match="15 is not a valid Opcode"):
        isa.decode((15, 0, 0, 0))


def test_registers_are_written_by_set() -> None:
    instruction = isa.set_register(isa.Register.EPSILON, 12345)
    assert (instruction.opcode, instruction.rows, instruction.base) == (isa.Opcode.SET, 6, 12345)
