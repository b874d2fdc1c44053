"""Who speaks for an avatar here: its own model, or the general one where there is none or it cannot hear."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from avatar.speech.feature_kinds import at_hand
from avatar.speech.features import LOG_MEL
from avatar.speech.general import GENERAL_NOTE, GeneralSpeech, general_speech, ranged, speaker_of, speaks_generally
from avatar.speech.life_model import LifeModel
from avatar.speech.model import SpeechModel

if TYPE_CHECKING:
    from avatar.heads import Head
    from avatar.io.avatar import StoredAvatar
    from avatar.speech.speaker import Speaker

MISSING_NOTE = (
    "The speech network (Whisper, whisper_tiny_en) is not here and cannot be fetched, so {}. "
    "Go online and try again, or fetch it with: avatar models fetch whisper_tiny_en"
)
OWN_NOTE = MISSING_NOTE.format(
    "the avatar's own speech model cannot listen: the general one speaks from log-mel features, in this person's "
    "range, and its lips follow less exactly"
)
DEAF_NOTE = MISSING_NOTE.format("the general model speaks from log-mel features, and its lips follow less exactly")


class AbleSpeaker(NamedTuple):
    """A speaker whose features can be had here, and what a person should know of it."""

    speaker: Speaker
    notes: tuple[str, ...] = ()


def able_speaker(stored: StoredAvatar) -> AbleSpeaker:
    """Who speaks for an avatar here.

    An avatar that learned from Whisper is spoken for by the general model where Whisper cannot be had; features that a
    user chose, such as those of a library, are asked for when it speaks, and end in an error there.
    """
    speaker = speaker_of(stored)
    kind = at_hand(speaker.feature_model)
    missing = kind != speaker.feature_model
    if isinstance(speaker, SpeechModel):
        if not missing:
            return AbleSpeaker(speaker)
        life = LifeModel.from_tensors(stored.life)
        return AbleSpeaker(general_stand_in(speaker, stored.head, life=life, feature_model=kind), (OWN_NOTE,))
    assert isinstance(speaker, GeneralSpeech) and speaks_generally(stored)
    notes = (GENERAL_NOTE, DEAF_NOTE) if missing else (GENERAL_NOTE,)
    return AbleSpeaker(replace(speaker, feature_model=kind), notes)


def general_stand_in(own: SpeechModel, head: Head, *, life: LifeModel, feature_model: str = LOG_MEL) -> GeneralSpeech:
    """The general model with the closed mouth and the widest opening of a person's own model.

    Args:
        own: The person's model.
        head: The head model, with or without the identity in it.
        life: What was learned of the person beside speech.
        feature_model: What the prior shall read.
    """
    model = general_speech(head, betas=own.betas, life=life, feature_model=feature_model)
    widest, rest = own.space.metres(np.array([own.space.target_range[1, 0], own.space.rest[0]]))
    shown = ranged(model, float(widest - rest))
    return replace(shown, mouth=own.decode(own.resting[None])[0], pose=own.pose, eyelids=own.eyelids, upper=own.upper)
