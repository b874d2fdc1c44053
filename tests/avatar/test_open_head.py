"""What the shipped head promises: sizes, signs, closing lids, rigid teeth, and that a rebuild gives it again."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch

from avatar.assets import asset
from avatar.heads import Head, load_head, read_head, rotation_matrices

torch.set_num_threads(1)


@pytest.fixture(scope="module")
def head() -> Head:
    return load_head("open")


@pytest.fixture(scope="module")
def identities(head: Head) -> torch.Tensor:
    return torch.randn((6, head.shapedirs.shape[-1]), generator=torch.Generator().manual_seed(0))


def test_file_is_small_and_whole(head):
    assert asset("open_head.npz").stat().st_size < 6e6
    assert asset("open_head.LICENSE.txt").is_file()
    layout = read_head(asset("open_head.npz"))
    assert layout.licence == "CC0-1.0"
    assert layout.lmk478 is not None and layout.lmk68 is not None
    assert 7000 < len(head.v_template) < 8500 and head.shapedirs.shape[-1] == 100
    ranges = sorted(head.parts.values())
    assert ranges[0][0] == 0 and ranges[-1][1] == len(head.v_template)
    assert all(a[1] == b[0] for a, b in pairwise(ranges))


def test_skin_has_one_clean_edge_at_the_chest(head):
    faces = head.faces.numpy()
    faces = faces[faces[:, 0] < head.parts["skin"][1]]
    sides = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    _, where, count = np.unique(np.sort(sides, axis=1), axis=0, return_index=True, return_counts=True)
    assert count.max() == 2
    edge = sides[where[count == 1]]
    following = dict(edge.tolist())
    assert len(following) == len(edge)
    start = here = int(edge[0, 0])
    length = 0
    while length <= len(edge):
        here, length = following[here], length + 1
        if here == start:
            break
    assert length == len(edge)
    # The loop is the bust's lower end, not a hole in the face.
    assert head.v_template[edge.ravel(), 1].max() < -0.1


def test_triangles_face_outwards(head):
    corners = head.v_template[head.faces].double().numpy()
    for part in ("eye_l", "eye_r"):
        start, stop = head.parts[part]
        own = (head.faces[:, 0] >= start).numpy() & (head.faces[:, 0] < stop).numpy()
        ball = corners[own] - head.v_template[start:stop].double().numpy().mean(axis=0)
        volume = np.linalg.det(ball)
        assert (volume > 0).all(), part


def test_texture_sheet_is_used(head):
    uv = head.uv.numpy()
    assert uv.min() >= 0 and uv.max() <= 1
    skin = uv[head.faces[:, 0].numpy() < head.parts["skin"][1]]
    one, other = skin[:, 1] - skin[:, 0], skin[:, 2] - skin[:, 0]
    area = 0.5 * np.abs(one[:, 0] * other[:, 1] - one[:, 1] * other[:, 0]).sum()
    assert area > 0.4


def test_eyeballs_keep_their_iris_for_every_identity(head, identities):
    vertices = head(betas=identities)
    for part, joint in (("eye_l", 3), ("eye_r", 4)):
        start, stop = head.parts[part]
        rest = head.v_template[start:stop] - head.joints()[0, joint]
        polar = torch.atan2(rest[:, :2].norm(dim=1), rest[:, 2])
        rim = torch.isclose(polar, torch.tensor(head.iris_angle), atol=2e-3)
        assert rim.sum() == 32
        for person in vertices:
            ring = person[start:stop][rim]
            width = (ring[:, None] - ring[None]).norm(dim=-1).max()
            assert width.item() == pytest.approx(0.0118, abs=1.5e-4)


def test_eyes_turn_about_their_own_centre(head, identities):
    """The distance from the eye's joint to its ball's vertices does not change when the eye turns."""
    pose = torch.zeros(1, 5, 3)
    pose[0, 3] = torch.tensor([0.2, 0.3, 0.0])
    start, stop = head.parts["eye_l"]
    joint = head.joints(identities)[:, 3:4]
    before = (head(betas=identities)[:, start:stop] - joint).norm(dim=-1)
    after = (head(betas=identities, pose=pose)[:, start:stop] - joint).norm(dim=-1)
    torch.testing.assert_close(before, after, atol=1e-5, rtol=0)
    # The joint is the sphere's centre: the back of the ball is equally far everywhere.
    back = head.v_template[start:stop, 2] < head.joints()[0, 3, 2] - 0.004
    assert (before[:, back].std(dim=1) < 2e-4).all()


def test_lower_teeth_follow_the_jaw_rigidly(head, identities):
    pose = torch.zeros(1, 5, 3)
    pose[0, 2, 0] = head.jaw_open_angle
    start, stop = head.parts["teeth_lower"]
    joint = head.joints(identities)[:, 2:3]
    rest = head(betas=identities)[:, start:stop]
    turned = (rest - joint) @ rotation_matrices(pose[0, 2]).T + joint
    torch.testing.assert_close(head(betas=identities, pose=pose)[:, start:stop], turned, atol=1e-6, rtol=0)


def test_jaw_joint_lies_before_the_ears(head):
    x, y, z = head.joints()[0, 2].tolist()
    assert abs(x) < 1e-4
    eye = head.joints()[0, 3]
    assert 0.03 < eye[1].item() - y < 0.07
    assert 0.03 < eye[2].item() - z < 0.08


@pytest.mark.parametrize("side", [0, 1])
def test_blink_closes_its_own_eye_only(head, side):
    pytest.importorskip("embreex", reason="ray casting is in the dev extra and only for x86")
    from avatar.heads.build.lids import visible_area

    faces = head.faces.numpy()
    start, stop = head.parts["lashes"]
    bare = faces[(faces[:, 0] < start) | (faces[:, 0] >= stop)]
    balls = [head.parts["eye_l"], head.parts["eye_r"]]
    eyelids = torch.zeros(1, 2)
    eyelids[0, side] = 1
    areas = {}
    for name, given in (("open", torch.zeros(1, 2)), ("shut", eyelids)):
        vertices = head(eyelids=given)[0].numpy()
        areas[name] = [visible_area(bare, vertices, ball) for ball in balls]
    # Square millimetres; 0.2 is a slit of a hundredth of a millimetre along the lid.
    assert areas["open"][side] > 100
    assert areas["shut"][side] < 0.5
    assert areas["shut"][1 - side] == pytest.approx(areas["open"][1 - side])


def test_closed_lids_meet_along_the_whole_eye(head):
    from avatar.preprocess._mesh_regions import LEFT_EYE, RIGHT_EYE, facing

    # The landmarks lie near the lids' edges, not on them.
    for eye in (LEFT_EYE, RIGHT_EYE):
        lower, upper = facing(eye).T
        points = head.landmark_positions(head(eyelids=torch.ones(1, 2)))[0]
        assert (points[upper, 1] - points[lower, 1]).abs().max() < 1e-3


def test_half_closed_lid_covers_the_upper_half(head):
    """The lids come from above: at half closure the lower half of the eye is what is left to see."""
    move = head.eyelid_dirs[: head.parts["skin"][1]]
    downwards = move[:, 1].sum(dim=0)
    upper = move[:, 1].min(dim=0).values
    assert (downwards < 0).all() and (upper < -0.006).all() and (upper > -0.012).all()


def test_landmarks_lie_where_anatomy_says(head):
    points = head.landmark_positions(head())[0]
    left, right = head.joints()[0, 3], head.joints()[0, 4]
    # 468 is the subject's right iris, at negative x.
    assert (points[468] - right).norm() < 0.018 and points[468, 0] < 0
    assert (points[473] - left).norm() < 0.018 and points[473, 0] > 0
    nose, chin, forehead = points[1], points[152], points[10]
    assert nose[2] > points[:468, 2].quantile(0.99)
    assert chin[1] < points[17, 1] < points[13, 1] < nose[1] < left[1] < forehead[1]
    # Corners of the mouth and of the eyes, right ones first.
    for a, b in ((61, 291), (33, 263), (133, 362)):
        assert points[a, 0] < -0.01 and points[b, 0] > 0.01
        torch.testing.assert_close(points[a] * torch.tensor([-1.0, 1, 1]), points[b], atol=3e-3, rtol=0)
    skin = head.parts["skin"]
    assert (head.faces[head.landmarks.faces[:468]] < skin[1]).all()


def test_landmark_sigmas_say_what_is_sure(head):
    sigma = head.landmarks.sigma * 1e3
    oval = [10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377, 152]
    eyes = [33, 160, 158, 133, 153, 144, 362, 385, 387, 263, 373, 380]
    assert sigma.min() >= 0.5 and sigma.max() < 8
    assert sigma[eyes].mean() < sigma[oval].mean()
    torch.testing.assert_close(head.landmarks68.sigma[19:31] * 1e3, sigma[eyes])


@pytest.mark.slow
def test_a_rebuild_gives_the_shipped_geometry(makehuman_part: Path):
    pytest.importorskip("embreex", reason="ray casting is in the dev extra and only for x86")
    from avatar.heads.build.makehuman import MakeHuman
    from avatar.heads.build.open_head import BuildSettings, build_open_head

    shipped = read_head(asset("open_head.npz"))
    built = build_open_head(MakeHuman(makehuman_part), BuildSettings())
    assert np.array_equal(built.f, shipped.f)
    assert (built.parts, built.arkit_names, built.id) == (shipped.parts, shipped.arkit_names, shipped.id)
    assert built.jaw_open_angle == pytest.approx(shipped.jaw_open_angle, abs=1e-4)
    for name in ("v_template", "posedirs", "eyelids", "J_regressor", "weights", "uv"):
        np.testing.assert_allclose(
            getattr(built, name), getattr(shipped, name), atol=2e-3 if name != "v_template" else 1e-5
        )
    # Components of nearly equal variance may turn into each other, so the span is compared, weighted by variance.
    for name in ("shapedirs", "exprdirs"):
        one, other = (getattr(layout, name).reshape(-1, getattr(layout, name).shape[-1]) for layout in (built, shipped))
        product = one.T @ one, other.T @ other, one.T @ other
        difference = (product[0] ** 2).sum() + (product[1] ** 2).sum() - 2 * (product[2] ** 2).sum()
        assert difference / (product[1] ** 2).sum() < 1e-4
    actions = [layout.exprdirs @ layout.arkit_to_psi for layout in (built, shipped)]
    np.testing.assert_allclose(actions[0], actions[1], atol=2e-4)
