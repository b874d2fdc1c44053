"""Vertex offsets between the outlines, recovered from pictures of a textured head whose offsets are known."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from avatar.fields.survey import posed_vertices, take_camera
from avatar.heads import Head
from avatar.heads.adapters.zbuffer import CameraScene
from avatar.heads.subject import subject_head
from avatar.io.take import Take, TakeInfo
from avatar.motion import Motion
from avatar.preprocess._surface import triangle_samples
from avatar.preprocess.detail_config import PictureConfig
from avatar.preprocess.silhouette import silhouette_iou
from avatar.preprocess.surface_pictures import photometric_offsets
from avatar.synthetic.raycast import vertex_normals

SIDE, FOCAL, FRAMES = 256, 520.0, 14
# Middle and height of each bump: a hollow cheek, a full one, a high brow.
BUMPS = (((0.036, -0.03, 0.06), -0.004), ((-0.036, -0.03, 0.06), 0.004), ((0.0, 0.055, 0.075), 0.004))
WIDTH = 0.018


def bumpy(head: Head, motion: Motion) -> Motion:
    """The motion of a subject with bumps and a hollow within the outline of the face."""
    rest = subject_head(head, motion).v_template.numpy()
    normals = vertex_normals(rest, head.faces.numpy())
    height = sum(size * np.exp(-((rest - place) ** 2).sum(1) / WIDTH**2) for place, size in BUMPS)
    height = np.where(np.arange(len(rest)) < head.parts["skin"][1], height, 0)
    return replace(motion, vertex_offsets=(height[:, None] * normals).astype(np.float32))


def texture(points: np.ndarray) -> np.ndarray:
    """Freckled skin at points of the neutral head, 0 to 1."""
    waves = np.random.default_rng(0).normal(size=(40, 3)) / 0.004
    return 0.55 + 0.6 * np.cos(points @ waves.T + np.arange(40)).sum(1) / np.sqrt(20) / 2


def filmed(folder: Path, head: Head, motion: Motion, *, freckles: bool = True) -> Take:
    """A take of the textured head in a light from the side, its exposure changing from frame to frame."""
    take = Take.create(folder, TakeInfo(SIDE, SIDE, (25, 1), "drawn.mp4", "cd" * 32, crop=(0, 0, SIDE)))
    take.write_frames(motion.time, np.ones(len(motion), bool))
    take.write_motion(replace(motion, vertex_offsets=None), focal=FOCAL)
    take = Take.open(folder)
    camera, faces = take_camera(take), head.faces.numpy()
    rest = subject_head(head, motion).v_template.numpy()
    light = np.array([0.5, 0.4, 0.77])
    for index in range(len(motion)):
        vertices = posed_vertices(head, motion, index).astype(np.float64)
        shown = CameraScene(vertices, faces, camera).image
        corners = faces[np.maximum(shown.faces, 0)]
        place = np.einsum("pk,pkc->pc", shown.barycentric, rest[corners])
        normal = np.einsum("pk,pkc->pc", shown.barycentric, vertex_normals(vertices, faces)[corners])
        shade = 0.7 + 0.3 * np.clip(normal @ light, 0, None)
        albedo = texture(place) if freckles else np.full(len(place), 0.55)
        bright = (0.9 + 0.2 * (index % 3) / 2) * shade * albedo
        inside = shown.faces >= 0
        picture = np.where(inside, bright.clip(0, 1), 0.2).reshape(SIDE, SIDE, 1).repeat(3, axis=2)
        take.write_image(index, np.round(255 * picture).astype(np.uint8))
        take.write_parts(index, inside.reshape(SIDE, SIDE).astype(np.uint8))
        take.write_mask(index, inside.reshape(SIDE, SIDE).astype(np.float32))
    return take


@pytest.fixture(scope="module")
def moments(tiny_motion: Motion) -> Motion:
    """A silent person who looks about."""
    along = np.linspace(-1, 1, FRAMES)
    turns = np.stack([0.15 * np.sin(5 * along), 0.45 * along, np.zeros(FRAMES)], 1).astype(np.float32)
    still = {
        name: np.repeat(getattr(tiny_motion, name)[:1], FRAMES, axis=0)
        for name in ("expression", "global_orient", "jaw_pose", "leye_pose", "reye_pose", "eyelids", "transl", "torso")
    }
    return replace(tiny_motion, time=np.arange(FRAMES) / 25, neck_pose=turns, **still)


@pytest.fixture(scope="module")
def bumpy_take(open_head: Head, moments: Motion, tmp_path_factory) -> Take:
    return filmed(tmp_path_factory.mktemp("bumpy") / "take", open_head, bumpy(open_head, moments))


def swelling(head: Head, motion: Motion) -> np.ndarray:
    """Millimetres that the offsets lift each vertex off the subject's own head."""
    assert motion.vertex_offsets is not None
    rest = subject_head(head, replace(motion, vertex_offsets=None)).v_template.numpy()
    return 1e3 * (motion.vertex_offsets * vertex_normals(rest, head.faces.numpy())).sum(1)


def test_bumps_within_the_outline_come_back_in_part(bumpy_take: Take, open_head: Head, moments: Motion):
    found = photometric_offsets(bumpy_take, open_head, bumpy_take.motion(), learnt=np.arange(FRAMES))
    told, got = swelling(open_head, bumpy(open_head, moments)), swelling(open_head, found)
    rest = subject_head(open_head, moments).v_template.numpy()
    for place, _ in BUMPS:
        on_it = (np.linalg.norm(rest - place, axis=1) < 2 * WIDTH) & (np.abs(told) > 2)
        assert 0.2 < got[on_it].mean() / told[on_it].mean() < 1.2
    face = (np.arange(len(told)) < open_head.parts["skin"][1]) & (rest[:, 2] > 0.02) & (rest[:, 1] > -0.08)
    assert np.corrcoef(got[face], told[face])[0, 1] > 0.4
    assert np.abs(got[face & (np.abs(told) < 0.5)]).mean() < 0.15


def test_held_out_frames_are_not_looked_at(bumpy_take: Take, open_head: Head, tmp_path: Path):
    learnt = np.arange(FRAMES - 3)
    first = photometric_offsets(bumpy_take, open_head, bumpy_take.motion(), learnt=learnt)
    take = Take.open(shutil.copytree(bumpy_take.path, tmp_path / "take"))
    for index in range(FRAMES - 3, FRAMES):
        take.write_image(index, np.zeros((SIDE, SIDE, 3), np.uint8))
    again = photometric_offsets(take, open_head, take.motion(), learnt=learnt)
    assert first.vertex_offsets is not None and again.vertex_offsets is not None
    assert np.array_equal(first.vertex_offsets, again.vertex_offsets)


def test_a_head_that_is_right_stays(open_head: Head, moments: Motion, tmp_path: Path):
    take = filmed(tmp_path / "take", open_head, moments)
    found = photometric_offsets(take, open_head, take.motion(), learnt=np.arange(FRAMES))
    assert np.abs(swelling(open_head, found)).mean() < 0.2


def test_rims_and_inner_parts_stay(bumpy_take: Take, open_head: Head):
    found = photometric_offsets(bumpy_take, open_head, bumpy_take.motion(), learnt=np.arange(FRAMES)).vertex_offsets
    assert found is not None
    painted = np.any([open_head.regions[name].numpy() > 0.1 for name in ("lips", "eyelids", "inside_mouth")], axis=0)
    assert not found[painted].any() and not found[open_head.parts["skin"][1] :].any()


def test_a_clip_whose_head_nobody_sees_often_enough_keeps_its_offsets(bumpy_take: Take, open_head: Head):
    few = PictureConfig(least_frames=FRAMES + 1)
    found = photometric_offsets(
        bumpy_take, open_head, bumpy(open_head, bumpy_take.motion()), learnt=np.arange(FRAMES), config=few
    )
    np.testing.assert_allclose(found.vertex_offsets, bumpy(open_head, bumpy_take.motion()).vertex_offsets, atol=1e-7)


@pytest.mark.parametrize("spacing", [0.1, 0.4, 2.0])
def test_samples_share_the_triangles_evenly(spacing: float):
    points = np.array([[0.0, 0, 0], [1, 0, 0], [0, 1, 0], [3, 3, 0]])
    faces = np.array([[0, 1, 2], [1, 3, 2]])
    triangles, barycentric, areas = triangle_samples(points, faces, spacing)
    assert areas.sum() == pytest.approx(0.5 + 2.5)
    assert np.allclose(barycentric.sum(1), 1) and (barycentric > 0).all()
    assert len(areas) == pytest.approx(3 / spacing**2, rel=0.25) or spacing > 1
    for face, corners in enumerate(points[faces]):
        mine = triangles == face
        assert np.allclose(
            (areas[mine, None] * (barycentric[mine] @ corners)).sum(0) / areas[mine].sum(), corners.mean(0)
        )


def test_neck_back_and_outline_stay(bumpy_take: Take, open_head: Head, moments: Motion):
    motion, every = bumpy_take.motion(), np.arange(FRAMES)
    found = photometric_offsets(bumpy_take, open_head, motion, learnt=every)
    rest = subject_head(open_head, moments).v_template.numpy()
    beside = (rest[:, 1] < -0.1) | (rest[:, 2] < -0.03)
    assert np.abs(swelling(open_head, found)[beside]).mean() < 0.04
    before, after = (
        silhouette_iou(bumpy_take, open_head, which, every, faces=open_head.faces.numpy()).mean()
        for which in (motion, found)
    )
    assert after > before - 1e-3
