"""Sound in, motion of the whole head out."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from avatar.speech.life import natural_motion
from avatar.speech.prosody import melody_of
from avatar.speech.silence import loudness, mouth_activity, speech_activity

if TYPE_CHECKING:
    from jaxtyping import Float

    from avatar.io.sound import StoredSound
    from avatar.motion import Motion
    from avatar.speech.life import Pose
    from avatar.speech.life_model import LifeModel
    from avatar.speech.speaker import Speaker


def motion_from_audio(
    speech_model: Speaker,
    life_model: LifeModel,
    *,
    samples: Float[np.ndarray, " N"] | StoredSound,
    fps: float,
    seed: int = 0,
    pose: Pose | Motion = "natural",
    closures: Float[np.ndarray, " P"] | None = None,
    prosody: float = 1.0,
    breathing: float = 1.0,
) -> Motion:
    """The motion of a head that says a recording: mouth from speech, head, gaze, brows and blinks from the person.

    Args:
        speech_model: The avatar's speech model, or the general one (`avatar.speech.general.speaker_of`).
        life_model: Its model of head motion and blinks.
        samples: (N,) mono sound at 16 kHz, in memory or on disk.
        fps: Frames a second.
        seed: Another seed, another head motion and other blinks; the mouth stays.
        pose: "natural", "still" for a head that keeps its mean pose, or a motion whose pose is taken.
        closures: (P,) how far the lips are known to be closed every 10 ms, where a voice tells its phones.
        prosody: How strongly brows, head and lids follow the voice; 0 switches it off.
        breathing: How strongly the shoulders rise and fall; 0 switches it off.

    Returns:
        ``round(seconds * fps)`` frames, at least one: picture and sound end within half a frame of each other.

    Raises:
        InputError: The sound is shorter than 20 ms.
    """
    level, speech_model = loudness(samples), speech_model.ready()
    speech = speech_model.predict(samples, fps=fps, activity=mouth_activity(level), closures=closures)
    activity = speech_activity(level)
    energy = np.interp(speech.time, np.arange(len(activity)) / 100, activity)
    heard = melody_of(samples) if prosody and life_model.prosody is not None else None
    life = natural_motion(
        life_model,
        speech.time,
        seed=seed,
        pose=pose,
        speech_energy=energy,
        melody=heard,
        prosody=prosody,
        breathing=breathing,
    )
    upper = speech_model.upper.astype(np.float32)
    return replace(
        speech,
        expression=speech.expression - upper + life.upper,
        **life.rows,
    )
