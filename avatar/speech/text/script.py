"""What a text is written in, where its words and sentences are, and whether a language can be read from it."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from typing import TYPE_CHECKING

from avatar.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator

# Scripts by the first word of their letters' Unicode names.
_LETTERS = {
    "CYRILLIC": "ru uk be bg mk sr kk ky tt ba cv tg mn",
    "GREEK": "el grc",
    "ARABIC": "ar fa ur ug sd ps",
    "HEBREW": "he yi",
    "DEVANAGARI": "hi mr ne kok sa",
    "BENGALI": "bn as bpy",
    "GURMUKHI": "pa",
    "GUJARATI": "gu",
    "ORIYA": "or",
    "TAMIL": "ta",
    "TELUGU": "te",
    "KANNADA": "kn",
    "MALAYALAM": "ml",
    "SINHALA": "si",
    "THAI": "th",
    "MYANMAR": "my shn",
    "GEORGIAN": "ka",
    "ARMENIAN": "hy",
    "ETHIOPIC": "am ti",
    "CHEROKEE": "chr",
    "HANGUL": "ko",
    "HIRAGANA": "ja",
    "KATAKANA": "ja",
    "CJK": "cmn zh yue ja hak",
}
# Languages that are written in Latin letters as well.
_BOTH = ("sr", "tt", "ug", "kk")
# The group is what lies between two sentences; quotes and brackets that close belong to the first.
_SENTENCE_END = re.compile(r"[.!?…。！？।؟][\"”’»」』)\]]*(\s+)(?=\S)|[。！？][”」』]*()(?=\S)")
_PARAGRAPH = re.compile(r"(\n\s*\n)")
_TITLES = ("Dr", "Mr", "Mrs", "Ms", "Prof", "St", "Sr", "Sra", "Jr", "vs", "etc", "Hr", "Fr", "Mme", "Mlle", "Sig")
# What may be left of a sentence before it is spoken in parts: longer ones have pauses to break at.
LONGEST_PASSAGE = 600


def language_base(language: str) -> str:
    """`pt` of `pt-BR`."""
    return re.split(r"[-_]", language.lower())[0]


def scripts_of(language: str) -> tuple[str, ...]:
    """The scripts a language is written in."""
    base = language_base(language)
    named = tuple(script for script, codes in _LETTERS.items() if base in codes.split())
    return (*named, "LATIN") if not named or base in _BOTH else named


def script_counts(text: str) -> Counter[str]:
    """How many letters of each script a text has."""
    return Counter(_script(letter) for letter in text if letter.isalpha())


def check_text(text: str, *, language: str | None) -> None:
    """Holds a text to a language; raises InputError where it has nothing to say or is written in another script."""
    counts = script_counts(text)
    if not counts and not any(sign.isdecimal() for sign in text):
        raise InputError(
            "There is nothing to say",
            expected="a text with words",
            found="an empty text" if not text.strip() else f"only signs: {text.strip()[:20]!r}",
            fix="give words with --text or --text-file",
        )
    if language is None:
        return
    known = scripts_of(language)
    foreign = Counter({script: count for script, count in counts.items() if script not in known})
    if 2 * foreign.total() > counts.total():
        script = foreign.most_common(1)[0][0]
        codes = _LETTERS.get(script, "en es fr de it").split()
        raise InputError(
            f"This text is not written as the language {language!r} is",
            expected=" or ".join(map(_titled, known)) + " letters",
            found=f"{_titled(script)} letters",
            fix=f"name the text's language, for example --language {codes[0]}",
        )


def _titled(script: str) -> str:
    return "Chinese" if script == "CJK" else script.title()


def word_spans(text: str) -> Iterator[tuple[int, int]]:
    """Where words begin and end: between spaces, and single characters where a script writes no spaces."""
    for found in re.finditer(r"\S+", text):
        start, stop = found.span()
        first = start
        for place in range(start, stop):
            if _script(text[place]) in ("CJK", "HIRAGANA", "KATAKANA", "THAI", "MYANMAR"):
                # The marks that follow a character stay with it.
                end = place + 1
                while end < stop and not text[end].isalnum():
                    end += 1
                if first < place and any(sign.isalnum() for sign in text[first:place]):
                    yield first, place
                    first = place
                yield first, end
                first = end
        if first < stop:
            yield first, stop


def sentence_spans(text: str) -> Iterator[tuple[int, int]]:
    """Where sentences begin and end, paragraph by paragraph; abbreviations and initials end none."""
    for start, stop in _pieces(text, 0, len(text), _PARAGRAPH):
        first = start
        for _, end in _pieces(text, start, stop, _SENTENCE_END):
            rest = text[end:stop].lstrip()
            last = re.search(r"(\w+)\.\W*$", text[first:end])
            short = last is not None and last[1][:1].isupper() and (len(last[1]) == 1 or last[1] in _TITLES)
            if rest and (short or rest[0].islower()):
                continue
            if text[first:end].strip():
                yield first, end
            first = end


def passages(text: str) -> list[tuple[int, str]]:
    """A text in stretches that a voice says in one go: sentences, and parts of very long ones, with their places."""
    result = []
    for start, stop in sentence_spans(text):
        while stop - start > LONGEST_PASSAGE:
            window = text[start : start + LONGEST_PASSAGE]
            cut = max(window.rfind(mark) for mark in (", ", "; ", ": ", "، ", "，"))
            cut = cut + 1 if cut > LONGEST_PASSAGE // 3 else window.rfind(" ")
            cut = cut if cut > 0 else LONGEST_PASSAGE
            result.append((start, text[start : start + cut]))
            start += cut
        result.append((start, text[start:stop]))
    return [
        (start + len(part) - len(part.lstrip()), part.strip())
        for start, part in result
        if any(sign.isalnum() for sign in part)
    ]


def _pieces(text: str, start: int, stop: int, border: re.Pattern[str]) -> Iterator[tuple[int, int]]:
    for found in border.finditer(text, start, stop):
        group = found.lastindex or 0
        yield start, found.start(group)
        start = found.end(group)
    yield start, stop


def _script(letter: str) -> str:
    name = unicodedata.name(letter, "")
    return name.split(" ")[0].split("-")[0] if letter.isalpha() else ""
