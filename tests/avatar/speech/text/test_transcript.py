"""Subtitles: what players and broadcasters expect of them."""

import re
from itertools import pairwise
from pathlib import Path

import pytest

from avatar.errors import InputError
from avatar.speech.text.script import word_spans
from avatar.speech.text.transcript import LINE, LONGEST, cues, srt, vtt, write_transcripts
from avatar.speech.text.utterance import Word

TEXT = (
    "Good morning. This sentence is longer than any subtitle may be, since it goes on and on, about this and about "
    "that, until somebody stops it. <Then> & there!"
)


def timed(text: str, *, each: float = 0.4, gaps: dict[int, float] | None = None) -> list[Word]:
    """Words one after the other, `each` seconds long, with silences before some of them."""
    words, time = [], 0.5
    for index, (start, stop) in enumerate(word_spans(text)):
        time += (gaps or {}).get(index, 0.0)
        words.append(Word(text[start:stop], start, time, time + each))
        time += each
    return words


def test_cues_are_readable_and_hold_every_word_once() -> None:
    found = cues(TEXT, timed(TEXT))
    assert " ".join(cue.text for cue in found) == " ".join(TEXT.split())
    assert all(len(line) <= LINE for block in srt(found).split("\n\n") for line in block.splitlines()[2:])
    assert all(0.3 < cue.end - cue.start <= LONGEST + 0.5 for cue in found)
    assert all(first.end <= second.start for first, second in pairwise(found))
    # A subtitle too full ends at a comma, and none begins within a sentence that would have fitted.
    assert [cue.text for cue in found][-1] == "<Then> & there!"
    assert found[0].text.endswith(",")


def test_pauses_end_cues() -> None:
    assert [cue.text for cue in cues("one two three", timed("one two three", gaps={2: 1.5}))] == ["one two", "three"]


def test_the_last_cue_ends_with_the_sound() -> None:
    words = timed("one two")
    assert cues("one two", words, seconds=words[-1].end + 0.1)[-1].end == pytest.approx(words[-1].end + 0.1)


def test_srt_is_numbered_and_written_with_commas() -> None:
    text = srt(cues("Hi.", [Word("Hi.", 0, 3599.9996, 3601.25)]))
    assert text == "1\n01:00:00,000 --> 01:00:01,650\nHi.\n"


def test_vtt_has_the_time_of_every_word_and_no_markup_of_the_texts() -> None:
    text = vtt(TEXT, cues(TEXT, timed(TEXT)))
    assert text.startswith("WEBVTT\n\n") and "&lt;Then&gt; " in text and "&amp; " in text
    stamps = [float(m) + float(s) / 60 for m, s in re.findall(r"<00:(\d\d):(\d\d\.\d{3})>", text)]
    assert stamps == sorted(stamps) and len(stamps) == len(timed(TEXT)) - len(cues(TEXT, timed(TEXT)))


def test_files_lie_beside_the_video_or_the_folder(tmp_path: Path) -> None:
    words = timed("Hi.")
    assert [path.name for path in write_transcripts(tmp_path / "a.b.mp4", "Hi.", words)] == ["a.b.srt", "a.b.vtt"]
    assert [path.name for path in write_transcripts(tmp_path / "film", "Hi.", words)] == ["film.srt", "film.vtt"]
    assert len(list(tmp_path.iterdir())) == 4
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(InputError, match="cannot be written"):
        write_transcripts(tmp_path / "file" / "talk.mp4", "Hi.", words)
