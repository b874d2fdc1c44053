"""What is said and when, as subtitles: SRT, and WebVTT with the time of every word."""

from __future__ import annotations

import html
import math
import re
from bisect import bisect_right
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

from avatar.io._files import replacing
from avatar.speech.text.script import sentence_spans

if TYPE_CHECKING:
    from collections.abc import Sequence

    from avatar.speech.text.utterance import Word

# What broadcasters hold subtitles to: two lines of 42 characters, at most 7 s.
LINE, LINES, LONGEST = 42, 2, 7.0
# A silence this long ends a subtitle; after its last word one stays for a moment.
PAUSE, LINGER = 0.8, 0.4
# A sentence shorter than this shares its subtitle with the next.
SCRAP = 1.0
_BREAKS = (",", ";", ":", "—", "，", "、", "،")


@dataclass(frozen=True)
class Cue:
    """One subtitle.

    Attributes:
        start: Seconds.
        end: Seconds.
        words: What is said in it.
        text: The same as it is written, on one line.
    """

    start: float
    end: float
    words: tuple[Word, ...]
    text: str


def cues(text: str, words: Sequence[Word], *, seconds: float = math.inf) -> list[Cue]:
    """Subtitles of a text whose words have times.

    They end with sentences and at pauses where they can, and all by the sound's end.
    """
    groups: list[list[Word]] = []
    rest = list(words)
    sentences = [start for start, _ in sentence_spans(text)]
    while rest:
        count = _fitting(text, rest, sentences)
        groups.append(rest[:count])
        rest = rest[count:]
    result = []
    places = [group[0].place for group in groups] + [len(text)]
    starts = [group[0].start for group in groups] + [seconds]
    for group, (place, until), following in zip(groups, pairwise(places), starts[1:], strict=True):
        end = min(group[-1].end + LINGER, following)
        result.append(Cue(group[0].start, max(end, group[0].start), tuple(group), _one_line(text[place:until])))
    return result


def write_transcripts(video: Path, text: str, words: Sequence[Word], *, seconds: float = math.inf) -> list[Path]:
    """Writes NAME.srt and NAME.vtt beside a video; raises InputError where that cannot be."""
    timed = cues(text, words, seconds=seconds)
    base = video.with_suffix("")
    paths = []
    for suffix, content in ((".srt", srt(timed)), (".vtt", vtt(text, timed))):
        path = base.with_name(base.name + suffix)
        replacing(path, lambda file, content=content: file.write_text(content, encoding="utf-8"))
        paths.append(path)
    return paths


def srt(timed: Sequence[Cue]) -> str:
    """Cues as SubRip."""
    blocks = [
        f"{number}\n{_clock(cue.start, ',')} --> {_clock(cue.end, ',')}\n{_wrapped(cue.text)}\n"
        for number, cue in enumerate(timed, start=1)
    ]
    return "\n".join(blocks)


def vtt(text: str, timed: Sequence[Cue]) -> str:
    """Cues as WebVTT (W3C), each word but a cue's first behind its own time."""
    blocks = ["WEBVTT\n"]
    for cue in timed:
        places = [word.place for word in cue.words] + [cue.words[0].place + _length(text, cue)]
        parts, previous = [], cue.start
        for word, (place, until) in zip(cue.words, pairwise(places), strict=True):
            # A time must lie after the one before it and within the cue.
            stamped = previous + 5e-4 < word.start < cue.end
            parts.append(
                (f"<{_clock(word.start, '.')}>" if stamped else "") + html.escape(text[place:until], quote=False)
            )
            previous = max(previous, word.start)
        blocks.append(f"{_clock(cue.start, '.')} --> {_clock(cue.end, '.')}\n{_one_line(''.join(parts))}\n")
    return "\n".join(blocks)


def _fitting(text: str, words: Sequence[Word], sentences: list[int]) -> int:
    """How many of the words make the next subtitle; `sentences` are the places where sentences begin."""
    first, best = words[0], 0
    for count, word in enumerate(words, start=1):
        size = len(_one_line(text[first.place : word.place + len(word.text)]))
        if count > 1 and (size > LINE * LINES - 4 or word.end - first.start > LONGEST):
            # Back to a comma, unless that leaves a scrap.
            return best if best and 3 * best >= count else count - 1
        if count == len(words):
            break
        following = words[count]
        ends = bisect_right(sentences, word.place) < bisect_right(sentences, following.place)
        if ends or word.text.endswith(_BREAKS):
            best = count
        if following.start - word.end > PAUSE or (ends and word.end - first.start > SCRAP):
            return count
    return len(words)


def _length(text: str, cue: Cue) -> int:
    """Characters of the text that a cue covers."""
    start, target = cue.words[0].place, len(re.sub(r"\s", "", cue.text))
    place, seen = start, 0
    while place < len(text) and seen < target:
        seen += not text[place].isspace()
        place += 1
    return place - start


def _wrapped(text: str) -> str:
    """A subtitle in lines of about the same length."""
    if len(text) <= LINE:
        return text
    gaps = [found.start() for found in re.finditer(" ", text)]
    if not gaps:
        return text
    middle = min(gaps, key=lambda place: abs(place - len(text) / 2))
    return f"{text[:middle]}\n{text[middle + 1 :]}"


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _clock(seconds: float, point: str) -> str:
    milliseconds = max(round(seconds * 1000), 0)
    hours, rest = divmod(milliseconds, 3_600_000)
    minutes, rest = divmod(rest, 60_000)
    return f"{hours:02d}:{minutes:02d}:{rest // 1000:02d}{point}{rest % 1000:03d}"
