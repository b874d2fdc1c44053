"""The torso's surface: a closed bust around the neck of a take whose truth is known, and the Gaussians on it."""

import numpy as np
import pytest
import torch

from avatar.fields.bust import STANDS_OUT, BustOutline, Neck, back_depth, bust_surface, disc_reach, front_depth, quads
from avatar.fields.gaussian_head import REGIONS, GaussianHead
from avatar.fields.lining import RISE, collar_lining
from avatar.fields.sampling import UNSEEN_TORSO_DEPTH, Sampling, densities, initial_head
from avatar.fields.survey import Survey, project, survey, take_camera
from avatar.fields.torso import EMPTY, Torso, torso_surface
from avatar.heads import Head
from avatar.io.take import Take
from avatar.motion import Motion

COLLAR = -0.13
NECK = Neck(
    np.array([-0.15, -0.09]), np.array([-0.02, -0.02]), np.array([-0.1, -0.1]), height=-0.09, center=-0.06, width=0.06
)
EYE = np.array([0.0, 0.0, 0.8])


@pytest.fixture(scope="module")
def surveyed(tiny_take: Take, open_head: Head) -> Survey:
    return survey(tiny_take, open_head, tiny_take.motion(), tiny_take.split()["train"])


@pytest.fixture(scope="module")
def torso(surveyed: Survey, tiny_take: Take, open_head: Head, tiny_motion: Motion) -> Torso:
    return torso_surface(tiny_take, open_head, tiny_motion, surveyed, tiny_take.split()["train"])


@pytest.fixture(scope="module")
def started(tiny_take: Take, open_head: Head, tiny_motion: Motion) -> GaussianHead:
    config = Sampling(gaussians=3000, torso_gaussians=400, components=2)
    return initial_head(tiny_take, open_head, tiny_motion, tiny_take.split()["train"], config)


def outline(*, leaves: tuple[bool, bool] = (True, True)) -> BustOutline:
    """Shoulders that fall to both sides from a collar with a deep opening in front."""
    x = np.linspace(-0.16, 0.16, 54)
    top = -0.08 - 0.2 * np.abs(x) - 0.05 * np.maximum(1 - np.abs(x) / 0.06, 0)
    return BustOutline.of(x, top, -0.22, NECK, eye=EYE, leaves=leaves)


def test_the_front_covers_the_shirt(torso: Torso, tiny_take: Take, tiny_motion: Motion) -> None:
    shown = torso.faces[torso.shown]
    assert len(shown) > 50 and len(torso.colors) == len(torso.faces) == len(torso.shown) == len(torso.room)
    assert torso.faces.min() == 0 and torso.faces.max() == len(torso.vertices) - 1
    assert torso.vertices[:, 1].max() < COLLAR + 0.05
    assert (torso.colors >= 0).all() and (torso.colors <= 1).all()
    assert torso.colors[:, 2].mean() > torso.colors[:, 0].mean() + 0.2
    # It hangs on the root, so in the first frame it lies over the shirt's pixels.
    pixels, _ = project(torso.vertices[shown].mean(1) + tiny_motion.transl[0], take_camera(tiny_take))
    column, row = np.floor(pixels).astype(int).T
    inside = (column >= 0) & (column < 80) & (row >= 0) & (row < 80)
    assert (tiny_take.parts(0)[row[inside], column[inside]] == 2).mean() > 0.7


def test_a_take_without_clothes_has_no_torso(
    surveyed: Survey, take_copy: Take, open_head: Head, tiny_motion: Motion
) -> None:
    for index in range(len(take_copy)):
        take_copy.write_parts(index, np.minimum(take_copy.parts(index), 1))
    bare = torso_surface(take_copy, open_head, tiny_motion, surveyed, take_copy.split()["train"])
    assert not len(bare.faces) and not bare.within_collar(surveyed.centroids, depth=0.03).any()


def test_the_bust_is_closed_but_for_the_collar_and_faces_outwards() -> None:
    surface = bust_surface(outline(), NECK)
    edges = np.concatenate([surface.faces[:, [i, (i + 1) % 3]] for i in range(3)])
    directed, count = np.unique(edges, axis=0, return_counts=True)
    assert (count == 1).all(), "two neighbours wind against each other"
    known = {tuple(edge) for edge in directed}
    open_ends = np.array([edge for edge in known if edge[::-1] not in known])
    rim = surface.vertices[open_ends].mean(1)
    assert len(rim) > 10 and np.abs(rim[:, 0]).max() < 0.08 and rim[:, 1].min() > -0.14
    a, b, c = (surface.vertices[surface.faces[:, k]] for k in range(3))
    normals, middle = np.cross(b - a, c - a), (a + b + c) / 3
    assert (normals[surface.front, 2] > 0).all()
    # The signed volume of what faces outwards is positive.
    assert (normals * (middle - [0, -0.16, -0.06])).sum() / 6 > 1e-3


def test_the_surface_is_alike_on_both_sides_and_encloses_the_neck() -> None:
    x = np.linspace(-0.15, 0.15, 31)
    y = np.full(31, -0.15)
    front, back = front_depth(x, y, NECK), back_depth(x, y, outline(), NECK)
    assert np.allclose(front, front[::-1]) and np.allclose(back, back[::-1], atol=1e-6)
    assert (np.diff(front[15:]) < 0).all()
    assert (front - back > 0.03).all()
    across = np.abs(x) < NECK.width
    assert (front[across] > NECK.front_at(x, y)[across]).all()
    assert (back[across] < NECK.back_at(x, y)[across]).all()


def test_shoulders_go_on_beyond_the_picture_only_where_they_leave_it() -> None:
    whole, cut = outline(), outline(leaves=(False, True))
    assert whole.x[0] == pytest.approx(-0.21, abs=0.01) and whole.x[-1] == pytest.approx(0.21, abs=0.01)
    assert cut.x[0] == pytest.approx(-0.16) and cut.x[-1] == pytest.approx(0.21, abs=0.01)
    assert whole.front[0] < whole.front_at(np.array([-0.16]))[0] - 0.04
    assert whole.opening == pytest.approx((-0.06, 0.06), abs=0.01)


def test_from_the_camera_nothing_looks_out_behind_the_shoulders() -> None:
    surface, shape = bust_surface(outline(), NECK), outline()
    seen = surface.vertices - EYE
    across, up = seen[:, 0] / -seen[:, 2], seen[:, 1] / -seen[:, 2]
    rim = np.stack([shape.x, shape.front, front_depth(shape.x, shape.front, NECK)], 1) - EYE
    order = np.argsort(rim[:, 0] / -rim[:, 2])
    line = np.interp(across, (rim[:, 0] / -rim[:, 2])[order], (rim[:, 1] / -rim[:, 2])[order])
    beside = (np.abs(surface.vertices[:, 0]) > 0.08) & (np.abs(surface.vertices[:, 0]) < 0.16)
    assert (up[beside] <= line[beside] + 2e-3).all()


def test_the_neck_goes_on_within_the_collar_and_nothing_shows_through(
    torso: Torso, surveyed: Survey, open_head: Head
) -> None:
    without, _ = densities(open_head, surveyed, 1.0, EMPTY)
    weight, region = densities(open_head, surveyed, 1.0, torso)
    added = (weight > 0) & (without == 0)
    assert added.sum() > 20
    assert (region[added] == REGIONS.index("unseen")).mean() > 0.7
    assert torso.outline is not None
    x, y, _ = surveyed.centroids[added].T
    assert (x > torso.outline.opening[0]).all() and (x < torso.outline.opening[1]).all()
    assert (y > np.minimum(torso.outline.front_at(x), torso.outline.back_at(x)) - 0.031).all()
    bare = surveyed.labels[:, 1] > surveyed.labels[:, 2]
    assert not weight[torso.bares(surveyed.centroids) & ~bare & (surveyed.labels[:, 0] == 0)].any()


def test_what_of_the_torso_no_frame_shows_starts_opaque_and_within_its_bounds(
    started: GaussianHead, torso: Torso
) -> None:
    on_torso = started.triangles >= len(started.head.faces)
    unseen = on_torso & (started.regions == REGIONS.index("unseen"))
    shown = on_torso & (started.regions == REGIONS.index("torso"))
    assert int(on_torso.sum()) == 400 and unseen.sum() > 100 and shown.sum() > 100
    assert started.opacity_logits[unseen].sigmoid().min() > 0.9
    triangles = started.triangles[unseen] - len(started.head.faces)
    room = torch.as_tensor(torso.room[triangles.numpy()], dtype=torch.float32)
    assert (started.log_scales[unseen].exp().amax(1) <= room / 1.39).all()
    assert not started.offsets[shown].any()
    beside = torch.as_tensor(torso.beside_neck[triangles.numpy()], dtype=torch.float32)
    torch.testing.assert_close(started.offsets[unseen, 1], -UNSEEN_TORSO_DEPTH * beside)
    assert 0 < beside.sum() < len(beside)


def test_a_disc_reaches_as_far_as_the_rounding_beneath_it_lets_it() -> None:
    radius, (turn, along) = 0.05, np.meshgrid(np.linspace(-1.5, 1.5, 41), np.arange(-0.06, 0.06, 4e-3))
    tube = np.stack([radius * np.sin(turn), along, radius * np.cos(turn)], -1).reshape(-1, 3)
    faces = quads(np.arange(turn.size).reshape(turn.shape)[::-1])
    middle = tube[faces].mean(1)
    inner = (np.abs(middle[:, 1]) < 0.02) & (middle[:, 2] > 0.03)
    reach = disc_reach(tube[faces])[inner]
    # A tangent of length r ends (r^2 + radius^2)^(1/2) - radius above a tube.
    exact = np.sqrt((radius + STANDS_OUT) ** 2 - radius**2)
    assert (np.abs(reach - exact) < 4e-3).all()
    # From within, nothing of the tube is in the way of a disc.
    assert (disc_reach(tube[faces[:, ::-1]])[inner] > 0.03).all()
    assert (disc_reach((tube * [1, 1, 0])[faces])[inner] > 0.03).all()


def test_the_collar_is_lined_at_its_sides_within_the_clothes() -> None:
    shape = outline()
    lining = collar_lining(shape, NECK)
    corners = lining.vertices[lining.faces]
    x, y, z = middle = corners.mean(1).T
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    assert (normals[:, 0] * -x + normals[:, 2] * (NECK.center - z) > 0).all(), "it does not face the neck"
    assert (z < front_depth(x, y, NECK)).all() and (z > back_depth(x, y, shape, NECK)).all()
    above = y - np.maximum(shape.front_at(x), shape.back_at(x))
    assert 0 < above.max() < RISE < 0.01
    assert (x > shape.opening[0]).all() and (x < shape.opening[1]).all() and middle.shape[1] > 50
    # A line of sight from the front and 30 degrees aside, past the neck, ends on it.
    for side in (-1, 1):
        on = np.flatnonzero(np.sign(x) == side)
        direction = np.array([side * np.sin(np.radians(30)), 0, -np.cos(np.radians(30))])
        target = np.array([0.9 * side * NECK.width, shape.front_at(np.array([0.9 * side * NECK.width]))[0] - 0.02])
        assert _hit(corners[on], np.array([target[0], target[1], NECK.center]) - 0.1 * direction, direction)


def _hit(corners: np.ndarray, start: np.ndarray, direction: np.ndarray) -> bool:
    """Whether a ray meets one of the triangles (Moeller and Trumbore)."""
    a, b, c = corners.transpose(1, 0, 2)
    across = np.cross(direction, c - a)
    scale = ((b - a) * across).sum(1)
    u = ((start - a) * across).sum(1) / scale
    v = (np.cross(start - a, b - a) @ direction) / scale
    return bool(((u >= 0) & (v >= 0) & (u + v <= 1)).any())


def test_the_back_is_coloured_like_the_shoulders(torso: Torso) -> None:
    behind = torso.vertices[torso.faces].mean(1)[:, 2] < -0.1
    assert behind.sum() > 100
    assert (torso.colors[behind, 2] > torso.colors[behind, 0] + 0.1).all()


def test_one_shoulder_alone_makes_no_bust(
    surveyed: Survey, take_copy: Take, open_head: Head, tiny_motion: Motion
) -> None:
    for index in range(len(take_copy)):
        parts = take_copy.parts(index).copy()
        parts[:, 34:][parts[:, 34:] == 2] = 0
        take_copy.write_parts(index, parts)
    assert not len(torso_surface(take_copy, open_head, tiny_motion, surveyed, take_copy.split()["train"]).faces)
