"""Alignment of a take's motion with a finished avatar, on a take whose motion is known."""

import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from mistracking import LIES, mistracked, turn_error

from avatar.fields.gaussian_head import GaussianHead
from avatar.heads import Head
from avatar.io.aligned import ALIGNMENT, tracked_motion
from avatar.io.restart import restartable
from avatar.io.take import Take
from avatar.motion import Motion
from avatar.preprocess.alignment import AlignmentConfig, align_take, can_align
from avatar.preprocess.refinement_config import RefinementConfig
from avatar.preprocess.tracking import track

SMALL = AlignmentConfig(landmarks=0.01, refinement=RefinementConfig(key_frames=3, photometric=2e4, threads=1))


def of_subject(gaussians: GaussianHead, betas: torch.Tensor) -> GaussianHead:
    """The same Gaussians on a head of another shape."""
    result = GaussianHead(
        gaussians.head,
        betas,
        gaussians.torso_vertices,
        gaussians.torso_faces,
        gaussians.condition,
        triangles=gaussians.triangles,
        barycentric=gaussians.barycentric,
        regions=gaussians.regions,
    )
    result.load_state_dict(gaussians.state_dict() | {"betas": betas}, strict=False)
    return result.requires_grad_(False)


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


def test_landmarks_that_do_not_lie_are_still_met(tiny_take: Take, open_head: Head, tiny_gaussians, tmp_path):
    take = Take.open(shutil.copytree(tiny_take.path, tmp_path / "take"))
    tracked = track(take, open_head)
    avatar = of_subject(tiny_gaussians, torch.as_tensor(take.motion().betas))
    report = align_take(take, avatar, config=replace(SMALL, landmarks=2.0, sweeps=1))
    assert report["reprojection_iod_median"] < tracked["reprojection_iod_median"] + 0.002


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
