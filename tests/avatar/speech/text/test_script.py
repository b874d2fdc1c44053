"""Words, sentences and scripts of texts."""

import numpy as np
import pytest

from avatar.errors import InputError
from avatar.speech.text.script import LONGEST_PASSAGE, check_text, passages, scripts_of, sentence_spans, word_spans


def sentences(text: str) -> list[str]:
    return [text[start:stop].strip() for start, stop in sentence_spans(text)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("One. Two! Three? Four…", ["One.", "Two!", "Three?", "Four…"]),
        ("Dr. Smith met J. R. Tolkien. So?", ["Dr. Smith met J. R. Tolkien.", "So?"]),
        ("“It is late!” she said. Then she left.", ["“It is late!” she said.", "Then she left."]),
        ("Pi is 3.14 or so, etc. and that is all.", ["Pi is 3.14 or so, etc. and that is all."]),
        ("A title\n\nA paragraph without an end", ["A title", "A paragraph without an end"]),
        ("你好。今天天气很好。", ["你好。", "今天天气很好。"]),
        ("नमस्ते। कैसे हो?", ["नमस्ते।", "कैसे हो?"]),
        ("", []),
        (" \n\n ", []),
    ],
)
def test_sentences(text: str, expected: list[str]) -> None:
    assert sentences(text) == expected


def test_words_lie_between_spaces_or_are_single_characters() -> None:
    text = "  It's 你好，ok—really  "
    assert [text[start:stop] for start, stop in word_spans(text)] == ["It's", "你", "好，", "ok—really"]
    assert list(word_spans("  ")) == []


def test_passages_are_short_and_hold_all_words_at_their_places() -> None:
    rng = np.random.default_rng(0)
    words = ["w" * int(rng.integers(1, 12)) + ("," if rng.random() < 0.1 else "") for _ in range(800)]
    for text in (" ".join(words), "x" * 3 * LONGEST_PASSAGE, "Short. " * 50):
        parts = passages(text)
        assert all(len(part) <= LONGEST_PASSAGE and text[place : place + len(part)] == part for place, part in parts)
        assert "".join("".join(part.split()) for _, part in parts) == "".join(text.split())


def test_passages_leave_out_what_has_no_words() -> None:
    assert passages("*** … — \n\n Hello.") == [(11, "Hello.")]


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("Привет, iPhone!", "ru"),
        ("Hola", "es"),
        ("42", "en"),
        ("你好", "zh"),
        ("Ћирилица", "sr"),
        ("Latinica", "sr-Latn"),
    ],
)
def test_texts_that_fit_their_language(text: str, language: str) -> None:
    check_text(text, language=language)


@pytest.mark.parametrize(
    ("text", "language", "found", "fix"),
    [
        ("", "en", "an empty text", "give words"),
        (" \n", "en", "an empty text", "give words"),
        ("?! …", "en", "only signs: '?! …'", "give words"),
        ("🙂🙂", None, "only signs", "give words"),
        ("Привет, мир", "en", "Cyrillic letters", "--language ru"),
        ("Good morning", "ru", "Latin letters", "--language en"),
        ("שלום", "ar", "Hebrew letters", "--language he"),
    ],
)
def test_texts_that_do_not(text: str, language: str | None, found: str, fix: str) -> None:
    with pytest.raises(InputError) as stop:
        check_text(text, language=language)
    assert found in str(stop.value) and fix in str(stop.value)


def test_unknown_languages_are_written_in_latin_letters() -> None:
    assert scripts_of("pt-BR") == scripts_of("xx") == ("LATIN",)
    assert scripts_of("zh_CN") == ("CJK",)
