"""What of a recording's sound is worth a warning."""

from __future__ import annotations

from typing import TYPE_CHECKING

from avatar.preprocess._capture_sound import NOTHING_DB
from avatar.preprocess.capture_figures import WARNING, Finding
from avatar.preprocess.capture_limits import high, low

if TYPE_CHECKING:
    from collections.abc import Iterator

    from avatar.preprocess.capture_figures import CaptureReport, SoundFigures
    from avatar.preprocess.capture_limits import CaptureLimits


def speech(report: CaptureReport, limits: CaptureLimits) -> Iterator[Finding]:
    """Whether speech is heard, well enough, and with the picture."""
    sound = report.sound
    if sound is None or sound.speech_db is None or sound.speech_seconds < 1:
        yield Finding(
            "silent",
            WARNING,
            "There is no speech" if sound is None or sound.speech_db is None else "There is hardly any speech",
            _heard(sound),
            "the voice of the person in the picture",
            "Record with sound. An avatar that was never heard talks in a general way, not in this person's.",
        )
        return
    yield from _voice(sound, report, limits)
    sync = report.sync
    if sync is not None and sync.note and sound.speech_seconds >= 10:
        yield Finding(
            "sync",
            WARNING,
            "Picture and sound could not be aligned",
            sync.note,
            "lips that move with the sound",
            "Record picture and sound with the same device, and let nobody else speak. Is the sound of this person?",
        )


def _heard(sound: SoundFigures | None) -> str:
    """What there is of sound where it is no speech to speak of."""
    if sound is None:
        return "no sound in the file"
    if sound.speech_db is not None:
        return f"{sound.speech_seconds:.1f} s of it"
    return "a sound track that is silent" if sound.noise_db <= NOTHING_DB else "nothing as loud as a voice"


def _voice(sound: SoundFigures, report: CaptureReport, limits: CaptureLimits) -> Iterator[Finding]:
    if sound.speech_db is not None and low(sound.speech_db, limits.speech_db_warn):
        yield Finding(
            "quiet",
            WARNING,
            "The voice is quiet",
            f"{sound.speech_db:.0f} dB of full scale",
            f"-30 to -12 dB, and at least {limits.speech_db_warn:.0f}",
            "Come closer to the microphone, or raise its level.",
        )
    if sound.snr_db is not None and low(sound.snr_db, limits.snr_warn):
        yield Finding(
            "noisy",
            WARNING,
            "There is noise behind the voice",
            f"the voice is {sound.snr_db:.0f} dB above it",
            f"30 dB, and at least {limits.snr_warn:.0f}",
            "Record in a quiet room without music, fans or traffic, close to the microphone.",
        )
    if high(sound.clipped, limits.clipped_warn):
        yield Finding(
            "clipped",
            WARNING,
            "The voice is too loud for the microphone",
            f"{sound.clipped:.2%} of the samples are at full scale",
            f"less than {limits.clipped_warn:.1%}",
            "Lower the microphone's level, or move away from it a little.",
        )
    share = sound.speech_seconds / max(report.clip.seconds, 1e-6)
    if low(share, limits.speech_share_warn):
        yield Finding(
            "little_speech",
            WARNING,
            "There is little speech",
            f"{sound.speech_seconds:.0f} s, {share:.0%} of the recording",
            f"at least {limits.speech_share_warn:.0%}",
            "Keep talking; pauses of a breath are enough.",
        )
