"""The survey of a take whose truth is known, and where Gaussians start on what it shows."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from avatar.errors import InputError
from avatar.fields.gaussian_head import REGIONS
from avatar.fields.sampling import Sampling, densities, ears, initial_head, inside_mouth, triangle_parts
from avatar.fields.survey import Survey, posed_vertices, project, survey, take_camera
from avatar.fields.torso import torso_surface
from avatar.heads import Head
from avatar.io.take import Take
from avatar.motion import Motion
from avatar.train.limits import seen_limits

COLLAR = -0.13


@pytest.fixture(scope="module")
def surveyed(tiny_take: Take, open_head: Head) -> Survey:
    return survey(tiny_take, open_head, tiny_take.motion(), tiny_take.split()["train"])


def test_the_camera_sees_the_landmarks_where_the_take_has_them(
    tiny_take: Take, open_head: Head, tiny_motion: Motion
) -> None:
    vertices = posed_vertices(open_head, tiny_motion, 4)
    points = open_head.landmark_positions(torch.as_tensor(vertices)[None])[0].numpy()
    pixels, depth = project(points, take_camera(tiny_take))
    assert np.allclose(pixels, tiny_take.perception()["landmarks"][4, :, :2], atol=1e-3)
    assert (depth > 0.5).all()


def test_triangles_are_labelled_by_what_covers_them(surveyed: Survey, open_head: Head) -> None:
    assert surveyed.labels.shape == (len(open_head.faces), 3)
    y = surveyed.centroids[:, 1]
    front = (surveyed.facing > 0.4) & (surveyed.labels.sum(1) > 10)
    head, shirt = front & (y > COLLAR + 0.03) & (y < 0.1), front & (y < COLLAR - 0.02)
    assert head.sum() > 500 and shirt.sum() > 20
    assert (surveyed.labels[head].argmax(1) == 1).mean() > 0.98
    assert (surveyed.labels[shirt].argmax(1) == 2).mean() > 0.98


def test_colours_are_those_of_the_frames_and_nan_where_unseen(surveyed: Survey) -> None:
    front = surveyed.facing > 0.7
    y = surveyed.centroids[:, 1]
    skin = surveyed.colors[front & (np.abs(y) < 0.05)]
    shirt = surveyed.colors[front & (y < COLLAR - 0.03)]
    assert np.nanmean(skin[:, 0]) > np.nanmean(skin[:, 2]) + 0.1
    assert np.nanmean(shirt[:, 2]) > np.nanmean(shirt[:, 0]) + 0.2
    unseen = surveyed.labels[:, 1:].sum(1) == 0
    assert unseen.any()
    assert np.isnan(surveyed.colors[unseen]).all() and np.isfinite(surveyed.colors[~unseen]).all()


def test_what_turns_away_or_lies_behind_something_is_not_shown(surveyed: Survey, open_head: Head) -> None:
    parts = triangle_parts(open_head)
    assert surveyed.shown[parts["skin"] & (surveyed.facing > 0.7) & (surveyed.centroids[:, 1] > -0.05)].mean() > 0.7
    back = parts["skin"] & (surveyed.facing < -0.7) & (surveyed.centroids[:, 2] < 0)
    assert not surveyed.shown[back].any()
    # The tongue lies behind the teeth and the lips.
    assert surveyed.shown[parts["tongue"] & (surveyed.facing > 0.5)].mean() < 0.5


def test_the_unseen_back_starts_closed_thin_and_in_the_colour_of_the_hair(
    tiny_take: Take, open_head: Head, tiny_motion: Motion
) -> None:
    config = Sampling(gaussians=4000, torso_gaussians=100)
    result = initial_head(tiny_take, open_head, tiny_motion, tiny_take.split()["train"], config)
    unseen = result.regions == REGIONS.index("unseen")
    place = result(result.poses(tiny_motion[:1])[0]).means - torch.as_tensor(tiny_motion.transl[0])
    skull = unseen & (place[:, 1] > 0.02)
    assert skull.sum() > 50
    assert result.opacity_logits[unseen].sigmoid().min() > 0.9
    assert result.log_scales[unseen, 1].exp().max() < 1e-3 < result.log_scales[unseen, 0].exp().median()
    # The tiny person's hair is dark, the skin is not.
    assert result.color_logits[skull].sigmoid().mean() < 0.36


def test_a_side_that_no_frame_shows_is_like_the_other(
    tiny_take: Take, open_head: Head, surveyed: Survey, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The subject's right is unseen, and the left is red in front and blue towards the ear."""
    right, z = surveyed.centroids[:, 0] < 0, surveyed.centroids[:, 2]
    front = np.clip((z - np.percentile(z, 30)) / np.ptp(z[surveyed.shown]), 0, 1)
    colors = np.where(right[:, None], np.nan, np.stack([0.2 + 0.6 * front, 0.4 + 0 * front, 0.8 - 0.6 * front], 1))
    labels, shown = surveyed.labels * ~right[:, None], surveyed.shown & ~right
    half = replace(surveyed, colors=colors, labels=labels, shown=shown)
    monkeypatch.setattr("avatar.fields.sampling.survey", lambda *_: half)
    start = initial_head(tiny_take, open_head, tiny_take.motion(), tiny_take.split()["train"], Sampling(6000, 100))
    skin = ((start.regions == REGIONS.index("skin")) & (start.triangles < len(open_head.faces))).numpy()
    triangles = start.triangles.numpy()[skin]
    found, place = start.color_logits.detach().sigmoid().numpy()[skin], surveyed.centroids[triangles]
    for side in (place[:, 0] < -0.01, place[:, 0] > 0.01):
        near = side & (np.abs(place[:, 1]) < 0.06)
        assert near.sum() > 100
        assert np.abs(found[near, 0] - (0.2 + 0.6 * front[triangles[near]])).mean() < 0.04


def test_areas_are_those_of_the_mesh(surveyed: Survey, open_head: Head) -> None:
    assert surveyed.areas.min() >= 0
    assert surveyed.areas[: len(open_head.faces)].sum() == pytest.approx(0.3, rel=0.7)
    assert np.abs(surveyed.facing).max() <= 1 + 1e-6


def test_a_take_without_bare_skin_is_refused(
    surveyed: Survey, tiny_take: Take, open_head: Head, tiny_motion: Motion
) -> None:
    covered = replace(surveyed, labels=surveyed.labels[:, [0, 2, 1]] * [1, 0, 1])
    with pytest.raises(InputError, match="too little of the head"):
        densities(open_head, covered, 1.0)
    with pytest.raises(InputError, match="too little of the head"):
        torso_surface(tiny_take, open_head, tiny_motion, covered, tiny_take.split()["train"])


def test_limits_are_the_angles_of_the_training_frames(tiny_take: Take, tiny_motion: Motion) -> None:
    limits = seen_limits(tiny_take)
    assert set(limits) == {"yaw", "pitch", "roll"}
    assert all(low < high for low, high in limits.values())
    yaw = np.degrees(tiny_motion.neck_pose[:27, 1] + tiny_motion.global_orient[:27, 1])
    assert limits["yaw"] == pytest.approx((yaw.min(), yaw.max()), abs=3)


def test_the_mouth_is_dark_inside_where_no_frame_shows_it(
    tiny_take: Take, open_head: Head, tiny_motion: Motion, surveyed: Survey
) -> None:
    lining = inside_mouth(open_head) & ~surveyed.shown
    weight, region = densities(open_head, surveyed, 3.0)
    assert lining.any() and (region[lining & (weight > 0)] == REGIONS.index("mouth")).mean() > 0.9
    lips = np.abs(surveyed.centroids - surveyed.centroids[lining].mean(0)).max(1) < 0.05
    outside = lips & ~inside_mouth(open_head) & triangle_parts(open_head)["skin"] & surveyed.shown
    per_area = weight / surveyed.areas
    assert per_area[lining].max() < per_area[outside].max() / 3
    start = initial_head(tiny_take, open_head, tiny_motion, tiny_take.split()["train"], Sampling(4000, 100))
    on_head = start.triangles < len(open_head.faces)
    dark, bright = (
        start.color_logits[on_head][torch.as_tensor(mask)[start.triangles[on_head]]].sigmoid().mean()
        for mask in (lining, outside)
    )
    assert dark < bright / 2


def test_ears_are_at_the_sides_of_the_head(open_head: Head) -> None:
    centers = open_head.v_template.numpy()[open_head.faces.numpy()].mean(1)
    found = centers[ears(open_head)]
    assert len(found) > 500 and (np.abs(found[:, 0]) > 0.05).all()
    assert 0.3 < (found[:, 0] > 0).mean() < 0.7
