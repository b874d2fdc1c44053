"""Text in; a sound file, a transcript and the times of words and lips out, whatever the text's length."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import soundfile

from avatar.errors import InputError
from avatar.speech.silence import RATE as SAMPLE_RATE
from avatar.speech.silence import loudness, speech_activity
from avatar.speech.text.hibari import spread_times
from avatar.speech.text.script import check_text, passages, word_spans
from avatar.speech.text.utterance import Phone, Word

if TYPE_CHECKING:
    from collections.abc import Callable

    from jaxtyping import Float

    from avatar.io.sound import StoredSound
    from avatar.speech.text.voices import ChosenVoice

# What a text file may hold: about a day of speech.
LONGEST_TEXT = 1_000_000


@dataclass(frozen=True)
class SpokenText:
    """A text that was said.

    Attributes:
        text: The text.
        words: Its words in order, seconds.
        seconds: Length of the sound.
        phones: Its sounds in order, seconds; none where the voice does not tell.
        exact: The times are the voice's own, not estimated.
    """

    text: str
    words: tuple[Word, ...]
    seconds: float
    phones: tuple[Phone, ...] = ()
    exact: bool = True


def read_text(path: Path) -> str:
    """A text file's content; raises InputError where it is missing or no UTF-8."""
    try:
        return clean_text(path.read_bytes().decode("utf-8-sig"))
    except FileNotFoundError as error:
        raise InputError(
            f"There is no text file {path}", expected="a file with the text", found="nothing", fix="check the path"
        ) from error
    except OSError as error:
        raise InputError(
            f"{path} cannot be read", expected="a text file", found=error.strerror or str(error), fix="check the path"
        ) from error
    except UnicodeDecodeError as error:
        raise InputError(
            f"{path} is no text file",
            expected="plain text as UTF-8",
            found=f"a byte 0x{error.object[error.start]:02x} at place {error.start}",
            fix="save it as plain text with the encoding UTF-8",
        ) from error


def clean_text(text: str) -> str:
    """A text with plain line ends and without control characters; raises InputError where it is too long."""
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    text = "".join(sign if sign.isprintable() or sign == "\n" else " " for sign in text)
    if len(text) > LONGEST_TEXT:
        raise InputError(
            "The text is too long",
            expected=f"at most {LONGEST_TEXT} characters",
            found=str(len(text)),
            fix="say it in parts",
        )
    return text


def speak_text(
    text: str, wav: Path, *, voice: ChosenVoice, on_passage: Callable[[int, int], object] | None = None
) -> SpokenText:
    """Says a text into a WAV file, passage by passage.

    Args:
        text: What to say.
        wav: The file, 16 bits mono at the voice's own rate.
        voice: Who says it.
        on_passage: Called with the passages said so far and all of them.

    Raises:
        InputError: There is nothing to say, the text is of another script than the voice's language, or the voice
            cannot be used.
    """
    check_text(text, language=voice.language)
    parts = passages(text)
    words: list[Word] = []
    phones: list[Phone] = []
    exact, file, samples, rate = True, None, 0, 1
    try:
        for done, passage in enumerate(voice.say(parts), start=1):
            if file is None:
                file = soundfile.SoundFile(wav, "w", samplerate=passage.rate, channels=1, subtype="PCM_16")
            moved = passage.later(samples / passage.rate)
            words += moved.words
            phones += moved.phones
            exact, rate = exact and passage.exact, passage.rate
            samples += len(passage.samples)
            file.write(np.clip(passage.samples, -1, 1))
            if on_passage:
                on_passage(done, len(parts))
    finally:
        if file is not None:
            file.close()
    if not words:
        raise InputError(
            "There is nothing to say",
            expected="a text with words that the voice can read",
            found=repr(text.strip()[:40]),
            fix="give other words, or another --voice",
        )
    return SpokenText(text, tuple(words), samples / rate, tuple(phones), exact)


def estimated_words(text: str, samples: Float[np.ndarray, " N"] | StoredSound) -> SpokenText:
    """A text that a recording (16 kHz) is known to say, its words spread over the recording's speech by their length.

    Nothing listens to the words: within a long recording they may be off by seconds.
    """
    spans = list(word_spans(text))
    activity = speech_activity(loudness(samples)) > 0.5
    spoken = np.flatnonzero(activity) / 100
    if not spans or not len(spoken):
        return SpokenText(text, (), len(samples) / SAMPLE_RATE, exact=False)
    edges = np.concatenate([spoken, [spoken[-1] + 0.01]])
    shares = spread_times([stop - start + 1 for start, stop in spans], 0.0, len(edges) - 1)
    words = [
        Word(text[start:stop], start, *(float(v) for v in np.interp(share, np.arange(len(edges)), edges)))
        for (start, stop), share in zip(spans, shares, strict=True)
    ]
    return SpokenText(text, tuple(words), len(samples) / SAMPLE_RATE, exact=False)
