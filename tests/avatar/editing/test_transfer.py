"""A driver's motion on another person: what is brought over, what stays, and what counts as neutral."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from avatar.editing import FaceMap, neutral_of, transfer
from avatar.heads import Head
from avatar.motion import Motion
from avatar.synthetic.clip import ClipSettings, synthetic_motion


@pytest.fixture(scope="module")
def driver(open_head: Head) -> Motion:
    """Another person who talks for six seconds."""
    return synthetic_motion(open_head, seconds=6.0, settings=ClipSettings(seed=11, movement=1.5))


@pytest.fixture(scope="module")
def face(open_head: Head, driver: Motion) -> FaceMap:
    return FaceMap(open_head, driver.betas)


def turns(motion: Motion) -> Rotation:
    return Rotation.from_rotvec(motion.global_orient) * Rotation.from_rotvec(motion.neck_pose)


@pytest.fixture
def rest(tiny_motion: Motion) -> Motion:
    """The subject at ease, with a head that is turned a little."""
    one = tiny_motion[:1]
    neck = np.array([[0.05, 0.1, 0.0]], np.float32)
    zero = np.zeros_like(one.expression)
    return replace(one, time=np.zeros(1), expression=zero, jaw_pose=neck * 0, eyelids=one.eyelids * 0, neck_pose=neck)


def test_the_face_and_the_turns_are_the_drivers_and_the_person_is_not(
    driver: Motion, face: FaceMap, rest: Motion
) -> None:
    neutral = neutral_of(driver, face)
    moved = transfer(driver, neutral, rest)
    assert np.array_equal(moved.betas, rest.betas) and not np.array_equal(moved.betas[:20], driver.betas[:20])
    assert np.array_equal(moved.time, driver.time)
    assert np.corrcoef(moved.jaw_pose[:, 0], driver.jaw_pose[:, 0])[0, 1] > 0.999
    assert np.allclose(moved.expression - rest.expression, driver.expression - neutral.expression, atol=1e-6)
    before, after = (turns(neutral).inv() * turns(driver)).magnitude(), (turns(rest).inv() * turns(moved)).magnitude()
    assert np.allclose(before, after, atol=1e-5) and before.max() > 0.1
    assert np.allclose(moved.transl - rest.transl, driver.transl - neutral.transl, atol=1e-6)
    # A driver at rest is the subject at ease.
    still = transfer(neutral, neutral, rest)
    for name in ("expression", "jaw_pose", "neck_pose", "eyelids", "transl"):
        assert np.allclose(getattr(still, name), getattr(rest, name), atol=1e-6)


@pytest.mark.parametrize("pose", ["absolute", "still"])
def test_the_pose_is_the_drivers_or_the_subjects(driver: Motion, face: FaceMap, rest: Motion, pose: str) -> None:
    moved = transfer(driver, neutral_of(driver, face), rest, pose=pose)  # type: ignore[arg-type]
    kept = driver if pose == "absolute" else rest
    for name in ("global_orient", "neck_pose", "transl", "torso"):
        wanted = np.broadcast_to(getattr(kept, name), getattr(moved, name).shape)
        assert np.allclose(getattr(moved, name), wanted, atol=1e-6)


def test_lids_keep_their_ends(driver: Motion, face: FaceMap, rest: Motion) -> None:
    squinting = replace(rest, eyelids=np.full((1, 2), 0.3, np.float32))
    lids = np.linspace(0, 1, len(driver), dtype=np.float32)[:, None].repeat(2, 1)
    neutral = replace(neutral_of(driver, face), eyelids=np.full((1, 2), 0.2, np.float32))
    moved = transfer(replace(driver, eyelids=lids), neutral, squinting).eyelids
    assert moved[-1] == pytest.approx(1.0) and moved[0] == pytest.approx(0.1, abs=1e-6)
    assert (np.diff(moved, axis=0) > 0).all()


def test_neutral_is_found_under_talk_and_blinks(driver: Motion, face: FaceMap, open_head: Head) -> None:
    neutral = neutral_of(driver, face)
    assert len(neutral) == 1
    # The synthetic person's mouth rests closed; its lids rest open.
    assert neutral.jaw_pose[0, 0] < 0.15 * open_head.jaw_open_angle
    assert neutral.jaw_pose[0, 0] < np.median(driver.jaw_pose[:, 0]) and neutral.eyelids.max() < 0.2
    # A raised brow that is always there belongs to the driver's neutral, and so does not reach the subject.
    moved = replace(driver, expression=driver.expression + 0.3)
    assert np.allclose(neutral_of(moved, face).expression, neutral.expression + 0.3, atol=1e-5)
    # Moments in which nobody was seen say nothing.
    seen = np.arange(len(driver)) >= 50
    wild = replace(driver, jaw_pose=np.where(seen[:, None], driver.jaw_pose, 5).astype(np.float32))
    assert neutral_of(wild, face, seen=seen).jaw_pose[0, 0] < 0.15 * open_head.jaw_open_angle
    alone = neutral_of(driver[:1], face)
    assert np.allclose(alone.expression, driver.expression[:1], atol=1e-6)


def test_who_keeps_the_eyes_shut_does_so_on_the_subject(driver: Motion, face: FaceMap, rest: Motion) -> None:
    dozing = replace(driver, eyelids=np.full((len(driver), 2), 0.8, np.float32))
    moved = transfer(dozing, neutral_of(dozing, face), rest)
    assert moved.eyelids.min() > 0.6
