"""What a viewer shows when: timeline, programme, puppet, camera key-frames."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from avatar.cameras import Camera
from avatar.editing import FaceMap, with_emotions
from avatar.errors import AvatarError, InputError
from avatar.fields.gaussian_head import GaussianHead
from avatar.heads.arkit import ARKIT_NAMES
from avatar.heads.controls import control_groups
from avatar.io.take import Take
from avatar.motion import PER_FRAME, Motion
from avatar.render.trajectories import camera_eye, orbit
from avatar.render.viewer.camera_keys import CameraKeys
from avatar.render.viewer.programme import Programme
from avatar.render.viewer.puppet import LiveFace, Puppet
from avatar.render.viewer.timeline import Timeline


def test_time_plays_pauses_jumps_and_starts_again() -> None:
    clock = Timeline(2.0)
    assert clock.at(100.0) == 0.0
    clock.play(100.0)
    assert clock.at(100.5) == pytest.approx(0.5)
    clock.pause(101.0)
    assert clock.at(150.0) == pytest.approx(1.0)
    clock.play(200.0)
    jumps = clock.jumps
    assert clock.at(200.9) == pytest.approx(1.9) and clock.jumps == jumps
    # It starts again, and whatever goes along is told.
    assert clock.at(201.25) == pytest.approx(0.25) and clock.jumps == jumps + 1
    assert clock.at(201.5) == pytest.approx(0.5)
    clock.seek(9.0, 202.0)
    assert clock.at(202.0) < 2.0


def test_without_the_loop_it_stops_at_the_end_and_plays_from_the_start() -> None:
    clock = Timeline(2.0, loop=False)
    clock.play(10.0)
    assert clock.at(13.0) == 2.0 and not clock.playing
    clock.play(20.0)
    assert clock.at(20.5) == pytest.approx(0.5)
    clock.restart(5.0, 21.0)
    assert clock.at(21.0) == 0.0 and clock.playing
    still = Timeline(0.0)
    still.play(0.0)
    assert still.at(3.0) == 0.0


def test_one_moment_is_what_resampling_gives(tiny_motion: Motion) -> None:
    programme = Programme("tiny", tiny_motion)
    for time in (-1.0, 0.0, 0.11, 3.3, programme.duration, 99.0):
        moment = tiny_motion.time[0] + np.clip(time, 0, programme.duration)
        expected, found = tiny_motion.resample(np.array([moment])), programme.at(time)
        for name in PER_FRAME:
            assert np.allclose(getattr(found, name), getattr(expected, name), atol=1e-6), (time, name)
    assert len(Programme("one", tiny_motion[:1]).at(3.0)) == 1


def test_the_truth_is_the_nearest_picture_of_the_take(tiny_motion: Motion, take_copy: Take) -> None:
    programme = Programme("tiny", take_copy.motion(), take=take_copy)
    times = take_copy.times
    assert (programme.truth(times[7] - times[0] + 0.01) == take_copy.image(7)).all()
    take_copy.write_frames(times, np.arange(len(times)) != 7)
    assert Programme("tiny", take_copy.motion(), take=take_copy).truth(times[7] - times[0]) is None
    assert Programme("tiny", tiny_motion).truth(0.0) is None


@pytest.fixture
def puppet(tiny_gaussians: GaussianHead, tiny_motion: Motion) -> Puppet:
    return Puppet(tiny_gaussians, tiny_motion)


def test_nothing_adjusted_is_the_motion(puppet: Puppet, tiny_gaussians: GaussianHead, tiny_motion: Motion) -> None:
    expected, found = tiny_gaussians.poses(tiny_motion)[5], puppet.pose(tiny_motion[5:6])
    for name in ("expression", "joints", "eyelids", "transl", "torso", "condition"):
        torch.testing.assert_close(getattr(found, name), getattr(expected, name), atol=1e-5, rtol=0)


def test_sliders_move_what_they_say(puppet: Puppet, tiny_gaussians: GaussianHead, tiny_motion: Motion) -> None:
    """Positions in the head's own axes: its left is +x, up is +y."""
    still = replace(tiny_motion[:1], **{n: 0 * getattr(tiny_motion[:1], n) for n in PER_FRAME if n != "transl"})
    puppet.rest(still)
    head = tiny_gaussians.head

    def landmarks() -> np.ndarray:
        vertices = tiny_gaussians.vertices(puppet.pose(still))[None, : len(head.v_template)]
        return head.landmark_positions(vertices)[0].numpy()

    before, a = landmarks(), puppet.adjustments
    chin, nose, lip_left, lid = 152, 4, 291, 386
    a.weights["jawOpen"] = 1.0
    assert landmarks()[chin, 1] < before[chin, 1] - 0.005
    a.weights["jawOpen"], a.jaw[0] = 0.0, 15.0
    assert landmarks()[chin, 1] < before[chin, 1] - 0.005
    a.jaw[0], a.weights["mouthSmileLeft"] = 0.0, 1.0
    assert landmarks()[lip_left, 1] > before[lip_left, 1] + 0.002
    a.weights["mouthSmileLeft"], a.blink = 0.0, 1.0
    assert landmarks()[lid, 1] < before[lid, 1] - 0.003
    a.blink = 0.0
    for index, (axis, part) in enumerate(((1, nose), (0, nose), (0, 10))):
        a.neck[index] = 15.0
        assert landmarks()[part, axis] - before[part, axis] > 0.005, index
        a.neck[index] = 0.0
    iris_left, iris_right = 473, 468
    for index, axis in ((0, 1), (1, 0)):
        a.gaze[index] = 15.0
        assert (landmarks()[[iris_left, iris_right], axis] > before[[iris_left, iris_right], axis] + 0.001).all()
        a.gaze[index] = 0.0
    assert np.allclose(landmarks(), before, atol=1e-6)


def test_gains_scale_the_motion(puppet: Puppet, tiny_motion: Motion) -> None:
    a, moment = puppet.adjustments, tiny_motion[7:8]
    a.expression_gain = a.jaw_gain = a.blink_gain = a.head_gain = 0.0
    still, other = puppet.adjusted(moment), puppet.adjusted(tiny_motion[20:21])
    assert not still.expression.any() and not still.jaw_pose.any() and not still.eyelids.any()
    for name in ("global_orient", "neck_pose", "transl"):
        assert np.allclose(getattr(still, name), getattr(other, name), atol=1e-6)
    a.head_gain = a.expression_gain = 2.0
    twice = puppet.adjusted(moment)
    mean = tiny_motion.transl.mean(0)
    assert np.allclose(twice.transl - mean, 2 * (moment.transl - mean), atol=1e-6)
    assert np.allclose(twice.expression, 2 * moment.expression)
    a.blink_gain, a.blink = 9.0, 0.5
    assert puppet.adjusted(moment).eyelids.max() <= 1


def test_emotions_change_the_expression_and_leave_the_rest(puppet: Puppet, tiny_motion: Motion) -> None:
    moment = tiny_motion[9:10]
    plain = puppet.adjusted(moment)
    puppet.adjustments.emotions["happy"] = 1.0
    felt = puppet.adjusted(moment)
    face = FaceMap(puppet.head, tiny_motion.betas)
    smile = ARKIT_NAMES.index("mouthSmileLeft")
    assert face.weights(felt)[0, smile] > face.weights(plain)[0, smile] + 0.1
    assert np.allclose(felt.expression, with_emotions(plain, face, {"happy": 1.0}).expression, atol=1e-5)
    for name in set(PER_FRAME) - {"expression"}:
        assert np.array_equal(getattr(felt, name), getattr(plain, name)), name
    puppet.live = LiveFace(np.zeros(52))
    assert face.weights(puppet.adjusted(moment))[0, smile] > 0.5


def test_a_live_face_replaces_the_motion(puppet: Puppet, tiny_motion: Motion) -> None:
    weights = np.zeros(52)
    weights[ARKIT_NAMES.index("jawOpen")] = 0.5
    puppet.live = LiveFace(weights, np.array([0.0, 0.2, 0.0]))
    first, second = (puppet.adjusted(tiny_motion[i : i + 1]) for i in (3, 17))
    for name in PER_FRAME:
        assert np.allclose(getattr(first, name), getattr(second, name), atol=1e-6), name
    assert first.jaw_pose[0, 0] == pytest.approx(puppet.head.jaw_open_angle / 2)
    puppet.live = LiveFace(weights)
    assert not np.allclose(puppet.adjusted(tiny_motion[:1]).neck_pose, first.neck_pose, atol=0.1)


def test_every_action_has_a_group_and_plain_words(puppet: Puppet) -> None:
    sides = [side for group in control_groups() for control in group.controls for side in control.sides()]
    assert sorted(side.moves for side in sides) == sorted((name,) for name in ARKIT_NAMES)
    assert len({side.text for side in sides}) == len(ARKIT_NAMES) and len(puppet.actions) >= 51
    texts = {side.moves[0]: side.text for side in sides}
    assert texts["mouthSmileLeft"] == "Smile, left" and texts["jawLeft"] == "Jaw to its left"
    assert texts["eyeLookInRight"] == "Look to its left, right eye"


CENTER = np.array([0.02, -0.05, -0.8])


def test_key_frames_make_a_path_and_a_file_that_comes_back() -> None:
    cameras = orbit(Camera.front(300.0, 64, 48), CENTER, np.array([0.0, 0.7, 1.5]))
    keys = CameraKeys(CENTER, cameras, seconds=1.5)
    path = keys.path()
    assert np.allclose(path.time, [0, 1.5, 3])
    content = keys.file(64, 48)
    stored = json.loads(content)
    assert len(stored["keyframes"]) == 3 and len(stored["camera_path"]) == 91 and stored["fps"] == 30
    again = CameraKeys(CENTER, seconds=1.5)
    again.load(content, Camera.front(300.0, 64, 48))
    assert len(again.cameras) == 3 and again.seconds == pytest.approx(1.5)
    for before, after in zip(cameras, again.cameras, strict=True):
        assert np.allclose(camera_eye(before), camera_eye(after), atol=1e-4)
    keys.loop = True
    assert np.allclose(keys.path().eye[0], keys.path().eye[-1])
    assert json.loads(keys.file(64, 48))["is_cycle"] is True


def test_too_few_key_frames_and_files_that_are_none() -> None:
    keys = CameraKeys(CENTER, orbit(Camera.front(300.0, 64, 48), CENTER, np.array([0.0])))
    with pytest.raises(InputError, match="at least two key-frames"):
        keys.path()
    for content in (b"", b"{}", b'{"camera_path": []}'):
        with pytest.raises(AvatarError):
            keys.load(content, Camera.front(300.0, 64, 48))
    assert len(keys.cameras) == 1
