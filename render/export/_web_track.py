"""Tracks of the web player: a motion as ARKit coefficients and a pose, a row for each frame."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from avatar.heads.arkit import ARKIT_NAMES
from avatar.heads.lbs import joint_transforms, rotation_matrices
from avatar.motion import PER_FRAME, Motion
from avatar.speech.life import LifeModel, natural_motion
from avatar.speech.model import SpeechModel

if TYPE_CHECKING:
    from jaxtyping import Float

    from avatar.heads import Head
    from avatar.io.avatar import StoredAvatar
    from avatar.speech.life import LifeMotion

# After the coefficients: what they do not say, as joints' axis-angles (radians) and shifts (metres). Jaw and eyes are
# turned by this on top of what the coefficients ask for.
POSE_COLUMNS = ("root", "neck", "jaw", "left_eye", "right_eye", "translation", "torso")
COLUMNS = len(ARKIT_NAMES) + 3 * len(POSE_COLUMNS)
IDLE_SECONDS, SEAM_SECONDS = 24.0, 1.5


def is_spanned(head: Head) -> bool:
    """Whether ARKit's actions say all that the head's expression basis can."""
    return head.arkit_to_psi.numel() > 0 and head.arkit_to_psi.shape[0] == head.arkit_to_psi.shape[1]


def track_rows(motion: Motion, head: Head) -> Float[np.ndarray, "T C"]:
    """A motion as rows of 52 coefficients and 21 numbers of pose, with the expression after them where they lose it.

    Unlike `motion_parts_to_arkit` this loses nothing: coefficients may be negative or above one.
    """
    rows = np.zeros((len(motion), COLUMNS), np.float64)
    place = {name: index for index, name in enumerate(ARKIT_NAMES)}
    if is_spanned(head):
        weights = motion.expression @ head.psi_to_arkit.detach().cpu().numpy().T
        rows[:, [place[name] for name in head.arkit_names]] = weights
    rows[:, [place["eyeBlinkLeft"], place["eyeBlinkRight"]]] = motion.eyelids
    pose = np.stack([*motion.pose.swapaxes(0, 1), motion.transl, motion.torso], axis=1).astype(np.float64)
    rows[:, place["jawOpen"]] = pose[:, 2, 0] / head.jaw_open_angle
    pose[:, 2, 0] = 0
    up, down, inner, outer = head.eye_look_angles
    for joint, side, inwards in ((3, "Left", -1), (4, "Right", 1)):
        pitch, yaw = pose[:, joint, 0].copy(), inwards * pose[:, joint, 1]
        for turn, angle, way in ((-pitch, up, "Up"), (pitch, down, "Down"), (yaw, inner, "In"), (-yaw, outer, "Out")):
            rows[:, place[f"eyeLook{way}{side}"]] = np.maximum(turn, 0) / angle
        pose[:, joint, :2] = 0
    rows[:, len(ARKIT_NAMES) :] = pose.reshape(len(motion), -1)
    return rows if is_spanned(head) else np.concatenate([rows, motion.expression], axis=1)


def neutral_pose(stored: StoredAvatar) -> Motion:
    """One moment of the subject at ease: head and gaze at their means, the mouth closed."""
    life = natural_motion(LifeModel.from_tensors(stored.life), np.zeros(1), pose="still")
    mouth, jaw = np.zeros_like(life.upper), np.zeros((1, 3), np.float32)
    if stored.info.speech is not None:
        speech = SpeechModel.from_tensors(stored.speech, stored.info.speech)
        rest = speech.rest(np.zeros(1))
        mouth, jaw = rest.expression - speech.upper.astype(np.float32), rest.jaw_pose
    return _living(stored, life, expression=mouth + life.upper, jaw=jaw)


def idle_motion(stored: StoredAvatar, *, fps: float, seed: int = 0) -> Motion:
    """The subject who listens: blinks, gaze and head motion over a closed mouth, ending as it begins."""
    model, neutral = LifeModel.from_tensors(stored.life), neutral_pose(stored)
    time = np.arange(round((IDLE_SECONDS + SEAM_SECONDS) * fps)) / fps
    life = natural_motion(model, time, seed=seed, speech_energy=np.zeros(len(time)))
    mouth = neutral.expression - natural_motion(model, np.zeros(1), pose="still").upper
    motion = _living(stored, life, expression=mouth + life.upper, jaw=np.repeat(neutral.jaw_pose, len(time), axis=0))
    return _looped(motion, round(SEAM_SECONDS * fps))


def _living(stored: StoredAvatar, life: LifeMotion, *, expression: np.ndarray, jaw: np.ndarray) -> Motion:
    head = stored.gaussians.head
    return Motion(
        time=life.time,
        betas=stored.gaussians.betas.numpy(),
        expression=expression.astype(np.float32),
        global_orient=life.global_orient,
        neck_pose=life.neck_pose,
        jaw_pose=jaw,
        leye_pose=life.leye_pose,
        reye_pose=life.reye_pose,
        eyelids=life.eyelids,
        transl=life.transl,
        torso=life.torso,
        head_id=head.id,
        head_hash=head.hash,
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


def between_the_eyes(stored: StoredAvatar, moment: Motion) -> Float[np.ndarray, " 3"]:
    """The point between the eyes' centres at the first moment, metres."""
    gaussians = stored.gaussians
    pose = gaussians.poses(moment[:1])[0]
    joints = gaussians.head.joints(gaussians.betas[None])
    turns, shifts = joint_transforms(rotation_matrices(pose.joints), joints)
    eyes = (turns[0, 3:] @ joints[0, 3:, :, None])[..., 0] + shifts[0, 3:] + pose.transl
    return eyes.mean(0).numpy()
