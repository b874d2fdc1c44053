"""Alignment of a take's motion with a finished avatar, on a take whose motion is known."""

import shutil
from dataclasses import replace

import numpy as np
import pytest
from mistracking import LIES, mistracked, turn_error

from avatar.fields.gaussian_head import GaussianHead
from avatar.heads import Head
from avatar.io.aligned import ALIGNMENT, tracked_motion
from avatar.io.restart import restartable
from avatar.io.take import Take
from avatar.motion import Motion
from avatar.preprocess._view import View
from avatar.preprocess.alignment import AlignmentConfig, align_take, can_align
from avatar.preprocess.refinement_config import RefinementConfig
from avatar.preprocess.tracking import track
from avatar.preprocess.tracking_config import TrackingConfig
from avatar.train.config import TrainConfig
from avatar.train.fitting import fit_avatar

SMALL = AlignmentConfig(landmarks=0.01, refinement=RefinementConfig(key_frames=3, photometric=2e4, threads=1))


@pytest.fixture(scope="module")
def aligned(
    tiny_take: Take, open_head: Head, tiny_motion: Motion, tiny_gaussians: GaussianHead, tmp_path_factory
) -> tuple[Motion, str, Take]:
    """The mistracked motion and its key, and the take after alignment with the avatar that it shows."""
    take = Take.open(shutil.copytree(tiny_take.path, tmp_path_factory.mktemp("aligned") / "take"))
    before = mistracked(take, open_head, tiny_motion)
    key = tracked_motion(take)
    align_take(take, tiny_gaussians, config=SMALL)
    return before, key, take


@pytest.mark.parametrize("held_out", [False, True])
def test_the_motion_comes_nearer_to_the_pictures(aligned, tiny_motion: Motion, held_out: bool):
    before, _, take = aligned
    rows = np.array([index for index in LIES if (index in take.split()["test"]) == held_out])
    assert turn_error(take.motion(), tiny_motion, rows) < 0.8 * turn_error(before, tiny_motion, rows)


def test_pictures_that_bend_more_than_believed_are_not_overshot(
    tiny_take: Take, open_head: Head, tiny_motion: Motion, tiny_gaussians: GaussianHead, tmp_path, monkeypatch
):
    take = Take.open(shutil.copytree(tiny_take.path, tmp_path / "take"))
    before = mistracked(take, open_head, tiny_motion)
    true = View.hessian
    monkeypatch.setattr(View, "hessian", lambda *arguments: true(*arguments) / 5)
    told: list[tuple[int, int]] = []
    align_take(take, tiny_gaussians, config=SMALL, progress=lambda *done: told.append(done))
    assert told == [(number, len(told)) for number in range(1, len(told) + 1)]
    rows = np.array(LIES)
    assert turn_error(take.motion(), tiny_motion, rows) < 0.8 * turn_error(before, tiny_motion, rows)


def test_landmarks_that_do_not_lie_are_still_met(tiny_take: Take, open_head: Head, tmp_path):
    take = Take.open(shutil.copytree(tiny_take.path, tmp_path / "take"))
    exact = TrackingConfig(detector_habits=False)
    track(take, open_head, config=exact)
    settings = TrainConfig(
        gaussians=2500,
        torso_gaussians=300,
        components=4,
        closed=False,
        steps=120,
        feature_weight=0.0,
        close_pinholes=False,
    )
    avatar = fit_avatar(take, open_head, settings, threads=1)
    report = align_take(take, avatar, tracking=exact)
    # Half a per cent of the distance of the eye corners is a tenth of a pixel here.
    assert report["reprojection_iod_median"] < 0.005


def test_an_aligned_take_is_still_the_same_to_train_on(aligned, tiny_gaussians: GaussianHead, tmp_path):
    _, key, first = aligned
    take = Take.open(shutil.copytree(first.path, tmp_path / "take"))
    assert tracked_motion(take) == key
    # Again, and stopped in the middle of it.
    with pytest.raises(KeyboardInterrupt), restartable(take, ALIGNMENT):
        align_take(take, tiny_gaussians, config=replace(SMALL, sweeps=1))
        raise KeyboardInterrupt
    assert tracked_motion(take) == key
    # Another motion is another take.
    take = Take.open(shutil.copytree(first.path, tmp_path / "other"))
    take.write_motion(replace(take.motion(), eyelids=take.motion().eyelids + 0.1), focal=take.info.focal)
    assert tracked_motion(take) != key


def test_only_what_this_tracker_refined_is_aligned(aligned, tiny_take: Take):
    assert not can_align(tiny_take) and ALIGNMENT in aligned[2].info.stages


def test_pictures_as_they_were_learnt_stand_for_the_frames(
    tiny_take: Take, open_head: Head, tiny_gaussians: GaussianHead, tmp_path
):
    found = []
    for painted in (False, True):
        take = Take.open(shutil.copytree(tiny_take.path, tmp_path / str(painted)))
        track(take, open_head, config=TrackingConfig(shared_steps=60))
        pictures = [take.image(index)[::-1] // 2 for index in range(len(take))]
        for index, picture in enumerate(pictures if painted else ()):
            take.write_image(index, picture)
        given = None if painted else pictures.__getitem__
        align_take(take, tiny_gaussians, config=replace(SMALL, sweeps=1), pictures=given)
        found.append(take.motion())
    assert np.array_equal(found[0].pose, found[1].pose) and np.array_equal(found[0].expression, found[1].expression)
