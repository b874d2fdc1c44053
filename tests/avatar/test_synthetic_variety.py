"""Varied synthetic clips: all from a seed, within what people film, with exact truth."""

from dataclasses import asdict, replace

import numpy as np
import pytest

from avatar.heads import load_head
from avatar.io.video import read_frames

pytest.importorskip("embreex", reason="synthetic pictures need the dev extra")

from avatar.synthetic.clip import ClipSettings, posed_vertices, render_motion, synthetic_clip, synthetic_motion
from avatar.synthetic.looks import LOOKS
from avatar.synthetic.raycast import to_linear, to_srgb
from avatar.synthetic.variety import random_look, random_settings, read_clip, write_clip

SEEDS = range(40)


@pytest.fixture(scope="module")
def head():
    return load_head()


def test_a_seed_tells_everything():
    assert random_settings(7) == random_settings(7)
    assert random_settings(7) != random_settings(8)


def test_few_neighbouring_seeds_already_cover_lenses_turns_and_skins():
    for first in (0, 100, 12345):
        six = [random_settings(seed) for seed in range(first, first + 6)]
        factors, turns = ([getattr(each, name) for each in six] for name in ("focal_factor", "turn"))
        assert min(factors) < 1.15 and max(factors) > 2.1
        assert min(turns) < 20 and max(turns) > 36
        assert np.ptp([each.look.skin[0] for each in six]) > 0.25


def test_settings_stay_within_what_people_film():
    everyone = [random_settings(seed) for seed in SEEDS]
    for settings in everyone:
        assert 0.8 <= settings.focal_factor <= 3
        assert settings.turn is not None and 10 <= settings.turn <= 45
        fill = settings.focal_factor * 0.235 / settings.distance
        assert 0.35 < fill < 0.7 and settings.size % 2 == 0
        assert all(0 <= value <= 1 for value in (*settings.look.skin, *settings.look.hair, *settings.look.shirt))
        assert all(value >= 0 for light in settings.lighting.lights for value in light.colour)
    assert 0 < sum(settings.look.bald for settings in everyone) < len(everyone) / 2


def test_the_deepest_skin_is_darker_than_the_fairest():
    looks = [random_look(tone, np.random.default_rng(0)) for tone in (0.0, 0.3, 0.7, 1.0)]
    assert np.all(np.diff([sum(look.skin) for look in looks]) < 0)


def test_the_largest_turn_is_reached_exactly_and_nothing_else_moves(head):
    free = ClipSettings(seed=3)
    turned = replace(free, turn=41.0)
    first, second = (synthetic_motion(head, seconds=4, settings=each) for each in (free, turned))
    assert np.degrees(np.abs(second.neck_pose[:, 1]).max()) == pytest.approx(41, abs=1e-3)
    np.testing.assert_array_equal(first.neck_pose[:, [0, 2]], second.neck_pose[:, [0, 2]])
    np.testing.assert_array_equal(first.jaw_pose, second.jaw_pose)


def test_the_place_moves_the_head_across_the_picture(head):
    motion = synthetic_motion(head, seconds=4, settings=ClipSettings(place=(0.03, 0.02), distance=0.6, movement=0.5))
    assert motion.transl.mean(axis=0) == pytest.approx([0.03, 0.02, -0.6], abs=0.006)


def test_an_exposure_is_the_mean_light_of_its_moments(head):
    settings = ClipSettings(look=replace(LOOKS["fair"], bald=True), size=48, supersample=2, grain=0.0, fps=2.0, seed=2)
    motion = synthetic_motion(head, seconds=1.5, settings=settings)
    # A fifth of a turn in one frame: fast enough to smear the nose over several of these few pixels.
    motion = replace(motion, neck_pose=np.array([[0, -0.6, 0], [0, 0, 0], [0, 0.6, 0]], np.float32))
    blurred = list(render_motion(head, motion, settings=replace(settings, shutter=0.9, exposures=6)))[1]
    moments = motion.resample(motion.time[1] + 0.45 * (2 * (np.arange(9) + 0.5) / 9 - 1) / settings.fps)
    frozen = [to_linear(image / 255) for image in render_motion(head, moments, settings=settings)]
    wanted = to_srgb(np.mean(frozen, axis=0))
    assert np.abs(blurred / 255 - wanted).mean() < 0.45 * np.abs(to_srgb(frozen[4]) - wanted).mean()


def test_a_written_clip_comes_back_with_its_truth(head, tmp_path):
    settings = replace(random_settings(5, head_pixels=40), exposures=2)
    told = []
    clip = write_clip(head, tmp_path / "one", settings, seconds=0.2, progress=lambda *at: told.append(at))
    again = read_clip(tmp_path / "one")
    frames = list(read_frames(clip.video))
    assert len(frames) == len(clip.motion) == len(told) == told[-1][1]
    assert [frame.time for frame in frames] == pytest.approx(clip.motion.time, abs=1e-4)
    assert frames[0].image.shape == (settings.size, settings.size, 3)
    assert asdict(again.camera) == asdict(clip.camera)
    assert again.camera.focal == pytest.approx(settings.focal_factor * settings.size)
    np.testing.assert_array_equal(again.motion.expression, clip.motion.expression)
    assert not list(tmp_path.glob(".*"))


def test_the_truth_s_camera_sees_the_head_in_the_picture(head):
    for seed in (0, 1, 2):
        settings = random_settings(seed, head_pixels=60)
        clip = synthetic_clip(head, seconds=0.08, settings=settings)
        vertices = posed_vertices(head, clip.motion)[0]
        face = vertices[(head.weights[:, 1] > 0.99).numpy()]
        pixels = face[:, :2] / -face[:, 2:] * clip.camera.K[0, 0] * [1, -1] + settings.size / 2
        assert (pixels > 0).all() and (pixels < settings.size).all()
