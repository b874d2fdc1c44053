"""Vertex offsets, recovered from the outlines of a head whose offsets are known."""

import shutil
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from avatar.errors import InputError
from avatar.fields.survey import posed_vertices, project, take_camera
from avatar.heads import Head
from avatar.heads.subject import subject_head
from avatar.io.take import Take
from avatar.motion import Motion
from avatar.preprocess._outline import HeadEdge, find_outline, mesh_mask, signed_distance
from avatar.preprocess._surface import laplacian, swelling_directions
from avatar.preprocess.detail_config import DetailConfig
from avatar.preprocess.identity_detail import chosen_frames, detail_take

CONFIG = DetailConfig(frames=20, sweeps=3)
COLLAR, LOCKS = -0.13, 0.6
HAIR, WIDER = 0.014, 0.006


def told_offsets(head: Head, motion: Motion) -> np.ndarray:
    """Hair all over the skull, thinning out towards the face, and a wider head at the height of the ears."""
    rest = subject_head(head, motion).v_template.numpy()
    start, stop = head.parts["skin"]
    skull = np.clip((rest[:, 1] - 0.03) / 0.04, 0, 1) * np.clip((0.045 - rest[:, 2]) / 0.03, 0, 1)
    away = rest - [0, 0.03, -0.03]
    offsets = HAIR * skull[:, None] * away / np.linalg.norm(away, axis=1, keepdims=True)
    beside = np.clip((0.02 - rest[:, 2]) / 0.03, 0, 1) * np.clip(1 - np.abs(rest[:, 1]) / 0.06, 0, 1)
    offsets[:, 0] += WIDER * beside * np.sign(rest[:, 0])
    offsets[:start] = offsets[stop:] = 0
    return offsets.astype(np.float32)


def photographed(take: Take, head: Head, motion: Motion, *, locks: bool = False) -> Take:
    """Gives the take the masks and labels of another subject; with `locks`, of one with hair down to the shoulders."""
    start, stop = head.parts["skin"]
    faces = head.faces.numpy()
    faces = faces[((faces >= start) & (faces < stop)).all(axis=1)]
    bust = subject_head(head, motion).v_template.numpy()[faces].mean(1)[:, 1] < COLLAR
    camera = take_camera(take)
    for index in range(len(take)):
        pixels, _ = project(posed_vertices(head, motion, index), camera)
        shirt, skin = (
            mesh_mask(pixels, part, width=camera.width, height=camera.height, finer=8)
            for part in (faces[bust], faces[~bust])
        )
        labels = np.where(skin > 0, 1, 2 * shirt).astype(np.uint8)
        if locks:
            rows, columns = np.nonzero(skin)
            left, right = np.percentile(columns, [1, 99]).astype(int)
            fall = np.zeros_like(labels)
            fall[int(np.quantile(rows, LOCKS * 0.5)) : rows.max() + 1, max(left - 6, 0) : right + 7] = 1
            labels[(labels == 0) & (fall > 0)] = 1
        take.write_parts(index, labels)
        take.write_mask(index, (labels > 0).astype(np.float32))
    return take


@pytest.fixture(scope="module")
def truth(open_head: Head, tiny_motion: Motion) -> Motion:
    return replace(tiny_motion, vertex_offsets=told_offsets(open_head, tiny_motion))


@pytest.fixture(scope="module")
def detailed(tiny_take: Take, open_head: Head, truth: Motion, tmp_path_factory) -> Take:
    """A take whose motion is exact but for the subject's offsets, after their recovery."""
    take = Take.open(shutil.copytree(tiny_take.path, tmp_path_factory.mktemp("detail") / "take"))
    detail_take(photographed(take, open_head, truth), open_head, config=CONFIG)
    return take


def test_the_offsets_come_back_where_outlines_show_them(detailed: Take, open_head: Head, truth: Motion):
    found, told = detailed.motion().vertex_offsets, truth.vertex_offsets
    assert found is not None and told is not None
    rest = open_head.v_template.numpy()
    skin = np.arange(len(rest)) < open_head.parts["skin"][1]
    top = skin & (rest[:, 1] > 0.08) & (np.linalg.norm(told, axis=1) > 0.9 * HAIR)
    assert top.sum() > 50
    assert np.abs(found[top, 1] - told[top, 1]).mean() < 0.35 * told[top, 1].mean()
    ears = skin & (open_head.regions["ears"].numpy() > 0.5)
    assert np.abs(found[ears, 0] - told[ears, 0]).mean() < 0.6 * np.abs(told[ears, 0]).mean()


def test_the_unseen_back_of_the_head_swells_with_its_sides(detailed: Take, open_head: Head):
    found, rest = detailed.motion().vertex_offsets, open_head.v_template.numpy()
    assert found is not None
    back = (rest[:, 2] < -0.09) & (rest[:, 1] > 0.03) & (np.arange(len(rest)) < open_head.parts["skin"][1])
    assert 0.3 * HAIR < -found[back, 2].mean() < 1.5 * HAIR


def test_rims_and_inner_parts_stay(detailed: Take, open_head: Head):
    found = detailed.motion().vertex_offsets
    assert found is not None
    regions = open_head.regions
    still = torch.stack([regions[name] > 0.1 for name in ("lips", "eyelids", "inside_mouth")]).any(0).numpy()
    still[open_head.parts["skin"][1] :] = True
    assert not found[still].any()


def test_the_report_tells_the_gain_on_held_out_frames(detailed: Take):
    record = detailed.info.stages["detail"].detail
    assert record["silhouette_iou"] > record["silhouette_iou_before"] + 0.05


def test_held_out_frames_are_not_looked_at(detailed: Take, open_head: Head, tmp_path: Path):
    take = Take.open(shutil.copytree(detailed.path, tmp_path / "take"))
    for index in take.split()["test"]:
        take.write_mask(int(index), np.zeros((take.info.height, take.info.width), np.float32))
    detail_take(take, open_head, config=CONFIG)
    again, first = take.motion().vertex_offsets, detailed.motion().vertex_offsets
    assert again is not None and first is not None and np.array_equal(again, first)


def test_hair_that_falls_beside_neck_and_jaw_does_not_pull_them(take_copy: Take, open_head: Head, tiny_motion: Motion):
    detail_take(photographed(take_copy, open_head, tiny_motion, locks=True), open_head, config=CONFIG)
    found, rest = take_copy.motion().vertex_offsets, open_head.v_template.numpy()
    assert found is not None
    low = (rest[:, 1] < -0.06) & (rest[:, 1] > COLLAR)
    assert np.linalg.norm(found[low], axis=1).mean() < 0.004


def test_an_untracked_take_is_refused(take_copy: Take, open_head: Head):
    (take_copy.path / "motion.npz").unlink()
    with pytest.raises(InputError, match=r"motion\.npz"):
        detail_take(take_copy, open_head, config=CONFIG)


def test_chosen_frames_have_the_widest_turns(tiny_motion: Motion):
    turns = np.zeros((40, 3), np.float32)
    turns[13, 1], turns[31, 1] = 0.5, -0.4
    rows = {
        name: np.repeat(getattr(tiny_motion, name)[:1], 40, 0) for name in ("expression", "eyelids", "transl", "torso")
    }
    zeros = {name: np.zeros((40, 3), np.float32) for name in ("global_orient", "jaw_pose", "leye_pose", "reye_pose")}
    motion = replace(tiny_motion, time=np.arange(40) / 25, neck_pose=turns, **rows, **zeros)
    assert {13, 31} <= set(chosen_frames(motion, np.arange(40), 4).tolist())
    assert 31 not in chosen_frames(motion, np.arange(30), 4)
    assert len(chosen_frames(motion, np.arange(5), 100)) == 5


def test_signed_distances_meet_at_the_edge():
    inside = np.zeros((20, 20), bool)
    inside[5:15, 4:16] = True
    distance = signed_distance(inside)
    assert distance[10, 4] == pytest.approx(0.5) and distance[10, 3] == pytest.approx(-0.5)
    assert (signed_distance(np.zeros((4, 4), bool)) < 0).all()


def test_a_disc_finds_the_gap_to_a_larger_one_but_not_through_clothes(tiny_take: Take):
    camera = take_camera(tiny_take)
    angle = np.linspace(0, 2 * np.pi, 40, endpoint=False)
    depth = 0.6
    scale = depth / camera.K[0, 0]
    points = np.stack([15 * scale * np.cos(angle), 15 * scale * np.sin(angle), np.full(40, -depth)], 1)
    points = np.concatenate([points, [[0, 0, -depth]]])
    faces = np.stack([np.arange(40), (np.arange(40) + 1) % 40, np.full(40, 40)], 1)
    disc = np.zeros((camera.height, camera.width), np.uint8)
    cv2.circle(disc, (camera.width // 2, camera.height // 2), 20, 1, -1)
    unknown = np.zeros(disc.shape, bool)
    unknown[camera.height // 2 + 5 :] = True
    reach = np.full(41, 10 * scale)
    seen = find_outline(points, faces, HeadEdge(signed_distance(disc > 0), unknown), camera=camera, reach=reach)
    assert len(seen.vertices) > 15
    assert np.abs(seen.gaps - 5).mean() < 0.8
    # The picture's y points down: what lies low in it has clothes before its edge.
    assert points[seen.vertices, 1].min() > -6 * scale
    nearer = find_outline(points, faces, HeadEdge(signed_distance(disc > 0), unknown), camera=camera, reach=reach / 4)
    assert not len(nearer.vertices)


def test_the_laplacian_of_a_plane_is_blind_to_slopes(open_head: Head):
    x, y = np.meshgrid(np.arange(6.0), np.arange(5.0))
    points = np.stack([x.ravel(), y.ravel(), np.zeros(30)], 1)
    corner = (np.arange(4)[:, None] * 6 + np.arange(5)).ravel()
    faces = np.concatenate(
        [np.stack([corner, corner + 1, corner + 6], 1), np.stack([corner + 1, corner + 7, corner + 6], 1)]
    )
    stiffness, areas = laplacian(points, faces)
    assert areas.sum() == pytest.approx(20)
    inner = (x.ravel() > 0) & (x.ravel() < 5) & (y.ravel() > 0) & (y.ravel() < 4)
    assert np.abs((stiffness @ (2 * x.ravel() - y.ravel()))[inner]).max() < 0.05
    assert (np.linalg.eigvalsh(stiffness.toarray()) > -1e-9).all()
    assert np.allclose(swelling_directions(points, faces, 1.0), [0, 0, 1])
