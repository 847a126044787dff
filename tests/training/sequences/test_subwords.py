import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("tokenizers", reason="pip install 'landscape_fast[text]'")

from landscape_fast.training.sequences.subwords import Subwords

TEXT = ["der kleine Hund und die kleine Katze", "the small dog and the small cat"] * 3
LEARNED = Subwords(TEXT, size=285)


@settings(max_examples=50)
@given(st.text(max_size=30))
def test_every_text_comes_back_also_of_characters_never_seen(text):
    (tokens,) = LEARNED.encode([text])
    assert LEARNED.decode(tokens) == text.strip()
    assert all(3 <= token < len(LEARNED) for token in tokens)


def test_frequent_words_of_both_languages_are_one_token():
    assert [len(tokens) for tokens in LEARNED.encode(["kleine", "small", "xqz"])] == [1, 1, 4]


def test_the_vocabulary_depends_on_the_sentences_alone():
    again = Subwords(iter(TEXT), size=285)
    assert again.encode(TEXT) == LEARNED.encode(TEXT)
    assert len(again) == len(LEARNED) == 285


def test_names_of_special_tokens_in_a_text_are_text():
    assert not {0, 1, 2} & set(LEARNED.encode(["<pad> <s> </s>"])[0])


def test_a_vocabulary_without_room_for_every_byte_is_refused():
    with pytest.raises(ValueError, match="size must be at least 259"):
        Subwords(TEXT, size=258)


def test_without_the_library_the_way_to_install_it_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    with pytest.raises(ImportError, match=r"pip install 'landscape_fast\[text\]'"):
        Subwords(TEXT, size=285)
