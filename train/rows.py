"""The rows of an evaluation: what each shows in place of the held-out frames, and every figure of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from avatar.errors import PartError
from avatar.fields.survey import take_camera
from avatar.render.compose import compose
from avatar.render.playback import render_pose
from avatar.spread import evenly_spread
from avatar.train.baseline import NearestFrames, warped
from avatar.train.evaluation import head_region, no_head_shown, require_held_out
from avatar.train.identity import load_identity
from avatar.train.listening import heard_motion
from avatar.train.motion_judges import FaceJudge, FlickerJudge
from avatar.train.perceptual import load_lpips, load_st_lpips
from avatar.train.picture_judges import EdgeJudge, IdentityJudge, PerceptualJudge, PixelJudge, SharpnessJudge
from avatar.train.picture_regions import edge_band, error_parts, picture_regions
from avatar.train.tally import NEAREST, SPEECH, TRUTH, VIDEO, Moment, Tally

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from jaxtyping import Float, Int, UInt8

    from avatar.fields.gaussian_head import GaussianHead
    from avatar.io.take import Take
    from avatar.motion import Motion
    from avatar.train.motion_judges import Observer
    from avatar.train.tally import Judge

# Frames that metrics of 0.1 s and more look at, evenly chosen.
SAMPLED = 12
PERSON_FRAMES, EXAMPLES = 12, 4
# Of a long take so many stretches of so many frames are compared.
STRETCHES, LENGTH = 8, 30
EDGE = 3.0
SHOWN = {
    TRUTH: "the untouched recording",
    NEAREST: "the training frame whose landmarks fit best, warped by a similarity; wholly a recording",
    VIDEO: "the avatar over the clip's own background plate, moved by the tracked motion; nothing is pasted",
    SPEECH: "the avatar over the plate: mouth, lids, gaze and brows from a speech model fitted without these frames, "
    "head pose and shoulders as tracked; nothing is pasted",
}


@dataclass(frozen=True)
class RowFigures:
    """What `evaluate_rows` finds.

    Attributes:
        rows: Figures by row, region and metric; None where a figure has no value.
        errors: By row and part of the head its share of squared error and area, and its PSNR.
        frames: How many frames are held out, how many were compared (`count`), how many of them by every metric
            (`sampled`), and how many show no head (`skipped`).
        shown: What each row is, in words.
        notes: Why a metric is missing, by its name.
        examples: A few of the moments, to be looked at.
    """

    rows: dict[str, dict[str, dict[str, float | None]]]
    errors: dict[str, dict[str, dict[str, float]]]
    frames: dict[str, int]
    shown: dict[str, str]
    notes: dict[str, str] = field(default_factory=dict)
    examples: list[Moment] = field(default_factory=list)


def evaluate_rows(
    take: Take,
    gaussians: GaussianHead,
    *,
    speech_motion: Motion | None = None,
    observer: Callable[[], Observer] | None = None,
    sampled: int = SAMPLED,
    progress: Callable[[int, int], None] | None = None,
) -> RowFigures:
    """Judges truth, nearest frame and avatar on the held-out frames.

    Args:
        take: The take, tracked.
        gaussians: The avatar's Gaussians.
        speech_motion: The motion that speech gives, one row per held-out frame; no such row when None.
        observer: Makes a landmark detector; without one, figures of landmarks are left out.
        sampled: How many frames the slow metrics look at.
        progress: Called with the frames done and the frames in all.

    Raises:
        InputError: The take has no held-out frames, or none of them shows a head.
    """
    require_held_out(take)
    indices = take.split()["test"]
    motions = {VIDEO: take.motion()[indices]}
    if speech_motion is not None:
        motions[SPEECH] = heard_motion(take, gaussians, speech_motion)
    notes: dict[str, str] = {}
    pixels = PixelJudge()
    judges: list[Judge] = [pixels, SharpnessJudge(), EdgeJudge(), FlickerJudge(), *_optional(take, observer, notes)]
    tally, seen, examples = Tally(), 0, []
    compared = stretches(len(indices))
    chosen = compared[np.unique(np.linspace(0, len(compared) - 1, sampled).round().astype(int))]
    moments = _moments(take, gaussians, motions, compared, set(chosen.tolist()))
    for done, moment in enumerate(moments, start=1):
        if moment is not None:
            seen += 1
            if moment.sampled:
                examples.append(moment)
            for judge in judges:
                judge.see(moment, tally)
        if progress:
            progress(done, len(compared))
    if not seen:
        raise no_head_shown(take, len(compared))
    for judge in judges:
        judge.finish(tally)
    found = tally.rows()
    if not any("ms_ssim" in figures for figures in found[VIDEO].values()):
        notes["ms_ssim"] = "the pictures are smaller than the 161 pixels that five scales need"
    rows = {row: found[row] for row in (TRUTH, NEAREST, *motions)}
    frames = {
        "held_out": len(indices),
        "count": seen,
        "sampled": min(len(chosen), seen),
        "skipped": len(compared) - seen,
    }
    return RowFigures(rows, pixels.errors(), frames, {row: SHOWN[row] for row in rows}, notes, _spread(examples))


def _spread(moments: list[Moment]) -> list[Moment]:
    """A few of the moments with a face, evenly chosen."""
    faces = [moment for moment in moments if "mouth" in moment.regions] or moments
    return [faces[place] for place in np.unique(np.linspace(0, len(faces) - 1, EXAMPLES).round().astype(int))]


def stretches(count: int) -> Int[np.ndarray, " n"]:
    """Which of so many held-out frames are compared: all, or of many 8 stretches of 30, evenly over their time.

    Stretches, since flicker and landmarks that are followed need neighbours.
    """
    if count <= STRETCHES * LENGTH:
        return np.arange(count)
    starts = np.linspace(0, count - LENGTH, STRETCHES).round().astype(int)
    return np.unique(starts[:, None] + np.arange(LENGTH))


def _moments(
    take: Take,
    gaussians: GaussianHead,
    motions: Mapping[str, Motion],
    compared: Int[np.ndarray, " n"],
    sampled: set[int],
) -> Iterator[Moment | None]:
    """Held-out frames by their places among all of them; None for those that show no head."""
    split, landmarks = take.split(), take.perception()["landmarks"]
    nearest_frames = NearestFrames(landmarks, split["train"])
    camera, plate = take_camera(take), take.background().astype(np.float32) / 255
    poses = {row: gaussians.poses(motion) for row, motion in motions.items()}
    for place in compared.tolist():
        index = int(split["test"][place])
        head, truth = head_region(take, index), take.image(index)
        if not head.any():
            yield None
            continue
        pictures, alphas = {TRUTH: truth}, {}
        nearest, similarity = nearest_frames.to(index)
        aligned = warped(take.image(nearest).astype(np.float32), similarity)
        pictures[NEAREST] = (aligned.clip(0, 255) + 0.5).astype(np.uint8)
        for row, moments in poses.items():
            image, alpha, *_ = render_pose(gaussians, moments[place], camera)
            pictures[row] = compose(image, alpha, plate)
            alphas[row] = alpha[..., 0].cpu().numpy()
        mask = np.asarray(take.mask(index))
        yield Moment(
            index,
            landmarks[index],
            picture_regions(head, landmarks[index]),
            error_parts(take.parts(index), head, landmarks[index]),
            pictures,
            alphas,
            edge_band(mask > 0.5, head, EDGE),
            mask,
            place in sampled,
        )


def _optional(take: Take, observer: Callable[[], Observer] | None, notes: dict[str, str]) -> Iterator[Judge]:
    """The judges whose parts are here; a note for each of the others."""
    for metric, load in (("st_lpips", load_st_lpips), ("lpips", load_lpips)):
        try:
            yield PerceptualJudge(metric, load())
        except PartError as error:
            notes[metric] = str(error)
    try:
        describe = load_identity()
        yield IdentityJudge(describe, _person(take, describe))
    except PartError as error:
        notes["identity_distance"] = str(error)
    try:
        if observer is not None:
            # Made once beforehand, so that a missing part is known before the first frame.
            observer()
            yield FaceJudge(observer, take.times)
    except PartError as error:
        notes["landmark_px"] = str(error)


def _person(
    take: Take,
    describe: Callable[[UInt8[np.ndarray, "H W 3"], Float[np.ndarray, "478 3"]], Float[np.ndarray, " 128"]],
) -> Float[np.ndarray, " 128"]:
    """Mean descriptor of training frames."""
    landmarks, train = take.perception()["landmarks"], take.split()["train"]
    rows: Int[np.ndarray, " n"] = train[np.isfinite(landmarks[train]).all((1, 2))]
    chosen = evenly_spread(rows, PERSON_FRAMES)
    return np.mean([describe(take.image(int(i)), landmarks[i]) for i in chosen], axis=0)
