"""What a person does beside speaking: holds and turns the head, looks around, blinks, breathes, moves the brows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from scipy.ndimage import gaussian_filter1d
from scipy.spatial.transform import Rotation

from avatar.errors import InputError
from avatar.speech._track import BROWS, POSE_WIDTH, RATE
from avatar.speech._wander import wander
from avatar.speech.blinks import BLINK_APART, BLINK_REACH, blink_curve, draw_blinks
from avatar.speech.breath import RISE, breath_curve
from avatar.speech.life_model import EYE_JOINTS, GAZE_WIDTH, HEAD_JOINTS
from avatar.speech.silence import moved_to, pause_moments

if TYPE_CHECKING:
    from jaxtyping import Float

    from avatar.motion import Motion
    from avatar.speech.life_model import LifeModel
    from avatar.speech.prosody import Prosody

Pose = Literal["still", "natural"]

SACCADE_SECONDS = 0.04
# Looking at a listener, fixations of speakers last about 0.3 to 2 s (Lee et al. 2002, "Eyes Alive").
FIXATION_MEDIAN, FIXATION_SPREAD = 0.8, 0.5
SHARE_AHEAD = 0.5
# The voice opens and closes the lids by so much at most.
LID_REACH = 0.1


@dataclass(frozen=True)
class LifeMotion:
    """The rows of a motion that speech does not decide, T moments.

    Attributes:
        time: (T,) seconds.
        global_orient: (T, 3) axis-angle, as are the three joints below.
        neck_pose: (T, 3).
        leye_pose: (T, 3).
        reye_pose: (T, 3).
        eyelids: (T, 2) closure.
        transl: (T, 3) metres.
        torso: (T, 3) metres of the shoulders' own motion.
        upper: (T, E) expression of the upper face, to be added to that of the mouth.
    """

    time: Float[np.ndarray, " T"]
    global_orient: Float[np.ndarray, "T 3"]
    neck_pose: Float[np.ndarray, "T 3"]
    leye_pose: Float[np.ndarray, "T 3"]
    reye_pose: Float[np.ndarray, "T 3"]
    eyelids: Float[np.ndarray, "T 2"]
    transl: Float[np.ndarray, "T 3"]
    torso: Float[np.ndarray, "T 3"]
    upper: Float[np.ndarray, "T E"]

    @property
    def rows(self) -> dict[str, np.ndarray]:
        """The rows that a `Motion` takes as they are, by their names: all but the time and the expression."""
        return {name: getattr(self, name) for name in (*HEAD_JOINTS, *EYE_JOINTS, "eyelids", "transl", "torso")}


def natural_motion(
    model: LifeModel,
    time: Float[np.ndarray, " T"],
    *,
    seed: int = 0,
    pose: Pose | Motion = "natural",
    speech_energy: Float[np.ndarray, " T"] | None = None,
    melody: Prosody | None = None,
    prosody: float = 1.0,
    breathing: float = 1.0,
) -> LifeMotion:
    """Head motion, gaze, brows, breath and blinks for any length of time, within the take's own range.

    The head walks through the take's own track without a visible loop. The eyes turn against the head as the take's
    do, and jump between fixations. Blinks come at the take's rate; they and breaths begin in pauses of the speech where
    one is near. A longer time starts with the same motion.

    Args:
        model: The person.
        time: (T,) increasing seconds from 0.
        seed: Another seed, another motion.
        pose: "natural"; "still" for a head at its mean pose that only blinks, looks and breathes; or a motion of the
            same head model whose root, neck, place and shoulders are taken, back and forth where it is shorter.
        speech_energy: (T,) 0 silent to 1 speaking; the head moves 40 % less in silence. All speaking when left out.
        melody: What the voice does; brows, head and lids follow it where the model knows how.
        prosody: How strongly they do; 0 switches it off.
        breathing: How strongly the shoulders rise and fall with the breath; 0 switches it off. A motion's own shoulders
            do what they do.

    Raises:
        InputError: ``pose`` is none of these.
    """
    if isinstance(pose, str) and pose not in ("still", "natural"):
        raise InputError("The head motion cannot be made", expected='pose "natural" or "still"', found=repr(pose))
    moments = np.asarray(time, np.float64)
    head_rng, gaze_rng, blink_rng = (np.random.default_rng([seed, stream]) for stream in range(3))
    pauses = np.zeros(0) if speech_energy is None else pause_moments(speech_energy, moments)
    last = float(moments[-1]) if len(moments) else 0.0
    # Two rows more than needed let the spline below see beyond the last moment.
    count = int(np.ceil(last * RATE)) + 3
    if pose != "still":
        path = wander(model.track, RATE, count=count, matched=POSE_WIDTH, rng=head_rng)
        if speech_energy is not None:
            energy = np.interp(np.arange(count) / RATE, moments, speech_energy)
            # A second either way: the head comes to rest, it does not stop.
            path = path * gaussian_filter1d(0.6 + 0.4 * energy, 0.5 * RATE, mode="nearest")[:, None]
    else:
        path = np.zeros((count, model.track.shape[1]))
    path, lids = _smooth_at(path, moments), np.zeros(len(moments))
    if model.prosody is not None and melody is not None and prosody:
        moved = prosody * model.prosody(melody, moments)
        if pose == "still":
            moved[:, :POSE_WIDTH] = 0
        # Within what the take shows: beyond it nobody has seen the head.
        path = np.clip(path + moved[:, :-1], np.minimum(model.track.min(0), path), np.maximum(model.track.max(0), path))
        lids = moved[:, -1]
    if not isinstance(pose, str):
        path[:, :BROWS] = _followed(model, pose.back_and_forth(moments))
    breath = np.zeros(len(moments))
    if isinstance(pose, str) and breathing:
        breath = breathing * breath_curve(moments, pauses=pauses, rng=np.random.default_rng([seed, 3]))

    # Of a head that turns further than in the take the eyes take no more notice.
    seen = np.clip(path, np.minimum(model.track.min(0), 0), np.maximum(model.track.max(0), 0))[:, :POSE_WIDTH]
    gaze = seen @ model.gaze_follow + _fixations(model.gaze, moments, rng=gaze_rng)
    turns = [path[:, 0:3], path[:, 3:6], gaze[:, 0:3], gaze[:, 3:6]]
    joints = [
        (Rotation.from_rotvec(mean) * Rotation.from_rotvec(turn)).as_rotvec().astype(np.float32)
        for mean, turn in zip(model.mean, turns, strict=True)
    ]
    rate, width, depth = model.blink
    blinks = draw_blinks(last, rate=float(rate), rng=blink_rng)
    blinks = moved_to(blinks, pauses, reach=BLINK_REACH, apart=BLINK_APART)
    closing = blink_curve(moments, blinks, width=float(width))
    opened = (model.eyelids + np.clip(lids, -LID_REACH, LID_REACH)[:, None]).clip(0, 1)
    eyelids = opened + closing[:, None] * np.minimum(depth, 1 - opened)
    upper = model.brow_mean + path[:, BROWS:] @ model.brow_basis
    return LifeMotion(
        time=moments,
        global_orient=joints[0],
        neck_pose=joints[1],
        leye_pose=joints[2],
        reye_pose=joints[3],
        eyelids=eyelids.astype(np.float32),
        transl=(model.transl + path[:, 6:9]).astype(np.float32),
        torso=(model.torso + path[:, POSE_WIDTH:BROWS] + breath[:, None] * RISE).astype(np.float32),
        upper=upper.astype(np.float32),
    )


def _followed(model: LifeModel, motion: Motion) -> Float[np.ndarray, "T 12"]:
    """The pose of a motion as the track has it: away from the take's mean."""
    turns = [
        (Rotation.from_rotvec(mean).inv() * Rotation.from_rotvec(getattr(motion, name))).as_rotvec()
        for mean, name in zip(model.mean, HEAD_JOINTS, strict=False)
    ]
    return np.column_stack([*turns, motion.transl - model.transl, motion.torso - model.torso])


def _smooth_at(path: Float[np.ndarray, "N D"], time: Float[np.ndarray, " T"]) -> Float[np.ndarray, "T D"]:
    """A 25 Hz path at other moments by local cubics, without kinks at any frame rate (Catmull and Rom 1974)."""
    place = time * RATE
    below = np.clip(np.floor(place).astype(int), 0, len(path) - 2)
    x = (place - below)[:, None]
    before, after = path[np.maximum(below - 1, 0)], path[np.minimum(below + 2, len(path) - 1)]
    start, stop = path[below], path[below + 1]
    slope_start, slope_stop = (stop - before) / 2, (after - start) / 2
    return (
        (2 * x**3 - 3 * x**2 + 1) * start
        + (x**3 - 2 * x**2 + x) * slope_start
        + (3 * x**2 - 2 * x**3) * stop
        + (x**3 - x**2) * slope_stop
    )


def _fixations(
    samples: Float[np.ndarray, "G 6"], time: Float[np.ndarray, " T"], *, rng: np.random.Generator
) -> Float[np.ndarray, "T 6"]:
    """Turns of both eyes: held, then moved within 40 ms; every other one returns to the mean."""
    last = float(time[-1]) if len(time) else 0.0
    moments, turns = [0.0], [np.zeros(GAZE_WIDTH)]
    while moments[-1] < last:
        wait = FIXATION_MEDIAN * np.exp(FIXATION_SPREAD * rng.standard_normal())
        ahead, pick = rng.random() < SHARE_AHEAD, samples[rng.integers(len(samples))]
        moments += [moments[-1] + wait, moments[-1] + wait + SACCADE_SECONDS]
        turns += [turns[-1], np.zeros(GAZE_WIDTH) if ahead else pick]
    return np.stack([np.interp(time, moments, column) for column in np.array(turns).T], axis=1)
