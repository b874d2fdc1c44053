"""The second layer: what a view from the side sees through the gaps of the first."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from avatar.cameras import Camera
from avatar.fields.gaussian_head import REGIONS
from avatar.fields.sampling import IRISES, LIPS, Sampling, ears, initial_head, inside_mouth, landmark_points
from avatar.fields.survey import Survey, survey, take_camera
from avatar.fields.underlay import EAR, FACE, FROM_EYES, FROM_LIPS, LARGEST_SHARE, Underlay, underlay
from avatar.heads import Head
from avatar.io.take import Take
from avatar.render.playback import render_pose

CONFIG = Sampling(gaussians=6000, torso_gaussians=200)


@pytest.fixture(scope="module")
def surveyed(tiny_take: Take, open_head: Head) -> Survey:
    return survey(tiny_take, open_head, tiny_take.motion(), tiny_take.split()["train"])


def laid(seen: Survey, head: Head, budget: int) -> Underlay:
    marks = landmark_points(head, seen.rest)
    openings = {"lips": marks[LIPS], "eyes": marks[list(IRISES)]}
    surface = seen.shown & ~inside_mouth(head)
    return underlay(seen, surface, ears(head), **openings, budget=budget, generator=np.random.default_rng(0))


def test_the_layer_keeps_away_from_mouth_and_eyes(surveyed: Survey, open_head: Head) -> None:
    layer, marks = laid(surveyed, open_head, 100000), landmark_points(open_head, surveyed.rest)
    places = surveyed.centroids[layer.triangles]
    for opening, room in ((marks[LIPS], FROM_LIPS), (marks[list(IRISES)], FROM_EYES)):
        assert np.linalg.norm(places[:, None] - opening, axis=2).min() > room


def test_the_layer_is_even_and_finer_on_ears(surveyed: Survey, open_head: Head) -> None:
    layer = laid(surveyed, open_head, 100000)
    of_ear = ears(open_head)[layer.triangles]
    assert of_ear.any() and (layer.depth == np.where(of_ear, EAR.depth, FACE.depth)).all()
    assert (layer.spread == np.where(of_ear, EAR.spread, FACE.spread)).all()
    for kind, chosen in ((EAR, layer.triangles[of_ear]), (FACE, layer.triangles[~of_ear])):
        counts = np.bincount(chosen, minlength=len(surveyed.areas))
        assert (counts <= surveyed.areas / kind.spacing**2 * 1.2 + 2).all()


def test_a_small_budget_is_not_spent_on_the_layer(surveyed: Survey, open_head: Head) -> None:
    assert 0.1 * 1000 < len(laid(surveyed, open_head, 1000)) <= LARGEST_SHARE * 1000


def turned(camera: Camera, center: np.ndarray, degrees: float) -> Camera:
    """The camera, moved on a circle around a point."""
    angle = np.radians(degrees)
    turn = np.array([[np.cos(angle), 0, np.sin(angle)], [0, 1, 0], [-np.sin(angle), 0, np.cos(angle)]])
    around = np.eye(4)
    around[:3, :3], around[:3, 3] = turn, center - turn @ center
    return replace(camera, viewmat=camera.viewmat @ around)


def test_gaps_of_the_skin_do_not_show_the_inside_of_the_mouth(tiny_take: Take, open_head: Head) -> None:
    """Four of five Gaussians of the skin are gone, the mouth is green: from the side little of it is to be seen."""

    def green_seen(config: Sampling) -> float:
        train = tiny_take.split()["train"]
        gaussians = initial_head(tiny_take, open_head, tiny_take.motion(), train, config)
        skin, mouth = (gaussians.regions == REGIONS.index(name) for name in ("skin", "mouth"))
        gaussians = gaussians.requires_grad_(False)
        gaussians.opacity_logits[:] = torch.where(skin & (torch.arange(len(skin)) % 5 > 0), -9.0, 3.0)
        gaussians.color_logits[:] = torch.where(mouth, -4.0, 4.0)[:, None] * torch.tensor([1.0, -1.0, 1.0])
        pose = gaussians.poses(tiny_take.motion()[:1])[0]
        center = gaussians.vertices(pose)[: len(open_head.v_template)].mean(0).numpy()
        picture = render_pose(gaussians, pose, turned(take_camera(tiny_take), center, 30), threads=1).image
        return float((picture[..., 1] - picture[..., 0]).clamp_min(0).sum())

    assert green_seen(CONFIG) < 0.5 * green_seen(replace(CONFIG, closed=False))
