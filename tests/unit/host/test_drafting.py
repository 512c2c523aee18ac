"""Tables of drafts: what is in them, and what they are worth."""

import numpy as np
import pytest

from jalgateware.contract.drafting import ORDERS, TABLE_WORDS
from jalgateware.golden.drafter import Drafter
from jalhost.models import drafting
from jalhost.models.drafting import Text, build_table, read, tell, with_drafts
from jalhost.models.reference import Reference
from jaltest.tiny import ARCHITECTURE, tiny_image, tiny_model


def text_of(*tokens: int) -> Text:
    """A text in which the model is always right."""
    return Text(tokens[:-1], tokens[1:])


def drafts_behind(table: np.ndarray, *tokens: int) -> list[int]:
    drafter = Drafter(table.tolist())
    for token in tokens:
        drafter.learn(token)
    return drafter.draft(3)


def test_a_text_is_drafted_again() -> None:
    table = build_table([text_of(1, 10, 11, 12, 13)])
    assert table.shape == (TABLE_WORDS,)
    assert drafts_behind(table, 1) == [10, 11, 12]
    assert drafts_behind(table, 99, 11) == [12, 13]


def test_the_likeliest_counts_not_what_was_said() -> None:
    table = build_table([Text([1, 10], [20, 21])])
    assert drafts_behind(table, 1) == [20]


def test_longer_contexts_are_stored_where_they_differ() -> None:
    """Behind 5 mostly comes 6, but not behind 9 5."""
    texts = [text_of(n, 5, 6) for n in range(10, 20)] + [text_of(9, 5, 7)] * 2
    table = build_table(texts)
    assert drafts_behind(table, 30, 5)[0] == 6
    assert drafts_behind(table, 9, 5)[0] == 7
    # 10 to 19 and 9: what follows them; 5, and 9 5. That 6 follows 10 5 goes without saying.
    assert (table != 0).sum() == 10 + 1 + 2


def test_where_a_set_is_full_the_best_entries_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drafting, "set_of", lambda key: 0)
    texts = [text_of(token, token + 100) for token in range(1, 9) for _ in range(token)]
    table = build_table(texts)
    assert {entry & 0xFFFF for entry in table.tolist() if entry} == {108, 107, 106}


def test_tokens_that_do_not_fit_are_left_out() -> None:
    table = build_table([text_of(1, 70000, 3)])
    assert {entry & 0xFFFF for entry in table.tolist() if entry} == {3}


def test_what_a_model_tells() -> None:
    texts = list(tell(tiny_model(), 300, stop_tokens=(1, 2)))
    assert sum(len(text.tokens) for text in texts) >= 300
    assert len({tuple(text.tokens) for text in texts}) == len(texts)
    reference = Reference(tiny_model())
    for text in texts[:2]:
        assert text.tokens[0] == 1
        assert not {1, 2} & set(text.tokens[1:])
        likeliest = [
            int(reference.step([token], position)[0].argmax())
            for position, token in enumerate(text.tokens)
        ]
        assert likeliest == text.likeliest


def test_a_text_is_read_in_pieces() -> None:
    tokens = [1, *range(3, 3 + 2 * ARCHITECTURE.context)]
    texts = list(read(tiny_model(), tokens))
    assert [token for text in texts for token in text.tokens] == tokens
    reference = Reference(tiny_model())
    first = [int(reference.step([token], n)[0].argmax()) for n, token in enumerate(tokens[:9])]
    assert texts[0].likeliest[:9] == first
    assert all(len(text.likeliest) == len(text.tokens) for text in texts)


def test_texts_that_do_not_fit_memory_run_in_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = list(read(tiny_model(), list(range(3, 200))))
    monkeypatch.setattr(drafting, "CACHE_BYTES", 1)
    assert list(read(tiny_model(), list(range(3, 200)))) == expected


def test_an_image_gets_a_table_or_none() -> None:
    image = tiny_image()
    told, said = with_drafts(image, 200), with_drafts(image, 200, "one on the other")
    assert told.drafts is not None
    assert said.drafts is not None
    assert 0 < (said.drafts != 0).sum() <= ORDERS * 17
    again = with_drafts(image, 200)
    assert np.array_equal(again.tensors()["drafts"], told.drafts)
    assert with_drafts(told, 0).drafts is None


def test_large_models_learn_from_less(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drafting, "USUAL_WORK", 100 * ARCHITECTURE.parameters)
    asked: list[int] = []

    def note(model: object, tokens: int, stop_tokens: object, first: int) -> list[Text]:
        assert first == tiny_image().tokenizer.start
        asked.append(tokens)
        return []

    monkeypatch.setattr(drafting, "tell", note)
    with_drafts(tiny_image())
    assert asked == [100]
