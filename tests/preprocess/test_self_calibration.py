"""The focal length from rigid points, against heads whose camera is known."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from avatar.cameras import Camera
from avatar.heads import Head, load_head
from avatar.heads.adapters.zbuffer import CameraScene
from avatar.motion import Motion
from avatar.preprocess._bundle import Bundle, Geometry, adjust, normal_equations
from avatar.preprocess.self_calibration import (
    FocalEstimate,
    SelfCalibration,
    SelfCalibrationSettings,
    combined,
    jackknifed_focal,
    self_calibrate,
    spread_turns,
)
from avatar.preprocess.tracking_overlay import posed

FOCAL, DISTANCE, SIZE = 400.0, 0.6, 256
LANDMARKS = SelfCalibration(500.0, 0.2, 500.0, None, (), 0, 40.0)


@cache
def head() -> Head:
    return load_head()


def cloud(noise: float, *, seed: int = 0) -> tuple[Bundle, Geometry, Geometry]:
    """A turning cloud of points as it was seen, the truth, and a first guess with a focal length a third too long."""
    rng = np.random.default_rng(seed)
    points = rng.uniform([-0.08, -0.1, -0.05], [0.08, 0.1, 0.05], (150, 3))
    turns = Rotation.from_euler("xyz", rng.uniform(-1, 1, (24, 3)) * [15, 30, 8], degrees=True).as_matrix()
    places = np.array([0.0, 0.0, -DISTANCE]) + 0.02 * rng.standard_normal((24, 3))
    frame, point = (index.ravel() for index in np.meshgrid(np.arange(24), np.arange(150), indexing="ij"))
    seen = np.einsum("oij,oj->oi", turns[frame], points[point]) + places[frame]
    pixels = seen[:, :2] * [FOCAL, -FOCAL] / -seen[:, 2:] + noise * rng.standard_normal((len(frame), 2))
    whitening = np.tile(np.eye(2) / max(noise, 0.1), (len(frame), 1, 1))
    bundle = Bundle(point, frame, pixels, whitening, np.zeros((len(frame), 3)))
    truth = Geometry(turns, places, points, FOCAL)
    off = points + 2e-3 * rng.standard_normal(points.shape)
    return bundle, truth, Geometry(turns, places * [1, 1, 1.35], off, 1.35 * FOCAL)


def talking_head(turn: float, count: int = 24) -> tuple[Motion, np.ndarray]:
    """A head that turns by so many degrees to each side, and its posed vertices."""
    phase = np.linspace(0, 2 * np.pi, count, endpoint=False)
    neck = np.radians(turn) * np.stack([0.5 * np.sin(2 * phase), np.sin(phase), 0.2 * np.cos(phase)], 1)
    still = np.zeros((count, 3), np.float32)
    place = np.tile([0, 0, -DISTANCE], (count, 1))
    motion = Motion(
        time=np.arange(count) / 25,
        betas=np.zeros(10, np.float32),
        expression=np.zeros((count, head().exprdirs.shape[2]), np.float32),
        global_orient=still,
        neck_pose=neck.astype(np.float32),
        jaw_pose=still,
        leye_pose=still,
        reye_pose=still,
        eyelids=np.zeros((count, 2), np.float32),
        transl=place.astype(np.float32),
        head_id=head().id,
        head_hash=head().hash,
    )
    return motion, posed(head(), motion)


@cache
def filmed(turn: float) -> tuple[Motion, np.ndarray, np.ndarray]:
    """The head with a pattern all over it: motion, pictures and part labels."""
    motion, vertices = talking_head(turn)
    faces, rest = head().faces.numpy(), head().v_template.numpy()
    camera = Camera.front(FOCAL, SIZE, SIZE)
    waves = np.random.default_rng(0).standard_normal((3, 60)) * 350
    images, parts = [], []
    for points in vertices:
        hits = CameraScene(points, faces, camera).image
        place = (rest[faces[np.maximum(hits.faces, 0)]] * hits.barycentric[..., None]).sum(1)
        grey = np.where(hits.faces >= 0, 128 + 12 * np.sin(place @ waves).sum(1), 60)
        images.append(np.repeat(np.clip(grey, 0, 255).reshape(SIZE, SIZE, 1), 3, 2).astype(np.uint8))
        parts.append((hits.faces >= 0).reshape(SIZE, SIZE).astype(np.uint8))
    return motion, np.stack(images), np.stack(parts)


def calibrated(turn: float, *, wrong: float) -> SelfCalibration:
    """From a landmark fit whose focal length is wrong by a factor, with the distance that goes with it."""
    motion, images, parts = filmed(turn)
    joint = head().J_regressor[1].numpy() @ head().v_template.numpy()
    depth = (motion.transl[:, 2:] + joint[2]) * wrong - joint[2]
    motion = replace(motion, transl=np.concatenate([motion.transl[:, :2], depth], 1).astype(np.float32))
    return self_calibrate(
        motion,
        head(),
        focal=wrong * FOCAL,
        rows=np.arange(len(motion)),
        pictures=lambda index: (images[index], parts[index]),
    )


def unseen(index: int) -> tuple[np.ndarray, np.ndarray]:
    """No picture at all."""
    raise AssertionError(f"picture {index} was asked for")


def test_exact_points_give_the_focal_length():
    bundle, truth, start = cloud(0.0)
    assert adjust(bundle, start).focal == pytest.approx(truth.focal, rel=0.01)


def test_noisy_points_give_it_within_their_error():
    bundle, truth, start = cloud(0.3)
    found = jackknifed_focal(bundle, start, truth.points)
    assert abs(np.log(found.focal / truth.focal)) < 0.06
    assert abs(np.log(found.focal / truth.focal)) < 2.5 * found.error
    assert 0.002 < found.error < 0.1


def test_errors_that_a_region_shares_are_seen_by_the_jackknife_alone():
    bundle, truth, start = cloud(0.3)
    honest = jackknifed_focal(bundle, start, truth.points)
    tilt = np.where(truth.points[bundle.point, 1] > 0.03, 3.0, 0.0) * truth.rotations[bundle.frame, 0, 2]
    skewed = replace(bundle, pixels=bundle.pixels + np.stack([tilt, 0 * tilt], 1))
    assert jackknifed_focal(skewed, start, truth.points).error > 2 * honest.error


def test_shares_of_regions_add_up():
    bundle, _, start = cloud(0.3)
    whole = normal_equations(bundle, start, start)
    halves = [normal_equations(bundle, start, start, taken=bundle.point % 2 == odd) for odd in (0, 1)]
    np.testing.assert_allclose(halves[0].matrix + halves[1].matrix, whole.matrix, rtol=1e-6, atol=1e-4)
    np.testing.assert_allclose(halves[0].right + halves[1].right, whole.right, rtol=1e-6, atol=1e-4)


def test_pictures_mend_the_focal_length():
    found = calibrated(28.0, wrong=1.3)
    assert found.skipped == ""
    assert found.tracks is not None
    assert abs(np.log(found.tracks.focal / FOCAL)) < 0.1
    assert abs(np.log(found.focal / FOCAL)) < 0.5 * np.log(1.3)
    assert found.error < 0.2
    assert calibrated(28.0, wrong=1.3) == found


def test_a_head_that_hardly_turns_leaves_the_focal_length_alone():
    motion, _ = talking_head(2.0)
    found = self_calibrate(motion, head(), focal=FOCAL, rows=np.arange(len(motion)), pictures=unseen)
    assert "turns" in found.skipped
    assert found.focal == FOCAL


def test_one_region_that_knows_it_all_raises_nothing():
    bundle, truth, start = cloud(0.3)
    rest = np.zeros_like(truth.points)
    rest[:5] = np.arange(1, 6)[:, None]
    assert np.isfinite(jackknifed_focal(bundle, start, rest).error)


def test_plain_pictures_leave_the_focal_length_alone():
    motion, images, parts = filmed(28.0)
    found = self_calibrate(
        motion,
        head(),
        focal=FOCAL,
        rows=np.arange(len(motion)),
        pictures=lambda index: (np.full_like(images[index], 128), parts[index]),
    )
    assert "points" in found.skipped
    assert found.focal == FOCAL


def test_both_estimates_count_by_their_variances():
    settings = SelfCalibrationSettings(landmark_spread=0.2)
    found = combined(LANDMARKS, (FocalEstimate(600.0, 0.2), FocalEstimate(600.0, 0.2)), points=99, settings=settings)
    assert found.focal == pytest.approx(np.sqrt(500.0 * 600.0))
    assert found.error == pytest.approx(0.2 / np.sqrt(2))


def test_ways_that_disagree_count_for_less_and_sure_ones_are_not_believed():
    settings = SelfCalibrationSettings()
    torn = combined(LANDMARKS, (FocalEstimate(400.0, 0.05), FocalEstimate(900.0, 0.05)), points=99, settings=settings)
    assert torn.tracks is not None
    assert torn.tracks.error > 0.4
    sure = combined(LANDMARKS, (FocalEstimate(600.0, 0.01), FocalEstimate(600.0, 0.01)), points=99, settings=settings)
    assert sure.tracks is not None
    assert sure.tracks.error == settings.least_error


def test_tracks_that_tell_nothing_change_nothing():
    ways = (FocalEstimate(3000.0, 1.5), FocalEstimate(3000.0, 1.5))
    found = combined(LANDMARKS, ways, points=99, settings=SelfCalibrationSettings())
    assert found.focal == LANDMARKS.focal
    assert "standard error" in found.skipped


def test_turns_are_spread():
    turns = Rotation.from_rotvec(np.radians([[0, y, 0] for y in (0, 1, 2, -20, 19, 20, 0.5)]))
    chosen, largest = spread_turns(turns, 3)
    assert set(chosen[1:]) == {3, 5}
    assert largest == pytest.approx(40)
