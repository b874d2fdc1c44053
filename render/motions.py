"""What an avatar does: at rest, at ease, listening, speaking, or as a motion file has it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from avatar.errors import InputError
from avatar.fields.listening import with_sound
from avatar.motion import PER_FRAME, Motion
from avatar.speech.drive import motion_from_audio
from avatar.speech.feature_kinds import at_hand
from avatar.speech.general import speaker_of
from avatar.speech.life import natural_motion
from avatar.speech.life_model import LifeModel
from avatar.speech.silence import loudness, speech_activity
from avatar.speech.stand_in import able_speaker

if TYPE_CHECKING:
    from jaxtyping import Float

    from avatar.fields.gaussian_head import GaussianHead
    from avatar.gaussians import Gaussians
    from avatar.io.avatar import StoredAvatar
    from avatar.io.sound import StoredSound
    from avatar.speech.life import LifeMotion, Pose
    from avatar.speech.speaker import Speaker

SPEECH_RATE = 16_000
# Times are typed with few digits; half a millisecond past the last frame is still the last frame.
SLACK = 5e-4
OWN_MOTION = Path("take", "motion.npz")
IDLE_SECONDS, SEAM_SECONDS = 24.0, 1.5


def neutral_motion(gaussians: GaussianHead) -> Motion:
    """One moment of the subject at rest at the origin: all coefficients and rotations zero."""
    head = gaussians.head
    still = np.zeros((1, 3), np.float32)
    return Motion(
        time=np.zeros(1),
        betas=gaussians.betas.cpu().numpy(),
        expression=np.zeros((1, head.exprdirs.shape[-1]), np.float32),
        global_orient=still,
        neck_pose=still,
        jaw_pose=still,
        leye_pose=still,
        reye_pose=still,
        eyelids=np.zeros((1, 2), np.float32),
        transl=still,
        head_id=head.id,
        head_hash=head.hash,
    )


def ease_motion(stored: StoredAvatar) -> Motion:
    """One moment of the subject at ease: head and gaze at their means, the mouth closed."""
    life = natural_motion(LifeModel.from_tensors(stored.life), np.zeros(1), pose="still")
    speaker = speaker_of(stored)
    rest = speaker.rest(np.zeros(1))
    mouth = rest.expression - speaker.upper.astype(np.float32)
    return _living(stored, life, expression=mouth + life.upper, jaw=rest.jaw_pose)


def idle_motion(stored: StoredAvatar, *, fps: float, seed: int = 0) -> Motion:
    """The subject who listens: blinks, gaze and head motion over a closed mouth, ending as it begins."""
    model, ease = LifeModel.from_tensors(stored.life), ease_motion(stored)
    time = np.arange(round((IDLE_SECONDS + SEAM_SECONDS) * fps)) / fps
    life = natural_motion(model, time, seed=seed, speech_energy=np.zeros(len(time)))
    mouth = ease.expression - natural_motion(model, np.zeros(1), pose="still").upper
    motion = _living(stored, life, expression=mouth + life.upper, jaw=np.repeat(ease.jaw_pose, len(time), axis=0))
    return _looped(motion, round(SEAM_SECONDS * fps))


def spoken_motion(
    stored: StoredAvatar,
    samples: Float[np.ndarray, " N"] | StoredSound,
    *,
    fps: float,
    seed: int = 0,
    pose: Pose | Motion = "natural",
    closures: Float[np.ndarray, " P"] | None = None,
    prosody: float = 1.0,
    breathing: float = 1.0,
    speaker: Speaker | None = None,
) -> Motion:
    """The subject who says a recording: mono samples at `SPEECH_RATE`, and when the lips are known to be closed.

    ``pose`` is the head's movement (`natural_motion`). ``prosody`` says how strongly brows, head and lids follow the
    voice, ``breathing`` how strongly the shoulders rise and fall, ``speaker`` who speaks for the avatar: its own model,
    or whoever stands in for it, when left out.

    Raises:
        InputError: The recording is shorter than 20 ms.
    """
    speaker, life = speaker or able_speaker(stored).speaker, LifeModel.from_tensors(stored.life)
    motion = motion_from_audio(
        speaker,
        life,
        samples=samples,
        fps=fps,
        seed=seed,
        pose=pose,
        closures=closures,
        prosody=prosody,
        breathing=breathing,
    )
    heard = stored.gaussians.sound
    if heard is None or at_hand(heard.feature_model) != heard.feature_model:
        # Looks that follow the sound stand still where it cannot be heard; the lips have said so.
        return motion
    return with_sound(motion, stored.gaussians, samples, activity=speech_activity(loudness(samples)))


def file_motion(path: Path) -> Motion:
    """A motion file that has a moment; raises InputError or FormatError for anything else."""
    try:
        motion = Motion.load(path)
    except FileNotFoundError as error:
        raise InputError(
            f"There is no motion file {path}", expected="an npz of a motion", found="nothing", fix="check the path"
        ) from error
    if not len(motion):
        raise InputError(
            f"{path} is empty", expected="at least one moment", found="none", fix="choose another --motion"
        )
    return motion


def own_motion(avatar: Path) -> Motion:
    """The motion of the recording that an avatar was made from; raises InputError where it does not lie beside it."""
    path = avatar / OWN_MOTION
    if not path.is_file():
        raise InputError(
            "A time was given without a motion",
            expected=f"--motion FILE, or an avatar folder that still has its {OWN_MOTION.as_posix()}",
            found=f"only {avatar}",
            fix="add --motion, or leave --time out for the neutral pose",
        )
    return file_motion(path)


def single_moment(motion: Motion, time: float) -> Motion:
    """One moment of a motion; raises InputError for a time outside it.

    Args:
        motion: At least one moment.
        time: Seconds in the motion's own time.
    """
    first, last = float(motion.time[0]), float(motion.time[-1])
    if not first - SLACK <= time <= last + SLACK:
        raise InputError(
            "The motion does not reach that --time",
            expected=f"{first:.3f} to {last:.3f} s",
            found=f"{time} s",
            fix="choose a time within the motion",
        )
    return motion.resample(np.array([time]))


def posed(stored: StoredAvatar, moment: Motion) -> Gaussians:
    """The avatar's Gaussians in world space at the only moment of a motion."""
    gaussians = stored.gaussians
    with torch.no_grad():
        return gaussians(gaussians.poses(moment)[0])


def _living(stored: StoredAvatar, life: LifeMotion, *, expression: np.ndarray, jaw: np.ndarray) -> Motion:
    head = stored.gaussians.head
    return Motion(
        time=life.time,
        betas=stored.gaussians.betas.cpu().numpy(),
        expression=expression.astype(np.float32),
        jaw_pose=jaw,
        **life.rows,
        head_id=head.id,
        head_hash=head.hash,
        sound_id="",
    )


def _looped(motion: Motion, seam: int) -> Motion:
    """A motion that ends where it begins: what follows its end is blended into its start."""
    count = len(motion) - seam
    share = (0.5 - 0.5 * np.cos(np.pi * (np.arange(seam) + 0.5) / seam))[:, None]
    kept, changed = motion[:count], {}
    for name in PER_FRAME:
        value = getattr(kept, name).copy()
        value[:seam] = share * value[:seam] + (1 - share) * getattr(motion, name)[count:]
        changed[name] = value
    return replace(kept, **changed)
