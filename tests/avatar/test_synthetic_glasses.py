"""Glasses of synthetic people: where they sit, that they ride on the skull, and what they hide."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from avatar.heads import load_head

pytest.importorskip("embreex", reason="synthetic pictures need the dev extra")

from avatar.synthetic.clip import ClipSettings, clip_camera, posed_vertices, render_motion, synthetic_motion
from avatar.synthetic.glasses import Glasses, WornGlasses, random_glasses
from avatar.synthetic.looks import LOOKS
from avatar.synthetic.raycast import Scene
from avatar.synthetic.subject import Subject
from avatar.synthetic.variety import random_settings

BALD = replace(LOOKS["light"], bald=True)
BLACK = Glasses(tint=(0.0, 0.0, 0.0), mirror=0.0, colour=(0.02, 0.02, 0.02))
SMALL = ClipSettings(look=BALD, size=128, supersample=1, seed=3, grain=0.0)


@pytest.fixture(scope="module")
def head():
    return load_head()


@pytest.fixture(scope="module")
def still(head):
    """One moment with the eyes open, the head straight."""
    motion = synthetic_motion(head, seconds=0.04, settings=SMALL)
    straight = np.zeros((1, 3), np.float32)
    return replace(motion, neck_pose=straight, global_orient=straight, eyelids=np.zeros_like(motion.eyelids))


def picture(head, motion, **changes):
    return next(iter(render_motion(head, motion, settings=replace(SMALL, **changes)))).astype(int)


def rest_of(head, seed):
    betas = np.clip(0.8 * np.random.default_rng(seed).standard_normal((1, 40)), -1.5, 1.5)
    return head(betas=torch.tensor(betas, dtype=torch.float32))[0].double().numpy()


def turned(motion, degrees):
    return replace(motion, global_orient=np.array([[0.0, np.radians(degrees), 0.0]], np.float32))


def test_people_are_the_same_without_them():
    for seed in (0, 7, 100):
        assert random_settings(seed).glasses is None
        assert replace(random_settings(seed, glasses=True), glasses=None) == random_settings(seed)
    looks = [random_glasses(seed) for seed in range(3)]
    assert [bool(each.clearness) for each in looks] == [False, False, True]
    assert looks[1].metal and not looks[0].metal and looks[1].rim < looks[0].rim


@pytest.mark.parametrize("seed", range(6))
def test_they_sit_before_the_face_and_reach_the_ears(head, seed):
    rest, look = rest_of(head, seed), random_glasses(seed)
    worn = WornGlasses(look, head, rest)
    skin = head.faces.numpy()[(head.faces.numpy() < head.parts["skin"][1]).all(axis=1)]
    scene = Scene(rest, skin)
    front = worn.vertices[worn.vertices[:, 2] > rest[slice(*head.parts["eye_l"]), 2].max() - 0.012]
    beyond = np.column_stack([front[:, :2], np.full(len(front), 1.0)])
    prim, weights = scene.intersect(beyond, np.tile([0.0, 0.0, -1.0], (len(front), 1)))
    depth = np.einsum("nk,nk->n", weights, rest[skin[prim], 2])
    assert (front[:, 2] > np.where(prim >= 0, depth, -1) + 5e-4).all()
    for name, side in (("eye_l", 1), ("eye_r", -1)):
        eye = rest[slice(*head.parts[name])]
        lens = worn.vertices[np.unique(worn.lenses)]
        nearest = lens[np.hypot(*(lens[:, :2] - eye[:, :2].mean(axis=0)).T).argmin()]
        assert 0.0095 < nearest[2] - eye[:, 2].max() < 0.025
        ear = rest[(head.regions["ears"].numpy() > 0.5) & (rest[:, 0] * side > 0)]
        temple = worn.vertices[(worn.vertices[:, 0] * side > 0) & (worn.vertices[:, 2] < ear[:, 2].max())]
        assert np.abs(temple[:, 1].max() - ear[:, 1].max()) < 0.01
        assert np.abs(np.abs(temple[:, 0]).mean() - np.abs(ear[:, 0]).min()) < 0.008


def test_they_ride_on_the_skull_and_not_on_the_face(head):
    subject = Subject(head, BALD, betas=np.zeros(5), glasses=BLACK)
    bare = Subject(head, BALD, betas=np.zeros(5))
    motion = synthetic_motion(head, seconds=2, settings=replace(SMALL, movement=1.5))
    moments, places = posed_vertices(head, motion[np.array([0, 20, 40])]).astype(float), []
    for posed in moments:
        everything = subject.vertices(posed)
        np.testing.assert_array_equal(everything[: len(bare.vertices(posed))], bare.vertices(posed))
        places.append(everything[len(bare.vertices(posed)) :])
    distances = [np.linalg.norm(place[::7, None] - place[None, ::7], axis=-1) for place in places]
    np.testing.assert_allclose(distances[1:], [distances[0]] * 2, atol=1e-6)
    crown = head.v_template[:, 1].argmax().item()
    for place, posed in zip(places, moments, strict=True):
        apart = np.linalg.norm(place[::7] - posed[crown], axis=1)
        first = np.linalg.norm(places[0][::7] - moments[0, crown], axis=1)
        assert np.abs(apart - first).max() < 1e-3
    assert np.linalg.norm(places[1] - places[0], axis=1).max() > 3e-3


@pytest.mark.parametrize("degrees", [0, 40])
def test_they_hide_the_eyes_and_leave_what_is_beside_them(head, still, degrees):
    motion = turned(still, degrees)
    worn, bare = (picture(head, motion, glasses=each) for each in (BLACK, None))
    posed = posed_vertices(head, motion)[0]
    camera = clip_camera(SMALL)
    irises = head.landmark_positions(torch.tensor(posed)[None]).numpy()[0, [468, 473]]
    seen = irises @ camera.viewmat[:3, :3].T + camera.viewmat[:3, 3]
    pixels = (seen @ camera.K.T)[:, :2] / seen[:, 2:]
    for column, row in pixels[: 1 if degrees else 2].astype(int):
        assert bare[row, column].sum() > 20 and worn[row, column].max() < 45
    changed = np.abs(worn - bare).max(axis=-1) > 0
    low = pixels[:, 1].max() + 0.2 * SMALL.size
    assert 0.01 < changed.mean() < 0.15 and not changed[int(low) :].any()


def test_the_head_hides_the_lenses_from_behind(head, still):
    motion = turned(still, 180)
    clear = replace(BLACK, clearness=0.5)
    worn, bare = (picture(head, motion, glasses=each)[40:68, 48:80] for each in (clear, None))
    np.testing.assert_array_equal(worn, bare)


def test_a_lens_lets_light_through_and_mirrors_the_lamp(head, still):
    plain = replace(BLACK, tint=(1.0, 1.0, 1.0), rim=0.0005, depth=0.0005, clearness=0.99)
    bare, worn, shiny = (picture(head, still, glasses=each) for each in (None, plain, replace(plain, mirror=0.3)))
    eyes = np.s_[48:62, 48:80]
    assert np.abs(worn - bare)[eyes].mean() < 4
    assert (shiny - worn)[eyes].max() > 40
