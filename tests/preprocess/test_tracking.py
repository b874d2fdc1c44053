"""The tracker against motions that are known exactly."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch

from avatar.assets import asset
from avatar.errors import InputError
from avatar.face_mesh import EYE_CORNERS
from avatar.heads import Head, load_head
from avatar.heads.arkit import ARKIT_NAMES, MEDIAPIPE_BLENDSHAPES, arkit_to_motion_parts
from avatar.io.video import read_frames
from avatar.motion import Motion
from avatar.preprocess import _mesh_regions as regions
from avatar.preprocess.compare import aligned, compare_motion, seen_in_crop
from avatar.preprocess.landmarks import FaceLandmarker
from avatar.preprocess.tracking import Observations, TrackingConfig, track_observations
from avatar.preprocess.tracking_overlay import draw_overlay, mesh_edges, posed

SIZE, FOCAL, DISTANCE = 400, 900.0, 0.9
# Exact landmarks lie where the embedding has them.
CONFIG = TrackingConfig(shared_steps=160, detector_habits=False)


@cache
def head() -> Head:
    return load_head()


def talking(time: np.ndarray, *, seed: int = 0) -> tuple[Motion, np.ndarray]:
    """A person who talks, nods, looks about and blinks; also what the blendshape network might say of it."""
    rng = np.random.default_rng(seed)

    def wave(rate: float) -> np.ndarray:
        return np.sin(2 * np.pi * (rate * time + rng.random()))

    weights = np.zeros((len(time), len(ARKIT_NAMES)))
    values = dict(zip(ARKIT_NAMES, weights.T, strict=True))
    values["jawOpen"] += 0.25 + 0.2 * wave(2.3)
    for name, rate in (("mouthSmile", 0.4), ("browOuterUp", 0.3), ("mouthUpperUp", 1.1)):
        value = 0.3 + 0.25 * wave(rate)
        values[f"{name}Left"] += value
        values[f"{name}Right"] += value
    values["mouthPucker"] += 0.25 + 0.2 * wave(1.3)
    values["browInnerUp"] += 0.2 + 0.2 * wave(0.5)
    blink = np.exp(-(((time % 1.7) - 0.8) ** 2) / (2 * 0.06**2))
    values["eyeBlinkLeft"] += blink
    values["eyeBlinkRight"] += blink
    look = 0.4 * wave(0.6)
    for name, value in (("OutLeft", look), ("InRight", look), ("InLeft", -look), ("OutRight", -look)):
        values[f"eyeLook{name}"] += value.clip(0)
    parts = arkit_to_motion_parts(weights.astype(np.float32), head())
    neck = np.stack([0.12 * wave(0.5), 0.25 * wave(0.3), 0.06 * wave(0.4)], axis=1)
    place = np.stack([0.01 * wave(0.2), 0.01 * wave(0.3), 0.01 * wave(0.15) - DISTANCE], axis=1)
    motion = Motion(
        time=time,
        betas=(0.6 * rng.standard_normal(20)).clip(-1, 1).astype(np.float32),
        expression=parts.expression,
        global_orient=np.zeros_like(neck, dtype=np.float32),
        neck_pose=neck.astype(np.float32),
        jaw_pose=parts.jaw_pose,
        leye_pose=parts.leye_pose,
        reye_pose=parts.reye_pose,
        eyelids=parts.eyelids,
        transl=place.astype(np.float32),
        head_id=head().id,
        head_hash=head().hash,
    )
    scores = np.stack([values.get(name, np.zeros(len(time))) for name in MEDIAPIPE_BLENDSHAPES], axis=1)
    # The network is no oracle: it exaggerates, and knows nothing of what is small.
    return motion, np.clip(1.3 * scores - 0.05, 0, 1)


def seen(motion: Motion, scores: np.ndarray, *, noise: float = 0.0, seed: int = 1) -> Observations:
    """The exact projections of the landmarks, plus independent noise in pixels."""
    points = head().landmark_positions(torch.from_numpy(posed(head(), motion))).numpy()
    pixels = np.stack([points[..., 0], -points[..., 1]], axis=2) * FOCAL / -points[..., 2:] + SIZE / 2
    pixels = pixels + noise * np.random.default_rng(seed).standard_normal(pixels.shape)
    count = len(motion)
    return Observations(
        time=motion.time,
        landmarks=pixels.astype(np.float32),
        blendshapes=scores.astype(np.float32),
        confidence=np.ones(count, np.float32),
        used=np.ones(count, bool),
        width=SIZE,
        height=SIZE,
    )


def clip(seconds: float = 3.0, fps: float = 25.0) -> tuple[Motion, np.ndarray]:
    return talking(np.arange(round(seconds * fps)) / fps)


@cache
def clean() -> tuple:
    motion, scores = clip()
    return track_observations(seen(motion, scores), head(), config=TrackingConfig(detector_habits=False)), motion


def test_exact_landmarks_give_back_the_motion():
    result, truth = clean()
    error = compare_motion(result.motion, truth, head())
    assert result.report["reprojection_iod_median"] < 0.001
    assert error["head_deg"] < 0.6
    assert error["jaw_deg"] < 0.2
    assert error["gaze_deg"] < 0.4
    assert error["eyelids"] < 0.06
    assert error["face_similarity_mm"] < 0.6


def test_pictures_that_tell_nothing_leave_the_fit_as_it_is():
    motion, scores = clip(1.0)
    config = replace(CONFIG, shared_steps=40)
    without = track_observations(seen(motion, scores), head(), config=config)
    plain = np.zeros((SIZE, SIZE, 3), np.uint8), np.ones((SIZE, SIZE), np.uint8)
    asked = track_observations(seen(motion, scores), head(), config=config, pictures=lambda _: plain)
    assert asked.report["self_calibration"]["skipped"]
    assert without.report["self_calibration"] is None
    assert asked.focal == without.focal
    np.testing.assert_array_equal(asked.motion.neck_pose, without.motion.neck_pose)
    np.testing.assert_array_equal(asked.motion.transl, without.motion.transl)


def test_noise_is_smoothed_and_hardly_moves_the_face():
    motion, scores = clip()
    noisy = seen(motion, scores, noise=0.5)
    result = track_observations(noisy, head(), config=CONFIG)
    error = compare_motion(result.motion, motion, head())
    assert result.report["acceleration_ratio"] < 0.4
    assert error["jaw_deg"] < 0.4
    assert error["face_similarity_mm"] < 0.7
    # The fit must lie nearer to the true landmarks than what it was given.
    exact = seen(motion, scores).landmarks
    assert (
        np.linalg.norm(result.landmarks - exact, axis=2).mean()
        < 0.5 * np.linalg.norm(noisy.landmarks - exact, axis=2).mean()
    )


def test_eyes_close_when_a_detector_puts_closed_lids_between_the_corners():
    """Real detectors raise the lower lid of a closed eye to meet the upper one half way."""
    motion, scores = clip(seconds=2.0)
    observed = seen(motion, scores)
    pairs = regions.LID_PAIRS
    middle = observed.landmarks[:, pairs].mean(axis=2, keepdims=True)
    half = np.abs(observed.landmarks[:, pairs] - middle)
    openness = (half[..., 1].mean(axis=(1, 2)) / half[..., 1].mean(axis=(1, 2)).max())[:, None, None, None]
    rest = observed.landmarks[0, pairs].mean(axis=1) - observed.landmarks[0, list(EYE_CORNERS)].mean(axis=0)
    corners = observed.landmarks[:, list(EYE_CORNERS)].mean(axis=1)
    between = (corners[:, None] + rest)[:, :, None]
    observed.landmarks[:, pairs] += (1 - openness) * (between - middle)
    result = track_observations(observed, head(), config=CONFIG)
    shut = motion.eyelids.mean(axis=1) > 0.95
    assert shut.any()
    assert result.motion.eyelids[shut].mean() > 0.8


def test_the_blendshape_network_is_a_first_guess_only():
    motion, scores = clip(seconds=2.0)
    given = track_observations(seen(motion, scores), head(), config=CONFIG)
    silent = track_observations(seen(motion, np.zeros_like(scores)), head(), config=CONFIG)
    points = [posed(head(), result.motion) for result in (given, silent)]
    moved = aligned(points[0][:, :4500], points[1][:, :4500], scale=True) - points[1][:, :4500]
    assert 1e3 * np.linalg.norm(moved, axis=2).mean() < 1.0


@pytest.mark.parametrize("fps", [12.5, 60.0])
def test_smoothness_is_meant_in_seconds(fps):
    dense, dense_scores = talking(np.arange(round(1.5 * fps)) / fps)
    result = track_observations(seen(dense, dense_scores, noise=0.3), head(), config=CONFIG)
    error = compare_motion(result.motion, dense, head())
    assert error["jaw_deg"] < 0.5
    assert error["eyelids"] < 0.08


def test_uneven_times_are_followed():
    rng = np.random.default_rng(3)
    time = np.cumsum(rng.uniform(0.01, 0.08, 60))
    motion, scores = talking(time)
    result = track_observations(seen(motion, scores), head(), config=CONFIG)
    error = compare_motion(result.motion, motion, head())
    assert np.array_equal(result.motion.time, time)
    assert error["jaw_deg"] < 0.4
    assert error["face_similarity_mm"] < 0.7


def test_a_gap_is_bridged_and_teaches_nothing():
    motion, scores = clip()
    full = seen(motion, scores)
    hidden = slice(30, 35)
    confidence, used = full.confidence.copy(), full.used.copy()
    landmarks, blendshapes = full.landmarks.copy(), full.blendshapes.copy()
    confidence[hidden], landmarks[30:33], blendshapes[30:33], used[30:33] = 0, np.nan, np.nan, False
    landmarks[33:35] = 0.0
    gap = replace(full, landmarks=landmarks, blendshapes=blendshapes, confidence=confidence, used=used)
    result = track_observations(gap, head(), config=CONFIG)
    assert result.report["used_frames"] == len(motion) - 5
    assert result.report["residual"][30] is None
    assert result.report["outliers"] == []
    away = np.linalg.norm(result.landmarks - full.landmarks, axis=2).mean(axis=1) / result.report["inter_ocular_pixels"]
    # A fifth of a second of talk can only be guessed; the head's place carries on.
    assert away[hidden].max() < 0.06
    assert np.delete(away, np.arange(30, 35)).max() < 0.01


def test_windows_agree_with_the_whole():
    motion, scores = clip()
    observations = seen(motion, scores)
    whole = track_observations(observations, head(), config=CONFIG)
    pieces = track_observations(observations, head(), config=replace(CONFIG, window_frames=40, window_overlap=16))
    assert np.abs(pieces.landmarks - whole.landmarks).max() < 0.01 * whole.report["inter_ocular_pixels"]
    assert np.abs(np.degrees(pieces.motion.jaw_pose - whole.motion.jaw_pose)).mean() < 0.15


def test_tracking_is_deterministic_and_leaves_threads_alone():
    motion, scores = clip(seconds=1.0)
    config = replace(CONFIG, shared_steps=40, window_steps=3)
    before = torch.get_num_threads()
    calls = []
    first, second = (
        track_observations(seen(motion, scores), head(), config=config, progress=lambda *at: calls.append(at))
        for _ in range(2)
    )
    assert torch.get_num_threads() == before
    assert np.array_equal(first.landmarks, second.landmarks)
    assert all(np.array_equal(getattr(first.motion, k), getattr(second.motion, k)) for k in ("pose", "expression"))
    assert all(done <= total for done, total in calls)
    assert calls[-1][0] == calls[-1][1] == 43


def test_the_held_out_tenth_teaches_nothing_shared():
    motion, scores = clip(seconds=2.0)
    observations = seen(motion, scores)
    landmarks = observations.landmarks.copy()
    landmarks[45:] = landmarks[45:] * 1.1 + 5
    config = replace(CONFIG, shared_steps=40)
    first = track_observations(observations, head(), config=config)
    second = track_observations(replace(observations, landmarks=landmarks), head(), config=config)
    assert np.array_equal(first.motion.betas, second.motion.betas)
    assert first.focal == second.focal
    assert not np.array_equal(first.landmarks[45:], second.landmarks[45:])


def test_a_skull_outside_the_mask_costs():
    motion, scores = clip(seconds=1.0)
    observations = seen(motion, scores)
    centre = observations.landmarks[:, 168].mean(axis=0)
    columns = np.tile(np.arange(SIZE), (SIZE, 1))
    # A mask far narrower than the head: only the term on silhouettes can pull the skull in.
    mask = (np.abs(columns - centre[0]) < 0.5 * np.ptp(observations.landmarks[0, :, 0])).astype(np.float32)
    config = replace(CONFIG, priors=replace(CONFIG.priors, silhouette=50.0), shared_steps=150)
    widths = []
    for masks in (None, lambda _: mask):
        result = track_observations(observations, head(), config=config, masks=masks)
        vertices = posed(head(), result.motion)[:, : head().parts["skin"][1]]
        skull = vertices[:, (head().weights[: vertices.shape[1], 1] > 0.99).numpy()]
        widths.append(np.ptp(skull[..., 0] / -skull[..., 2], axis=1).mean())
    assert widths[1] < 0.98 * widths[0]


def test_an_empty_clip_is_refused():
    motion, scores = clip(seconds=1.0)
    observations = replace(seen(motion, scores), confidence=np.zeros(len(motion), np.float32))
    with pytest.raises(InputError, match="at least 3 frames with a face"):
        track_observations(observations, head())


def test_rotation_and_scale_are_what_alignment_removes():
    rng = np.random.default_rng(0)
    source = rng.standard_normal((2, 20, 3))
    turn = np.linalg.qr(rng.standard_normal((3, 3)))[0]
    turn *= np.sign(np.linalg.det(turn))
    target = 1.3 * source @ turn.T + 0.5
    assert np.allclose(aligned(source, target, scale=True), target)
    assert not np.allclose(aligned(source, target), target, atol=0.1)


def test_compared_motions_differ_by_what_was_changed():
    motion, _ = clip(seconds=1.0)
    jaw = motion.jaw_pose + np.float32([0.1, 0, 0])
    error = compare_motion(replace(motion, jaw_pose=jaw), motion, head())
    assert error["jaw_raw_deg"] == pytest.approx(np.degrees(0.1), rel=1e-3)
    assert error["jaw_deg"] == pytest.approx(0, abs=1e-3)
    assert error["head_raw_deg"] == pytest.approx(0, abs=1e-3)
    assert error["face_mm"] > 0.5
    assert error["turn_acceleration_ratio"] == pytest.approx(1, abs=1e-3)
    assert error["place_acceleration_ratio"] == pytest.approx(1, abs=1e-3)
    with pytest.raises(InputError, match="cannot be compared"):
        compare_motion(replace(motion, head_hash="other"), motion, head())


def test_a_shaking_head_accelerates_more_than_the_truth():
    motion, _ = clip(seconds=1.0)
    shake = np.where(np.arange(len(motion)) % 2, 0.01, -0.01)[:, None].astype(np.float32)
    turned = compare_motion(replace(motion, neck_pose=motion.neck_pose + shake * np.float32([0, 1, 0])), motion, head())
    moved = compare_motion(replace(motion, transl=motion.transl + shake * np.float32([1, 0, 0])), motion, head())
    away = compare_motion(replace(motion, transl=motion.transl - np.float32([0, 0, 0.5])), motion, head())
    assert turned["turn_acceleration_ratio"] > 2
    assert moved["turn_acceleration_ratio"] == pytest.approx(1, abs=1e-6)
    assert moved["place_acceleration_ratio"] > 2
    assert away["place_acceleration_ratio"] == pytest.approx(1, abs=1e-4)
    assert "turn_acceleration_ratio" not in compare_motion(motion[:2], motion, head())


def test_a_crop_turns_the_truth_towards_its_middle():
    motion, _ = clip(seconds=0.2)
    crop = (280, 120, 200)
    turned = seen_in_crop(motion, head(), focal=2000.0, width=640, height=480, crop=crop)
    whole, part = (posed(head(), m)[0].astype(np.float64) for m in (motion, turned))
    pixels = [points[:, :2] / -points[:, 2:] * [2000, -2000] for points in (whole, part)]
    # Where the whole picture shows a point, the crop's camera shows it at the same place of the crop.
    assert np.abs(pixels[0] + [320, 240] - (pixels[1] + [380, 220])).max() < 0.02 * np.abs(pixels[0]).max()
    assert np.linalg.norm(whole, axis=1) == pytest.approx(np.linalg.norm(part, axis=1), abs=1e-4)
    assert seen_in_crop(motion, head(), focal=2000.0, width=640, height=480, crop=(0, 0, 0)) is motion


def test_the_overlay_draws_on_the_head_only():
    motion, _ = clip(seconds=0.2)
    image = np.full((SIZE, SIZE, 3), 40, np.uint8)
    edges = mesh_edges(head())
    drawn = draw_overlay(image, posed(head(), motion)[0], head=head(), edges=edges, focal=FOCAL, scale=2)
    assert drawn.shape == (2 * SIZE, 2 * SIZE, 3)
    changed = (drawn != 40).any(axis=2)
    assert changed[200:600, 300:500].mean() > 0.1
    assert not changed[:40].any()


def watched(path: Path, count: int) -> Observations:
    """What the landmark network sees in the first frames of a clip."""
    frames = list(islice(read_frames(path), count))
    landmarker = FaceLandmarker()
    faces = [landmarker.track(frame.image) for frame in frames]
    found = [face for face in faces if face is not None]
    assert len(found) == len(faces)
    return Observations(
        time=np.array([frame.time for frame in frames]),
        landmarks=np.stack([face.landmarks for face in found]),
        blendshapes=np.stack([face.blendshapes for face in found]),
        confidence=np.array([face.confidence for face in found], np.float32),
        used=np.ones(len(frames), bool),
        width=frames[0].image.shape[1],
        height=frames[0].image.shape[0],
    )


@pytest.mark.usefixtures("perception_parts")
def test_the_demo_clip_is_tracked_close_to_its_truth():
    truth = Motion.load(asset("demo_truth.npz"))
    result = track_observations(watched(asset("demo.mp4"), len(truth)), head())
    error = compare_motion(result.motion, truth, head())
    assert result.report["reprojection_iod_median"] < 0.006
    assert result.report["acceleration_ratio"] < 1
    assert error["head_deg"] < 1.3
    assert error["jaw_deg"] < 0.6
    assert error["gaze_deg"] < 3.0
    assert error["eyelids"] < 0.08
    assert error["face_similarity_mm"] < 1.6


@pytest.mark.usefixtures("perception_parts")
@pytest.mark.parametrize("clip_name", ["oval_office_2010.mp4", "diwali_2016.mp4"])
def test_real_clips_meet_the_bars(shared: Path, clip_name: str):
    result = track_observations(
        watched(shared / "clips" / clip_name, 90), head(), config=replace(CONFIG, detector_habits=True)
    )
    assert result.report["reprojection_iod_median"] < 0.01
    assert result.report["reprojection_held_out"] < 0.01
    assert result.report["acceleration_ratio"] < 1
    assert result.report["outliers"] == []
