"""The measure of the safe view cone."""

import numpy as np
import pytest

from avatar.fields.gaussian_head import GaussianHead
from avatar.fields.survey import take_camera
from avatar.io.take import Take
from avatar.render.shots import head_centers
from avatar.render.trajectories import around
from avatar.train.view_cone import clearest_views, guessed_share, safe_view_cone


@pytest.fixture(scope="module")
def clearest(tiny_take: Take, tiny_gaussians: GaussianHead) -> np.ndarray:
    return clearest_views(tiny_take, tiny_gaussians)


def test_the_face_is_shown_clearly_and_the_back_of_the_head_never(
    clearest: np.ndarray, tiny_gaussians: GaussianHead
) -> None:
    head = tiny_gaussians.head
    rest = head(betas=tiny_gaussians.betas[None])[0].numpy()[head.faces.numpy()]
    normals = np.cross(rest[:, 1] - rest[:, 0], rest[:, 2] - rest[:, 0])
    facing = normals[:, 2] / np.linalg.norm(normals, axis=1)
    start, stop = head.parts["skin"]
    skin = ((head.faces.numpy() >= start) & (head.faces.numpy() < stop)).all(1)
    z = rest.mean(1)[:, 2]
    assert np.median(clearest[skin & (facing > 0.9) & (z > 0.03)]) > 0.9
    assert clearest[skin & (facing < -0.7) & (z < -0.1)].max() < 0.2


def test_more_is_guessed_from_the_side_and_all_from_behind(
    clearest: np.ndarray, tiny_take: Take, tiny_gaussians: GaussianHead
) -> None:
    pose = tiny_gaussians.poses(tiny_take.motion())[0]
    center, camera = head_centers(tiny_gaussians, [pose])[0], take_camera(tiny_take)
    shares = [
        guessed_share(tiny_gaussians, pose, around(camera, center, yaw=yaw, pitch=0), clearest)
        for yaw in (0, 45, 90, 180)
    ]
    assert shares == sorted(shares) and shares[0] < 0.25 and shares[-1] > 0.8


def test_the_cone_ends_where_holes_begin(tiny_take: Take, tiny_gaussians: GaussianHead) -> None:
    whole = safe_view_cone(tiny_take, tiny_gaussians)
    assert -90 < whole.yaw[0] <= -15 and 15 <= whole.yaw[1] < 90
    head = tiny_gaussians.head
    place = head(betas=tiny_gaussians.betas[None])[0][head.faces[tiny_gaussians.triangles]].mean(1)
    torn = safe_view_cone(tiny_take, tiny_gaussians.subset((place[:, 0] < 0.04) | (place[:, 2] > 0.01)))
    assert torn.yaw[1] < whole.yaw[1] and torn.yaw[0] <= -10
