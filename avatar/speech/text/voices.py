"""The voices of this machine, and which of them says a text."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from avatar.errors import InputError
from avatar.speech.text import espeak, hibari
from avatar.speech.text.script import language_base
from avatar.speech.text.utterance import Passage

ESPEAK = "espeak"
# What espeak-ng speaks, where it is not here to be asked.
ANY = ("more than 100",)
SPEEDS = (0.5, 2.0)
Say = Callable[[Sequence[tuple[int, str]]], Iterator[Passage]]


@dataclass(frozen=True)
class VoiceRow:
    """A voice as `avatar voices` lists it.

    Attributes:
        name: What --voice takes.
        languages: Codes of what it speaks.
        title: The same in words.
        engine: What speaks.
        kind: `neural`, or `formant` for a synthetic sound that is exact in time.
        ready: It can be used now.
        licence: Of the engine and its voice.
        note: What to do where it is not ready.
    """

    name: str
    languages: tuple[str, ...]
    title: str
    engine: str
    kind: str
    ready: bool
    licence: str
    note: str = ""


@dataclass(frozen=True)
class ChosenVoice:
    """A voice that will say a text.

    Attributes:
        name: As in `VoiceRow`.
        language: The language it reads the text as.
        say: Says passages.
        note: What the person should know about the choice.
    """

    name: str
    language: str
    say: Say
    note: str = ""


def voice_rows(language: str | None = None) -> list[VoiceRow]:
    """All voices known here, those that are missing with what to do; of one language where it is given."""
    neural = [
        VoiceRow(
            name=voice.name,
            languages=(voice.language,),
            title=voice.title,
            engine="hibari",
            kind="neural",
            ready=voice.ready,
            licence="Apache-2.0",
            note="" if voice.ready else "8 MB on first use",
        )
        for voice in hibari.hibari_voices()
    ]
    if not neural:
        missing = VoiceRow(
            hibari.DEFAULT, ("en-US",), "English", "hibari", "neural", False, "Apache-2.0", hibari.GET_IT
        )
        neural = [missing]
    formant = [
        VoiceRow(f"{ESPEAK}:{voice.languages[0]}", voice.languages, voice.name, "espeak-ng", "formant", True, "GPL-3.0")
        for voice in espeak.espeak_voices()
    ]
    if not formant:
        formant = [VoiceRow(ESPEAK, ANY, "all but English", "espeak-ng", "formant", False, "GPL-3.0", espeak.GET_IT)]
    rows = [*neural, *formant]
    if language is None:
        return rows
    base = language_base(language)
    return [row for row in rows if row.languages == ANY or any(language_base(code) == base for code in row.languages)]


def choose_voice(voice: str | None, language: str | None, *, speed: float = 1.0, seed: int = 0) -> ChosenVoice:
    """The voice that was asked for, or the best one of the language here.

    English is spoken by hibari, all else by espeak-ng, and English as well where hibari is not installed.

    Raises:
        InputError: There is no such voice, it does not speak the language, or nothing that does is installed.
    """
    if not SPEEDS[0] <= speed <= SPEEDS[1]:
        raise InputError(
            "The option --speed cannot be used",
            expected=f"{SPEEDS[0]:g} to {SPEEDS[1]:g}",
            found=f"{speed:g}",
            fix="leave it out for the voice's own pace",
        )
    if voice == ESPEAK or (voice or "").startswith(f"{ESPEAK}:"):
        own = (voice or "").partition(":")[2]
        return _formant(own or language or "en", speed=speed, wanted=language)
    here = {row.name: row for row in hibari.hibari_voices()}
    if voice is not None:
        if voice not in here:
            _refuse_name(voice, here)
        return _neural(here[voice], language, speed=speed, seed=seed)
    if language_base(language or "en") != "en":
        return _formant(language or "", speed=speed, wanted=language)
    if here:
        ready = [row for row in here.values() if row.ready and row.language.lower() == (language or "").lower()]
        return _neural((ready or [here[hibari.DEFAULT]])[0], language, speed=speed, seed=seed)
    if not espeak.espeak_voices():
        raise InputError(
            "There is no voice on this machine",
            expected="hibari-tts for English, or espeak-ng",
            found="neither",
            fix=f"{hibari.GET_IT}, or {espeak.GET_IT}",
        )
    note = f"The neural voice is not installed ({hibari.GET_IT}); espeak-ng speaks instead."
    chosen = _formant(language or "en-us", speed=speed, wanted=language)
    return ChosenVoice(chosen.name, chosen.language, chosen.say, note)


def _neural(row: hibari.HibariVoice, language: str | None, *, speed: float, seed: int) -> ChosenVoice:
    if language_base(language or "en") != "en":
        raise InputError(
            f"The voice {row.name} does not speak that language",
            expected="English",
            found=repr(language),
            fix=f"leave --voice out, or use --voice {ESPEAK}",
        )
    hibari.load_hibari(row.name)
    say = partial(hibari.hibari_passages, voice=row.name, speed=speed, seed=seed)
    return ChosenVoice(row.name, row.language, say)


def _formant(code: str, *, speed: float, wanted: str | None) -> ChosenVoice:
    if wanted is not None and language_base(wanted) != language_base(code):
        raise InputError(
            f"The voice {ESPEAK}:{code} does not speak that language",
            expected=code,
            found=repr(wanted),
            fix="leave one of --voice and --language out",
        )
    voices = espeak.espeak_voices()
    if not voices:
        raise InputError(
            f"The language {code!r} needs espeak-ng",
            expected="espeak-ng on this machine; without it English alone is spoken",
            found="no espeak-ng",
            fix=f"{espeak.GET_IT}; or use another program with --voice-command, or its sound with --audio",
        )
    wanted_code = code.lower().replace("_", "-")
    aliases = {"zh": "cmn", "zh-cn": "cmn", "no": "nb", "en": "en-us"}
    for asked in (aliases.get(wanted_code, wanted_code), language_base(wanted_code)):
        named = [row for row in voices if asked in row.languages]
        if named:
            # A voice lists its own language first, and those it only helps out for behind it. Of countries that share
            # a language, espeak-ng names one voice for the language alone.
            best = min(named, key=lambda row: (row.key.lower() != asked, row.languages.index(asked)))
            own = best.languages[0]
            return ChosenVoice(f"{ESPEAK}:{own}", own, partial(espeak.espeak_passages, key=best.key, speed=speed))
    raise InputError(
        "There is no voice for that language",
        expected=f"one of the {len(voices)} languages that `avatar voices` lists",
        found=repr(code),
        fix="use another program with --voice-command, or its sound with --audio",
    )


def _refuse_name(voice: str, here: dict[str, hibari.HibariVoice]) -> None:
    if not here and voice == hibari.DEFAULT:
        hibari.load_hibari(voice)
    raise InputError(
        f"There is no voice {voice!r}",
        expected=", ".join([*here, f"{ESPEAK}:LANGUAGE"]),
        found=repr(voice),
        fix="choose one that `avatar voices` lists",
    )
