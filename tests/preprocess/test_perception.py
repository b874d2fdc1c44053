"""Landmarks, person mask and region labels on real frames, skipped where the clips are absent."""

from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from avatar.errors import FormatError, InputError
from avatar.io.parts import HEAD, TORSO
from avatar.preprocess._threads import map_ordered
from avatar.preprocess.landmarks import FaceLandmarker, merge_detections, region_of
from avatar.preprocess.matting import PersonSegmenter, refine_mask
from avatar.preprocess.regions import RegionModel, label_parts

CLIPS = ("oval_office_2010.mp4", "diwali_2016.mp4")


@pytest.fixture(scope="module", params=CLIPS)
def frames(shared: Path, request: pytest.FixtureRequest) -> list[np.ndarray]:
    with av.open(str(shared / "clips" / request.param)) as container:
        return [f.to_ndarray(format="rgb24") for i, f in enumerate(container.decode(video=0)) if i < 48]


@pytest.mark.usefixtures("perception_parts")
def test_landmarks_follow_the_face_and_its_shift(frames: list[np.ndarray]) -> None:
    landmarker = FaceLandmarker()
    seen = [landmarker.track(frame) for frame in frames[:8]]
    assert all(o is not None and o.confidence > 0.9 for o in seen)
    first = seen[0]
    assert first is not None and first.landmarks.shape == (478, 3) and first.blendshapes.shape == (52,)
    assert first.blendshapes.min() >= 0 and first.blendshapes.max() <= 1
    eyes = np.linalg.norm(first.landmarks[33, :2] - first.landmarks[263, :2])
    # The subject's right iris lies on the image's left, each inside its own eye.
    for iris, inner, outer in ((468, 133, 33), (473, 362, 263)):
        middle = (first.landmarks[inner] + first.landmarks[outer])[:2] / 2
        assert np.linalg.norm(first.landmarks[iris, :2] - middle) < 0.12 * eyes
    landmarker.reset()
    shifted = landmarker.track(np.roll(frames[0], (6, -9), axis=(0, 1)))
    assert shifted is not None
    moved = (shifted.landmarks - first.landmarks)[:, :2].mean(axis=0)
    np.testing.assert_allclose(moved, [-9, 6], atol=0.02 * eyes)


@pytest.mark.usefixtures("perception_parts")
def test_lost_face_gives_none_and_is_found_again(frames: list[np.ndarray]) -> None:
    landmarker = FaceLandmarker()
    before = landmarker.track(frames[0])
    assert landmarker.track(np.full_like(frames[0], 90)) is None
    after = landmarker.track(frames[0])
    assert before is not None and after is not None
    eyes = np.linalg.norm(before.landmarks[33, :2] - before.landmarks[263, :2])
    assert np.linalg.norm((after.landmarks - before.landmarks)[:, :2], axis=1).max() < 0.05 * eyes


@pytest.mark.usefixtures("perception_parts")
def test_of_two_faces_the_larger_is_followed_and_after_a_loss_the_nearer(frames: list[np.ndarray]) -> None:
    face = frames[0]
    side = face.shape[0]
    half = cv2.resize(face, (side * 3 // 4, side * 3 // 4), interpolation=cv2.INTER_AREA)
    pair = np.concatenate([np.full_like(face, 60), face], axis=1)
    pair[: half.shape[0], : half.shape[1]] = half
    landmarker = FaceLandmarker()
    seen = landmarker.track(pair)
    assert seen is not None and seen.landmarks[:, 0].mean() > side
    landmarker.reset()
    alone = pair.copy()
    alone[:, side:] = 60
    seen = landmarker.track(alone)
    assert seen is not None and seen.landmarks[:, 0].mean() < side
    assert landmarker.track(np.full_like(pair, 60)) is None
    seen = landmarker.track(pair)
    assert seen is not None and seen.landmarks[:, 0].mean() < side


@pytest.mark.usefixtures("perception_parts")
def test_small_face_in_a_wide_frame_is_found(frames: list[np.ndarray]) -> None:
    small = cv2.resize(frames[0], (200, 200), interpolation=cv2.INTER_AREA)
    wide = np.full((720, 1280, 3), 120, np.uint8)
    wide[260:460, 900:1100] = small
    seen = FaceLandmarker().track(wide)
    assert seen is not None
    assert (seen.landmarks[:, :2].mean(axis=0) > (900, 260)).all()


def test_detections_of_one_face_merge_and_two_stay_apart() -> None:
    box = np.zeros((8, 2))
    box[0], box[1] = (0.3, 0.3), (0.2, 0.2)
    near, far = box.copy(), box.copy()
    near[0] += 0.02
    far[0] += 0.4
    merged = merge_detections(np.stack([near, far, box]), np.array([0.6, 0.7, 0.9]))
    assert len(merged) == 2
    np.testing.assert_allclose(merged[0][0], 0.3 + 0.02 * 0.6 / 1.5)
    np.testing.assert_allclose(merged[1][0], far[0])
    assert merge_detections(np.zeros((0, 8, 2)), np.zeros(0)) == []


def test_region_of_turned_landmarks_turns_with_them() -> None:
    points = np.zeros((478, 3))
    points[:, :2] = np.random.default_rng(0).uniform(-50, 50, (478, 2))
    points[33, :2], points[263, :2] = (-30, 0), (30, 0)
    angle = 0.4
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    turned = points.copy()
    turned[:, :2] = points[:, :2] @ turn.T + (200, 100)
    flat, region = region_of(points), region_of(turned)
    assert region.roll == pytest.approx(flat.roll + angle)
    assert region.side == pytest.approx(flat.side)
    np.testing.assert_allclose([region.x, region.y], turn @ [flat.x, flat.y] + (200, 100))


def test_frames_and_models_of_the_wrong_kind_are_refused(tmp_path: Path) -> None:
    (tmp_path / "face.task").write_bytes(b"no zip")
    with pytest.raises(FormatError, match="face landmarker"):
        FaceLandmarker(tmp_path / "face.task")


@pytest.mark.usefixtures("perception_parts")
@pytest.mark.parametrize("image", [np.zeros((8, 8), np.uint8), np.zeros((8, 8, 3)), np.zeros((0, 8, 3), np.uint8)])
def test_images_of_the_wrong_kind_are_refused(image: np.ndarray) -> None:
    for part in (FaceLandmarker().track, PersonSegmenter()):
        with pytest.raises(InputError, match="RGB uint8"):
            part(image)


def test_refined_mask_follows_the_picture_closer_than_bilinear() -> None:
    size = 400
    y, x = np.mgrid[:size, :size]
    truth = np.hypot(x - 200, (y - 230) * 0.8) < 110 + 9 * np.sin(9 * np.arctan2(y - 230, x - 200))
    noise = np.random.default_rng(0).normal(0, 5, (size, size, 3))
    image = np.where(truth[..., None], [150, 110, 90], [60, 90, 70]) + noise
    coarse = cv2.resize(cv2.GaussianBlur(truth.astype(np.float32), (0, 0), 6), (256, 256))
    plain = cv2.resize(coarse, (size, size), interpolation=cv2.INTER_LINEAR)
    refined = refine_mask(np.clip(image, 0, 255).astype(np.uint8), coarse)
    assert refined.dtype == np.float32 and refined.min() >= 0 and refined.max() <= 1
    assert np.abs(refined - truth).mean() < 0.6 * np.abs(plain - truth).mean()


@pytest.mark.usefixtures("perception_parts")
def test_masks_are_the_same_from_several_threads(frames: list[np.ndarray]) -> None:
    segmenter = PersonSegmenter()
    alone = [segmenter(frame) for frame in frames[:8]]
    for expected, found in zip(alone, map_ordered(segmenter, frames[:8], threads=3), strict=True):
        np.testing.assert_array_equal(found, expected)


@pytest.mark.usefixtures("perception_parts")
def test_person_mask_and_labels_of_a_clip(frames: list[np.ndarray]) -> None:
    landmarker, segmenter = FaceLandmarker(), PersonSegmenter()
    seen = [(frame, segmenter(frame), landmarker.track(frame)) for frame in frames[::4]]
    rows = [(frame, alpha, o.landmarks) for frame, alpha, o in seen if o is not None]
    assert len(rows) == len(seen)
    model = RegionModel.fit(rows)
    labels = list(label_parts(model, rows))
    assert len(labels) == len(rows)
    for (_, alpha, landmarks), label in zip(rows, labels, strict=True):
        assert label.shape == alpha.shape and ((label > 0) == (alpha > 0.5)).all()
        x, y = landmarks[:468, 0].astype(int), landmarks[:468, 1].astype(int)
        assert (label[y, x] == HEAD).mean() > 0.97
        # Head and clothes both are there, the clothes alone at the lower corners of the person.
        assert 0.1 < (label == HEAD).mean() < 0.6 and (label == TORSO).mean() > 0.02
        bottom = label[-3:]
        assert not (bottom == HEAD).any() and (bottom == TORSO).mean() > 0.5
    border = [np.flatnonzero((label == HEAD).any(axis=1))[-1] for label in labels]
    assert np.abs(np.diff(border)).max() < 0.06 * len(labels[0])
