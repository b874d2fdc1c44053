"""espeak-ng: more than a hundred languages, with the exact time of every word and phone.

It is licensed under the GPL, so it is neither shipped nor loaded here: a process of its own does that, and what comes
back are samples and times.
"""

from __future__ import annotations

import importlib.util
import json
import shutil
import subprocess
import sys
import tempfile
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from avatar.errors import InputError
from avatar.speech.text.script import word_spans
from avatar.speech.text.utterance import Passage, Phone, Word

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_WORKER = Path(__file__).with_name("_espeak_worker.py")
_NAMES = ("libespeak-ng.so.1", "libespeak-ng.so", "libespeak-ng.1.dylib", "libespeak-ng.dylib", "libespeak-ng.dll")
_FOLDERS = ("/opt/homebrew/lib", "/usr/local/lib")
# The Python package that carries the library and its data, for machines without a package manager at hand.
_CARRIER = "espeakng_loader"
# Voices of other projects that espeak-ng can speak for; they are not there just because they are listed.
_FOREIGN = "mb/"
# Passages of one process: its start is paid for once, and its answer stays small.
_BATCH = 16
GET_IT = "install it: apt install espeak-ng, brew install espeak-ng, or pip install espeakng-loader"


class EspeakVoice(NamedTuple):
    """One of espeak-ng's voices.

    Attributes:
        name: Its language in English.
        languages: Codes it answers to, the closest first: `en-gb`, `en`.
        key: What espeak-ng itself calls it.
    """

    name: str
    languages: tuple[str, ...]
    key: str


@lru_cache(maxsize=1)
def espeak_voices() -> tuple[EspeakVoice, ...]:
    """The voices of this machine's espeak-ng; none where it has no espeak-ng."""
    try:
        rows = _ask({})["voices"]
    except InputError:
        return ()
    return tuple(
        EspeakVoice(name, tuple(code.lower() for code in codes), place.rpartition("/")[2])
        for name, place, codes in rows
        if not place.startswith(_FOREIGN)
    )


def espeak_passages(passages: Sequence[tuple[int, str]], *, key: str, speed: float = 1.0) -> Iterator[Passage]:
    """Says passages of a text.

    Args:
        passages: Where each begins in the text, and its words.
        key: That of the voice.
        speed: 1 is espeak-ng's own pace.

    Yields:
        Each passage, with exact times.

    Raises:
        InputError: espeak-ng is missing, or it cannot say the text.
    """
    with tempfile.TemporaryDirectory() as folder:
        sound = Path(folder) / "sound"
        for first in range(0, len(passages), _BATCH):
            batch = passages[first : first + _BATCH]
            request = {"voice": key, "speed": speed, "sound": str(sound), "passages": [text for _, text in batch]}
            answer = _ask(request)
            said = np.fromfile(sound, np.int16).astype(np.float32) / 32768
            place = 0
            for (begin, text), row in zip(batch, answer["passages"], strict=True):
                yield _passage(row, text, begin, said[place : place + row["samples"]], answer["rate"])
                place += row["samples"]


def _passage(row: dict[str, Any], text: str, begin: int, samples: np.ndarray, rate: int) -> Passage:
    """What the worker says of one passage, with times in seconds and words as they are written."""
    seconds = len(samples) / rate
    starts = [sample / rate for _, sample in row["phones"]] + [seconds]
    phones = tuple(
        Phone(symbol.lstrip("ˈˌ"), start, end)
        for (symbol, _), start, end in zip(row["phones"], starts, starts[1:], strict=False)
        if symbol.lstrip("ˈˌ") and not symbol.startswith("(") and end > start
    )
    heard = [(place, sample / rate) for place, sample in row["words"]]
    words = []
    for start, stop in word_spans(text):
        # espeak-ng splits what is written as one word, as in 2026, and counts the marks before it to the word.
        inside = [time for place, time in heard if start <= place < stop]
        if inside:
            words.append((start, stop, inside[0]))
    spoken = [phone for phone in phones if phone.symbol]
    ends = ([time for _, _, time in words] + [seconds])[1:]
    timed = tuple(
        Word(text[start:stop], begin + start, time, _end_of_speech(spoken, time, end))
        for (start, stop, time), end in zip(words, ends, strict=True)
    )
    return Passage(samples, rate, timed, phones)


def _end_of_speech(phones: list[Phone], start: float, end: float) -> float:
    """The end of the last phone within a word's time: what is left of it is a pause."""
    inside = [phone.end for phone in phones if start <= (phone.start + phone.end) / 2 < end]
    return min(max(inside), end) if inside else end


def _ask(request: dict[str, Any]) -> dict[str, Any]:
    """One request to the worker; raises InputError where it cannot answer."""
    full = {"libraries": _libraries(), **request}
    done = subprocess.run(
        [sys.executable, "-I", str(_WORKER)], input=json.dumps(full), capture_output=True, text=True, encoding="utf-8"
    )
    if done.returncode == 0:
        return json.loads(done.stdout)
    said = done.stderr.strip().splitlines()
    raise InputError(
        "espeak-ng cannot be used",
        expected="espeak-ng 1.50 or newer on this machine",
        found=said[-1] if said else f"it ended with code {done.returncode}",
        fix=GET_IT,
    )


def _libraries() -> list[tuple[str, str | None]]:
    """Where espeak-ng may be, as pairs of library and folder of its data; None for its own choice."""
    found: list[tuple[str, str | None]] = []
    program = shutil.which("espeak-ng")
    folders = [Path(folder) for folder in _FOLDERS]
    if program:
        home = Path(program).resolve().parent
        folders = [home.parent / "lib", home, *folders]
    found += [(str(folder / name), None) for folder in folders for name in _NAMES if (folder / name).is_file()]
    found += [(name, None) for name in _NAMES]
    carrier = importlib.util.find_spec(_CARRIER)
    for folder in carrier.submodule_search_locations or () if carrier else ():
        data = str(Path(folder) / "espeak-ng-data")
        found += [(str(path), data) for path in sorted(Path(folder).glob("*espeak-ng.*"))[:1]]
    return found
