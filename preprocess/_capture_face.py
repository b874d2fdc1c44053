"""What the head and the face did in a take: turns, actions, shapes of the mouth, blinks."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.spatial.transform import Rotation

from avatar.face_mesh import EYE_CORNERS
from avatar.heads import load_head
from avatar.heads.arkit import MEDIAPIPE_BLENDSHAPES
from avatar.preprocess._initial import weak_perspective
from avatar.preprocess.capture_figures import ClipFigures, CoveredFigures, FaceFigures, PoseFigures, ShapeFigures
from avatar.preprocess.covered import STAGE as COVERED
from avatar.preprocess.framing import face_heights
from avatar.speech.blinks import find_blinks
from avatar.speech.mouth import landmark_opening

if TYPE_CHECKING:
    from jaxtyping import Bool, Float

    from avatar.io.take import Perception, Take

YAW_EDGES, PITCH_EDGES = np.arange(-60, 61, 10), np.arange(-40, 41, 10)
TAILS = (2, 50, 98)
MOUTH_CORNERS = (61, 291)
# Inner-lip gap over the distance of the outer eye corners (about 90 mm): below 3 mm lips meet, above 15 mm is an "ah".
CLOSED, OPEN = 0.03, 0.17
# Width of the mouth over its median: lips that are rounded or spread, seen against the person's own mouth.
ROUNDED, SPREAD = 0.88, 1.04
SHAPES = ("closed (m, b, p)", "rounded (oo, w)", "spread (ee, s)", "wide open (ah)", "in between (eh, n)")
# Shorter glimpses than this are noise of the landmarks.
SHORTEST = 0.06


def clip_figures(take: Take, seen: Perception) -> ClipFigures:
    """Length, use and size of the recording."""
    time, used = take.times, take.used
    step = _step(time)
    heights = face_heights(seen["landmarks"][used])
    return ClipFigures(
        frames=len(time),
        used_frames=int(used.sum()),
        seconds=round(float(time[-1] - time[0]) + step if len(time) else 0.0, 3),
        used_seconds=round(float(used.sum()) * step, 3),
        fps=round(take.info.fps[0] / take.info.fps[1], 3),
        width=take.info.width,
        face_pixels=round(float(np.median(heights)) * (take.info.crop[2] or take.info.width) / take.info.width, 1)
        if len(heights)
        else 0.0,
        lost=_stretches(time, ~used),
    )


def covered_figures(take: Take) -> CoveredFigures:
    """When something is before the face, and how much of it that hides."""
    found = take.info.stages[COVERED].detail
    marked = np.array([take.covered(index) is not None for index in range(len(take))])
    return CoveredFigures(int(marked.sum()), float(found.get("covered_share", 0.0)), _stretches(take.times, marked))


def _step(time: Float[np.ndarray, " T"]) -> float:
    return float(np.median(np.diff(time))) if len(time) > 1 else 0.0


def _stretches(time: Float[np.ndarray, " T"], marked: Bool[np.ndarray, " T"]) -> list[tuple[float, float]]:
    """Start and end in seconds of every run of marked frames."""
    edges = np.diff(np.concatenate([[False], marked, [False]]).astype(int))
    starts, stops = np.flatnonzero(edges == 1), np.flatnonzero(edges == -1)
    return [
        (round(float(time[start]), 3), round(float(time[stop - 1]) + _step(time), 3))
        for start, stop in zip(starts, stops, strict=True)
    ]


def pose_figures(take: Take, seen: Perception, *, tracked: bool) -> PoseFigures:
    """Yaw, pitch and roll: of the tracked head, or before tracking of the landmarks in weak perspective."""
    used = take.used
    if tracked:
        motion = take.motion()
        turns = Rotation.from_rotvec(motion.global_orient[used]) * Rotation.from_rotvec(motion.neck_pose[used])
    else:
        head = load_head()
        rest = head.landmark_positions(head())[0].numpy()
        anchor = rest[list(EYE_CORNERS)].mean(axis=0)
        turns = Rotation.from_matrix(weak_perspective(rest, seen["landmarks"][used][..., :2], anchor=anchor)[0])
    yaw, down, roll = turns.as_euler("YXZ", degrees=True).T
    pitch = -down
    inside = [np.clip(values, edges[0], edges[-1]) for values, edges in ((pitch, PITCH_EDGES), (yaw, YAW_EDGES))]
    counts = np.histogram2d(*inside, bins=[PITCH_EDGES, YAW_EDGES])[0]
    step = float(np.median(np.diff(take.times)))
    return PoseFigures(
        source="motion" if tracked else "landmarks",
        yaw=_tails(yaw),
        pitch=_tails(pitch),
        roll=_tails(roll),
        yaw_edges=YAW_EDGES.tolist(),
        pitch_edges=PITCH_EDGES.tolist(),
        seconds=np.round(counts * step, 2).tolist(),
    )


def face_figures(take: Take, seen: Perception) -> FaceFigures:
    """Ranges of the actions, shapes of the mouth and blinks over the used frames."""
    used, time = take.used, take.times
    scores = seen["blendshapes"]
    step = float(np.median(np.diff(time)))
    lids = scores[:, [MEDIAPIPE_BLENDSHAPES.index(f"eyeBlink{side}") for side in ("Left", "Right")]].mean(axis=1)
    blinks, widths = find_blinks(time[used], lids[used])
    return FaceFigures(
        actions={
            name: _tails(column) for name, column in zip(MEDIAPIPE_BLENDSHAPES[1:], scores[used].T[1:], strict=True)
        },
        mouth=mouth_shapes(seen["landmarks"], used, step=step),
        blinks=len(blinks),
        blinks_per_minute=round(60 * len(blinks) / max(float(used.sum()) * step, 1e-6), 1),
        blink_seconds=round(float(np.median(widths)), 3) if len(widths) else None,
    )


def mouth_shapes(
    landmarks: Float[np.ndarray, "T 478 3"], used: Bool[np.ndarray, " T"], *, step: float
) -> dict[str, ShapeFigures]:
    """How much was seen of the five shapes that visemes come down to when only lips are looked at.

    Which sound goes with which lips follows the classes of Bear and Harvey, Phoneme-to-viseme mappings, Speech
    Communication 95 (2017): bilabials, rounded, spread and open vowels, and the rest.

    Args:
        landmarks: (T, 478, 3) pixels.
        used: (T,) frames that count.
        step: Seconds between two frames.
    """
    opening = landmark_opening(landmarks)
    points = landmarks.astype(np.float64)
    lips, eyes = (
        np.linalg.norm(points[:, first] - points[:, second], axis=1) for first, second in (MOUTH_CORNERS, EYE_CORNERS)
    )
    width = lips / np.maximum(eyes, 1e-9)
    width = width / np.median(width[used]) if used.any() else width
    closed, wide_open = opening < CLOSED, opening > OPEN
    rounded = (width < ROUNDED) & ~closed
    spread = (width > SPREAD) & ~closed & ~wide_open
    masks = (closed, rounded, spread, wide_open & ~rounded, ~(closed | rounded | spread | wide_open))
    least = max(1, round(SHORTEST / max(step, 1e-6)))
    return {
        name: ShapeFigures(seconds=round(float((mask & used).sum()) * step, 2), times=_runs(mask & used, least))
        for name, mask in zip(SHAPES, masks, strict=True)
    }


def _runs(mask: np.ndarray, least: int) -> int:
    """Number of unbroken stretches of at least `least` frames."""
    edges = np.diff(np.concatenate([[False], mask, [False]]).astype(int))
    return int((np.flatnonzero(edges == -1) - np.flatnonzero(edges == 1) >= least).sum())


def _tails(values: np.ndarray) -> tuple[float, float, float]:
    low, middle, high = (round(float(value), 3) for value in np.nanpercentile(values, TAILS))
    return low, middle, high
