"""Synthetic people: pictures that agree with their ground truth, and the demo clip made of them."""

import itertools
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch

from avatar.assets import asset
from avatar.cameras import Camera
from avatar.errors import InputError
from avatar.heads import load_head
from avatar.heads.arkit import ARKIT_NAMES
from avatar.motion import Motion

pytest.importorskip("embreex", reason="synthetic pictures need the dev extra")

from avatar.synthetic.clip import ClipSettings, posed_vertices, render_motion, synthetic_clip, synthetic_motion
from avatar.synthetic.looks import LOOKS
from avatar.synthetic.raycast import Lighting, Material, Scene, render, to_linear, to_srgb
from avatar.synthetic.room import room
from avatar.synthetic.speech import Phone, babble, mouth_weights, speak
from avatar.synthetic.subject import Subject

SMALL = ClipSettings(size=96, supersample=1, seed=3)
QUAD = (
    np.array([[-1.0, -1, -2], [1, -1, -2], [1, 1, -2], [-1, 1, -2]]),
    np.array([[0, 1, 2], [0, 2, 3]]),
)


@pytest.fixture(scope="module")
def head():
    return load_head()


@pytest.fixture(scope="module")
def demo_motion():
    return Motion.load(asset("demo_truth.npz"))


def _matte(prim, barycentric):
    count = len(prim)
    return Material(np.full((count, 3), 0.5), np.zeros(count), np.full(count, 10.0), np.zeros(count))


def _project(points, camera):
    seen = points @ camera.viewmat[:3, :3].T + camera.viewmat[:3, 3]
    pixels = seen @ camera.K.T
    return pixels[..., :2] / pixels[..., 2:]


def test_rays_find_the_quad_where_the_camera_projects_it():
    camera = Camera.front(60.0, 40, 30)
    surface = Scene(*QUAD).view(camera, supersample=2)
    assert surface.hit.shape == (60, 80)
    np.testing.assert_allclose(surface.position[:, 2], -2, atol=1e-5)
    rows, columns = np.nonzero(surface.hit)
    centres = np.stack([(columns + 0.5) / 2, (rows + 0.5) / 2], axis=1)
    np.testing.assert_allclose(_project(surface.position, camera), centres, atol=1e-3)
    np.testing.assert_allclose(surface.normal, np.tile([0, 0, 1], (len(rows), 1)), atol=1e-6)


def test_occlusion_stops_at_its_limit():
    scene = Scene(*QUAD)
    origin, direction = np.zeros((1, 3)), np.array([[0.0, 0, -1]])
    assert scene.occluded(origin, direction, limit=2.1)[0]
    assert not scene.occluded(origin, direction, limit=1.9)[0]


def test_light_from_behind_leaves_only_the_sky():
    dark = Lighting(lights=(), sky=(0.4, 0.4, 0.4), ground=(0.4, 0.4, 0.4))
    image, alpha = render(*QUAD, appearance=_matte, camera=Camera.front(30.0, 20, 20), lighting=dark)
    assert alpha.min() == 1
    np.testing.assert_allclose(to_linear(image), 0.5 * 0.4, atol=1e-3)


def test_srgb_goes_there_and_back():
    values = np.linspace(0, 1, 33)
    np.testing.assert_allclose(to_srgb(to_linear(values)), values, atol=1e-9)


def test_a_missing_renderer_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "embreex.rtcore_scene", None)
    with pytest.raises(InputError, match=r"headsplat\[dev\]"):
        Scene(*QUAD)


def test_the_room_is_the_same_for_the_same_seed_only():
    assert room(32, 24).shape == (24, 32, 3)
    np.testing.assert_array_equal(room(32, 32, seed=1), room(32, 32, seed=1))
    assert np.abs(room(32, 32, seed=1) - room(32, 32, seed=2)).max() > 0.02


def test_a_clip_is_the_same_for_the_same_seed_only(head):
    first, again = (synthetic_clip(head, seconds=0.08, settings=SMALL) for _ in range(2))
    other = synthetic_motion(head, seconds=0.08, settings=replace(SMALL, seed=4))
    assert first.images.shape == (2, 96, 96, 3) and first.images.dtype == np.uint8
    np.testing.assert_array_equal(first.images, again.images)
    np.testing.assert_array_equal(first.motion.expression, again.motion.expression)
    assert np.abs(other.betas - first.motion.betas).max() > 0.1


@pytest.mark.slow
def test_workers_do_not_change_the_pictures(head):
    motion = synthetic_motion(head, seconds=0.08, settings=SMALL)
    alone = list(render_motion(head, motion, settings=SMALL))
    shared = list(render_motion(head, motion, settings=SMALL, workers=2))
    np.testing.assert_array_equal(alone, shared)


def test_movement_stays_within_what_people_do(head):
    motion = synthetic_motion(head, seconds=12, settings=ClipSettings(seed=1))
    turn = np.degrees(np.abs(motion.neck_pose + motion.global_orient)).max(axis=0)
    assert (turn < [18, 22, 12]).all() and turn[1] > 6
    assert motion.eyelids.max() == 1
    assert motion.head_hash == head.hash


def test_hair_and_shirt_follow_head_and_body(head):
    subject = Subject(head, LOOKS["light"], betas=np.zeros(5))
    pose = torch.zeros(2, 5, 3)
    pose[1, 1, 1] = 0.4
    still, turned = (each.numpy().astype(float) for each in head(pose=pose))
    moved = subject.vertices(turned) - subject.vertices(still)
    assert len(subject.vertices(still)) == subject.faces.max() + 1
    crown = subject.vertices(still)[:, 1] > still[:, 1].max() - 0.01
    assert np.linalg.norm(moved[crown], axis=1).max() > 0.01
    low = subject.vertices(still)[:, 1] < -0.25
    assert low.any() and np.linalg.norm(moved[low], axis=1).max() < 1e-3


@pytest.mark.parametrize("sound", ["p", "b", "m"])
def test_lips_meet_for_every_bilabial(sound):
    phones = (Phone("a", 0.0, 0.2), Phone(sound, 0.2, 0.27), Phone("a", 0.27, 0.5))
    time = np.arange(0, 0.5, 0.04)
    jaw = mouth_weights(phones, time)[:, ARKIT_NAMES.index("jawOpen")]
    assert jaw[(time > 0.18) & (time < 0.27)].min() < 0.03
    assert jaw[time < 0.12].max() > 0.3 and jaw[time > 0.38].max() > 0.3


def test_babble_fills_its_time():
    phones = babble(3.0, seed=2)
    assert phones[-1].end >= 3.0
    assert all(a.end <= b.start + 1e-9 for a, b in itertools.pairwise(phones))


def test_phones_cover_the_sound():
    pytest.importorskip("hibari", reason="the voice needs the dev extra")
    said = speak("Maybe.", seed=1)
    symbols = [phone.symbol for phone in said.phones]
    assert "".join(symbols).startswith("me") and "b" in symbols
    assert said.phones[0].start == 0
    assert said.phones[-1].end == pytest.approx(len(said.samples) / said.rate, abs=0.03)
    silence = said.samples[: int(said.phones[0].end * said.rate * 0.6)]
    assert np.abs(silence).max() < 0.1 * np.abs(said.samples).max()


def test_the_demo_fits_its_budget_and_its_head(head, demo_motion):
    names = ("demo.mp4", "demo_truth.npz", "demo.LICENSE.txt")
    assert sum(asset(name).stat().st_size for name in names) <= 1_000_000
    assert "CC0" in asset("demo.LICENSE.txt").read_text()
    assert (demo_motion.head_id, demo_motion.head_hash) == (head.id, head.hash)


def test_the_demo_s_sound_is_as_long_as_its_pictures(demo_motion):
    from avatar.io.audio import read_audio
    from avatar.io.video import probe

    info = probe(asset("demo.mp4"))
    assert info.frames == len(demo_motion)
    sound = read_audio(asset("demo.mp4"), rate=16000)
    assert sound is not None
    assert len(sound) / 16000 == pytest.approx(len(demo_motion) / float(info.fps), abs=0.05)


@pytest.mark.usefixtures("perception_parts")
def test_the_detector_sees_the_demo_s_landmarks_where_the_truth_puts_them(head, demo_motion):
    from avatar.io.video import read_frames
    from avatar.preprocess.landmarks import FaceLandmarker

    with np.load(asset("demo_truth.npz")) as truth:
        camera = Camera.front(float(truth["focal"]), *(int(side) for side in truth["size"]))
    wanted = np.linspace(5, len(demo_motion) - 5, 4).astype(int)
    points = head.landmark_positions(torch.tensor(posed_vertices(head, demo_motion[wanted]))).numpy()
    expected = dict(zip(wanted.tolist(), _project(points, camera), strict=True))
    landmarker, errors = FaceLandmarker(), []
    for index, frame in enumerate(read_frames(asset("demo.mp4"))):
        if index in expected:
            landmarker.reset()
            seen = landmarker.track(frame.image)
            assert seen is not None
            truth_pixels = expected[index]
            scale = np.linalg.norm(truth_pixels[468] - truth_pixels[473])
            errors.append(np.linalg.norm(seen.landmarks[:, :2] - truth_pixels, axis=1) / scale)
    assert len(errors) == len(wanted)
    assert np.median(errors) < 0.03
    assert np.median(np.array(errors)[:, 468:], axis=1).max() < 0.05
