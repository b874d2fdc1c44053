"""What a person does beside speaking: holds and turns the head, looks around, blinks, breathes, moves the brows."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Literal

import numpy as np
from scipy.ndimage import gaussian_filter1d
from scipy.spatial.transform import Rotation

from avatar.errors import FormatError, InputError
from avatar.speech._track import BROWS, POSE_WIDTH, POSTURE, RATE, TORSO_WIDTH, track_times
from avatar.speech._wander import wander
from avatar.speech.blinks import BLINK_APART, BLINK_REACH, blink_curve, blink_statistics, draw_blinks, find_blinks
from avatar.speech.breath import RISE, breath_curve
from avatar.speech.mouth import mouth_map
from avatar.speech.prosody import ProsodyModel
from avatar.speech.silence import moved_to, pause_moments

if TYPE_CHECKING:
    from jaxtyping import Bool, Float
    from torch import Tensor

    from avatar.heads import Head
    from avatar.motion import Motion
    from avatar.speech.prosody import Prosody

Pose = Literal["still", "natural"]

# Slower than 2.5 Hz is head motion; faster is the tracker's noise.
SMOOTHING_SECONDS = 0.06
HEAD_JOINTS = ("global_orient", "neck_pose")
EYE_JOINTS = ("leye_pose", "reye_pose")
GAZE_WIDTH, BROW_COMPONENTS = 6, 6
GAZE_SAMPLES = 256
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


@dataclass(frozen=True)
class LifeModel:
    """How one person holds the head, looks and blinks, from the take.

    Attributes:
        mean: (4, 3) mean root, neck, left and right eye, axis-angle.
        transl: (3,) mean translation, metres.
        torso: (3,) mean of the shoulders' own motion, metres.
        track: (N, 12 + P) at 25 Hz: root and neck as rotation vectors from their means, translation and shoulders
            from theirs, and P components of the brows. N is at most 1500.
        brow_mean: (E,) mean expression of the upper face.
        brow_basis: (P, E) its components.
        gaze_follow: (9, 6) how both eyes turn against the head, per unit of the track's pose.
        gaze: (G, 6) turns of both eyes that the head does not explain.
        eyelids: (2,) closure of the open lids.
        blink: (3,) rate a minute, width at half height in seconds, depth of closure.
        prosody: How brows, head and lids follow the voice; None for models made before there was one.
    """

    mean: Float[np.ndarray, "4 3"]
    transl: Float[np.ndarray, " 3"]
    torso: Float[np.ndarray, " 3"]
    track: Float[np.ndarray, "N D"]
    brow_mean: Float[np.ndarray, " E"]
    brow_basis: Float[np.ndarray, "P E"]
    gaze_follow: Float[np.ndarray, "9 6"]
    gaze: Float[np.ndarray, "G 6"]
    eyelids: Float[np.ndarray, " 2"]
    blink: Float[np.ndarray, " 3"]
    prosody: ProsodyModel | None = None

    @classmethod
    def from_motion(cls, motion: Motion, *, head: Head, used: Bool[np.ndarray, " T"] | None = None) -> LifeModel:
        """Learns from a take.

        Args:
            motion: The take's tracked motion.
            head: Its head model; it tells brows from mouth.
            used: (T,) which moments were tracked well; all when left out.

        Raises:
            InputError: No moment was tracked well.
        """
        kept = motion if used is None else motion[np.asarray(used, bool)]
        if not len(kept):
            raise InputError("The take's motion cannot be used", expected="at least one tracked frame", found="none")
        blink = np.array(blink_statistics(kept.time, kept.eyelids))
        eyelids = np.median(kept.eyelids, axis=0).astype(np.float64)
        time = track_times(kept.time)
        even = kept.resample(time)
        rotations = [Rotation.from_rotvec(getattr(even, name)) for name in (*HEAD_JOINTS, *EYE_JOINTS)]
        means = [rotation.mean() for rotation in rotations]
        turns = [(mean.inv() * r).as_rotvec() for mean, r in zip(means, rotations, strict=True)]
        transl, torso = (rows.astype(np.float64).mean(axis=0) for rows in (even.transl, even.torso))

        speech_part = mouth_map(head, betas=motion.betas).speech_part
        upper = even.expression @ (np.eye(len(speech_part)) - speech_part).T
        upper = _without_blinks(upper, time, kept)
        brow_mean = upper.mean(axis=0)
        _, strength, directions = np.linalg.svd(upper - brow_mean, full_matrices=False)
        brow_basis = directions[: min(BROW_COMPONENTS, int((strength > 1e-6).sum()))]
        brows = (upper - brow_mean) @ brow_basis.T
        track = np.column_stack([*turns[:2], even.transl - transl, even.torso - torso, brows])
        track = gaussian_filter1d(track, SMOOTHING_SECONDS * RATE, axis=0, mode="nearest")

        gaze = np.column_stack(turns[2:])
        pose = track[:, :POSE_WIDTH]
        # A ridge in units of the pose's own spread: a head that hardly moves explains nothing.
        unit = np.maximum(pose.std(axis=0), 1e-3)
        gram = (pose / unit).T @ (pose / unit) / len(pose) + 0.1 * np.eye(POSE_WIDTH)
        follow = np.linalg.solve(gram, (pose / unit).T @ gaze / len(pose)) / unit[:, None]
        residual = gaze - pose @ follow
        residual = np.clip(residual, *np.percentile(residual, [5, 95], axis=0))
        return cls(
            mean=np.stack([mean.as_rotvec() for mean in means]),
            transl=transl,
            torso=torso,
            track=track,
            brow_mean=brow_mean,
            brow_basis=brow_basis,
            gaze_follow=follow,
            gaze=residual[np.linspace(0, len(residual) - 1, min(GAZE_SAMPLES, len(residual))).astype(int)],
            eyelids=eyelids,
            blink=blink,
        ).rounded()

    @property
    def highest(self) -> float:
        """Height of the place and the shoulders together at their highest in the take, metres."""
        risen = self.track[:, POSTURE.start + 1] + self.track[:, POSE_WIDTH + 1]
        return float(self.transl[1] + self.torso[1] + risen.max())

    def rounded(self) -> LifeModel:
        """This model as it is stored, so that a loaded one gives the same motion to the last bit."""
        return LifeModel.from_tensors(self.to_tensors())

    def to_tensors(self) -> dict[str, Tensor]:
        """The model as tensors: the track in half precision, which resolves a hundredth of a degree."""
        import torch

        tensors = {name: torch.tensor(np.asarray(getattr(self, name)), dtype=torch.float32) for name in _arrays()}
        tensors |= self.prosody.to_tensors() if self.prosody else {}
        return tensors | {"track": tensors["track"].half(), "gaze": tensors["gaze"].half()}

    @classmethod
    def from_tensors(cls, tensors: dict[str, Tensor]) -> LifeModel:
        """The model of `to_tensors`; raises FormatError when something is missing or does not fit."""
        names = _arrays()
        missing = sorted(set(names) - set(tensors))
        if not missing:
            model = cls(**{name: tensors[name].double().numpy() for name in names})  # pyright: ignore[reportArgumentType]
            width = (BROWS + len(model.brow_basis),)
            shapes = {
                "track": model.track.shape[1:] == width and len(model.track) > 0,
                "gaze": model.gaze.shape[1:] == (GAZE_WIDTH,) and len(model.gaze) > 0,
                "gaze_follow": model.gaze_follow.shape == (POSE_WIDTH, GAZE_WIDTH),
                "mean": model.mean.shape == (4, 3),
                "torso": model.torso.shape == (TORSO_WIDTH,),
                "blink": model.blink.shape == (3,),
            }
            missing = [name for name, fits in shapes.items() if not fits]
            if not missing:
                return replace(model, prosody=ProsodyModel.from_tensors(tensors, width=width[0]))
        raise FormatError(
            "The model of head motion cannot be read",
            expected=", ".join(names),
            found=f"{', '.join(missing)} missing or of another shape",
        )


def _arrays() -> list[str]:
    """Names of the model's own tensors."""
    return [each.name for each in fields(LifeModel) if each.name != "prosody"]


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


def _without_blinks(
    upper: Float[np.ndarray, "N E"], time: Float[np.ndarray, " N"], motion: Motion
) -> Float[np.ndarray, "N E"]:
    """The upper face bridged over the take's blinks, so that brows do not replay squints where no blink is."""
    moments, _ = find_blinks(motion.time, motion.eyelids.mean(axis=1))
    if not len(moments):
        return upper
    clear = np.abs(time[:, None] - moments).min(axis=1) > 0.2
    if clear.sum() < 2:
        return upper
    return np.stack([np.interp(time, time[clear], column[clear]) for column in upper.T], axis=1)


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
