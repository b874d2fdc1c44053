"""What makes the avatar speak and live, learned from the take: picture/sound offset, speech model, blinks and pose."""

from __future__ import annotations

import itertools
import logging
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from avatar.errors import InputError
from avatar.face_mesh import EYES_AND_BROWS, LIPS
from avatar.speech.augment import augmented_features
from avatar.speech.evaluation import evaluate_speech
from avatar.speech.fitting import fit_speech_model
from avatar.speech.general import general_speech_of
from avatar.speech.life_model import LifeModel
from avatar.speech.mouth import landmark_opening
from avatar.speech.offset import estimate_offset
from avatar.speech.prosody import default_prosody, fit_prosody, melody_of
from avatar.speech.take import clear_frames, take_features

if TYPE_CHECKING:
    from collections.abc import Callable

    from avatar.heads import Head
    from avatar.io.take import Take
    from avatar.speech.general import GeneralSpeech
    from avatar.speech.model import SpeechModel

GENERAL = "the general speech model speaks for the avatar"
log = logging.getLogger(__name__)


def fit_speaking(
    take: Take, head: Head, *, progress: Callable[[int, int], None] | None = None
) -> tuple[SpeechModel | GeneralSpeech, LifeModel, dict[str, Any]]:
    """Learns how the person speaks, blinks and moves the head, on the CPU.

    Args:
        take: A tracked take.
        head: The head model it was tracked with.
        progress: Called with the share done in percent, and 100.

    Returns:
        The speech model, the general one where the take has no usable sound; the life model; figures for the report,
        whose ``driven`` says whether the avatar has a speech model of its own, and ``note`` why not.
    """
    motion, head = take.motion(), head.on("cpu")
    used, living = clear_frames(take, LIPS, [*itertools.chain(*EYES_AND_BROWS)])
    life = LifeModel.from_motion(motion, head=head, used=living)
    life = replace(life, prosody=default_prosody(life, head)).rounded()
    features, samples = take_features(take), take.speech()
    if features is None or samples is None:
        speech = general_speech_of(motion, head=head, life=life, used=used)
        return speech, life, {"driven": False, "note": f"the clip has no sound: {GENERAL}"}
    opening = landmark_opening(take.perception()["landmarks"])
    seen = used & np.isfinite(opening)
    offset = estimate_offset(features, motion.time, opening=np.nan_to_num(opening), used=seen)
    figures: dict[str, Any] = {
        "feature_model": features.model,
        "offset_seconds": offset.seconds,
        "offset_confidence": offset.confidence,
    }
    if offset.note:
        figures["offset_note"] = offset.note
    prosody = fit_prosody(life, motion, melody_of(samples), head=head, offset=offset.seconds, used=living)
    life = replace(life, prosody=prosody).rounded()
    figures["prosody_learned"] = float(prosody.share.max())
    copies = augmented_features(samples, kind=features.model)
    try:
        speech = fit_speech_model(
            features,
            motion,
            offset=offset.seconds,
            head=head,
            used=used,
            copies=copies,
            progress=(lambda share: progress(round(100 * share), 100)) if progress else None,
        )
        scores = evaluate_speech(features, motion, offset=offset.seconds, head=head, used=used, copies=copies)
    except InputError as error:
        log.warning("The avatar gets no speech model of its own: %s", error)
        speech = general_speech_of(motion, head=head, life=life, used=used)
        return speech, life, {"driven": False, "note": f"{error}\n{GENERAL}", **figures}
    return speech, life, {"driven": True, **figures, **asdict(scores)}
