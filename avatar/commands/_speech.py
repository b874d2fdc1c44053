"""What `avatar render` and `avatar view` let the avatar say: a sound file, or a text that a voice turns into one."""

from __future__ import annotations

import tempfile
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.markup import escape

from avatar.commands._console import progress_bar, say
from avatar.errors import InputError
from avatar.io.sound import StoredSound, store_sound
from avatar.speech.silence import FLOOR_DB
from avatar.speech.text.command import run_voice_command
from avatar.speech.text.script import check_text
from avatar.speech.text.speaking import SpokenText, clean_text, estimated_words, read_text, speak_text
from avatar.speech.text.transcript import write_transcripts
from avatar.speech.text.utterance import lip_closures
from avatar.speech.text.voices import choose_voice

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np

    from avatar.io.audio import SoundFacts
    from avatar.options import Render

# Recorded with fewer samples a second, speech lacks much of what tells sounds apart.
LOW_RATE = 12_000
# Fewer clipped samples than this do not count.
MUCH_CLIPPED = 1e-3
SENSIBLE_HOURS = 1.0
SOUND_RATE = 16_000


@dataclass(frozen=True)
class Speech:
    """A sound file that an avatar says.

    Attributes:
        path: Any audio or video file.
        spoken: Its words and their times, where they are known.
        voice: Who says it, and in which language; empty for a recording.
        notes: What is to be known of it; what the sound itself is like once it was read.
    """

    path: Path
    spoken: SpokenText | None = None
    voice: str = ""
    notes: list[str] = field(default_factory=list)

    def samples(self, *, rate: int) -> StoredSound:
        """The sound on disk; says what will make its lips worse. Raises InputError where there is none."""
        sound, facts = store_sound(self.path, rate=rate)
        for note in sound_notes(facts):
            self.notes.append(f"{self.path.name}: {note}")
            say(escape(self.notes[-1]))
        return sound

    def closures(self, seconds: float) -> np.ndarray | None:
        """When the lips are known to be closed; None where the voice does not tell its phones."""
        return lip_closures(self.spoken.phones, seconds) if self.spoken and self.spoken.phones else None

    def write_transcripts(self, output: Path) -> dict[str, Any]:
        """Writes SRT and VTT beside a video where the words are known; returns what to report."""
        if self.spoken is None:
            return {}
        facts: dict[str, Any] = {"voice": self.voice} if self.voice else {}
        if self.spoken.words:
            said = self.spoken
            written = write_transcripts(output, said.text, said.words, seconds=said.seconds)
            facts["transcript"] = list(map(str, written))
            facts["words"] = len(self.spoken.words)
            facts["word_times"] = "exact" if self.spoken.exact else "estimated"
        return facts


def check_driver(options: Render) -> None:
    """Raises InputError where the options do not say what drives the avatar, or say it twice."""
    drivers = {"--audio": options.audio, "--text": options.text, "--text-file": options.text_file}
    drivers |= {"--motion": options.motion, "--video": options.video}
    given = [name for name, value in drivers.items() if value is not None]
    if given == ["--audio", "--text"] or given == ["--audio", "--text-file"]:
        given = given[:1]
        voiced = False
    elif given == ["--audio", "--motion"]:
        given, voiced = given[1:], False
    else:
        voiced = given == ["--text"] or given == ["--text-file"]
    if len(given) != 1:
        raise InputError(
            "What drives the avatar is not clear",
            expected="one of --audio FILE, --text TEXT, --text-file FILE, --motion FILE and --video FILE",
            found=" and ".join(given) or "none of them",
            fix="give one of them; a text beside --audio is its transcript, --audio beside --motion what is heard",
        )
    if options.video_pose is not None and options.video is None:
        raise InputError(
            "There is no video whose pose to take",
            expected="--video-pose with --video",
            found=f"--video-pose with {given[0]}",
            fix="leave out --video-pose",
        )
    voices = {"--voice": options.voice, "--voice-command": options.voice_command}
    named = [name for name, value in voices.items() if value is not None]
    if named and not voiced:
        raise InputError(
            "There is no text for the voice",
            expected=f"{named[0]} with --text or --text-file alone",
            found=f"{named[0]} with {given[0]}",
            fix=f"leave out {named[0]}, or {given[0]}",
        )


@contextmanager
def sound_to_say(options: Render) -> Iterator[Speech | None]:
    """What the options want said, as long as it is needed; None where a motion or a video drives the avatar.

    Raises:
        InputError: There is nothing to say, or no voice for it.
    """
    if options.motion is not None or options.video is not None:
        yield None
        return
    text = read_text(options.text_file) if options.text_file else options.text
    if text is None or options.audio is not None:
        assert options.audio is not None
        yield Speech(options.audio, None if text is None else transcribed(options.audio, text))
        return
    with tempfile.TemporaryDirectory(prefix="avatar-voice-") as folder:
        yield say_text(
            text,
            Path(folder) / "speech.wav",
            voice=options.voice,
            language=options.language,
            speed=1.0 if options.speed is None else options.speed,
            command=options.voice_command,
            seed=options.seed or 0,
            bar=True,
        )


def say_text(
    text: str,
    wav: Path,
    *,
    voice: str | None = None,
    language: str | None = None,
    speed: float = 1.0,
    command: str | None = None,
    seed: int = 0,
    bar: bool = False,
) -> Speech:
    """Has a voice, or another program, say a text into a sound file; with `bar` a progress bar is shown.

    Raises:
        InputError: There is nothing to say, or no voice for it.
    """
    text = clean_text(text)
    if command is not None:
        check_text(text, language=language)
        run_voice_command(command, text, wav, language=language or "en", voice=voice or "")
        return Speech(wav, transcribed(wav, text), command.split()[0])
    chosen = choose_voice(voice, language, speed=speed, seed=seed)
    if chosen.note:
        say(escape(chosen.note))
    check_text(text, language=chosen.language)
    with progress_bar(f"voice {chosen.name}") if bar else nullcontext() as on_passage:
        spoken = speak_text(text, wav, voice=chosen, on_passage=on_passage)
    return Speech(wav, spoken, f"{chosen.name} ({chosen.language})", [chosen.note] if chosen.note else [])


def transcribed(audio: Path, text: str) -> SpokenText:
    """A text that a recording says, with estimated times; raises InputError for a text without words."""
    text = clean_text(text)
    check_text(text, language=None)
    sound, _ = store_sound(audio, rate=SOUND_RATE)
    with sound:
        return estimated_words(text, sound)


def sound_notes(facts: SoundFacts) -> list[str]:
    """What a person should know of a sound before waiting for what is made of it."""
    notes = []
    if facts.peak < 10 ** (FLOOR_DB / 20):
        notes.append("the sound is silent, so the mouth stays closed.")
    if facts.clipped > MUCH_CLIPPED:
        notes.append(f"{100 * facts.clipped:.1f} % of the samples are clipped; a quieter recording gives better lips.")
    if 0 < facts.rate < LOW_RATE:
        notes.append(f"recorded at {facts.rate / 1000:g} kHz, which tells fewer sounds apart than 16 kHz do.")
    if facts.seconds > 3600 * SENSIBLE_HOURS:
        notes.append(f"{facts.seconds / 3600:.1f} hours of speech, which take their time.")
    return notes
