"""Lips at rest: closed as they are judged, whoever's mouth it is, and never through each other."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from avatar.heads.arkit import ARKIT_NAMES, arkit_to_motion_parts
from avatar.heads.head import Head
from avatar.heads.subject import subject_head
from avatar.motion import Motion
from avatar.speech._space import closed_at_rest, fit_mouth_space, mouth_of
from avatar.speech.features import LOG_MEL
from avatar.speech.fitting import SpeechConfig, fit_speech_model
from avatar.speech.general import general_speech, general_speech_of
from avatar.speech.life_model import LifeModel
from avatar.speech.lips import landmark_track
from avatar.speech.mouth import INNER_LIP_PAIRS, landmark_opening, mouth_map
from avatar.speech.rest import REST_OPENING, closed_mouth, closing, first_closed
from avatar.speech.visemes import viseme_weights

BAR = 0.03


def opening(head: Head, motion: Motion) -> np.ndarray:
    return landmark_opening(landmark_track(head, motion))


def clearance(head: Head, motion: Motion) -> float:
    """Least height between the lips, metres, in slices of the mesh across the mouth; negative where they overlap."""
    subject = subject_head(head, motion)
    vertices = subject(expression=torch.as_tensor(motion.expression), pose=torch.as_tensor(motion.pose))
    points = subject.landmark_positions(vertices)[0].numpy()
    start, stop = subject.parts["skin"]
    faces = subject.faces.numpy()
    corners = vertices[0].numpy()[faces[((faces >= start) & (faces < stop)).all(1)]]
    middle = points[[13, 14]].mean(0)
    near = (np.abs(corners.mean(1) - middle) < (0.02, 0.02, 0.01)).all(1)
    heights = [
        _between(corners[near], x, z, middle[1])
        for x in middle[0] + np.linspace(-0.01, 0.01, 5)
        for z in middle[2] + np.linspace(-0.003, 0.003, 13)
    ]
    return min(heights)


def _between(triangles: np.ndarray, x: float, z: float, y: float) -> float:
    """Height between the surfaces above and below a point; negative where it is inside both lips, infinite for one."""
    a, b, c = (triangles[:, corner][:, [0, 2]] for corner in range(3))
    area = np.linalg.det(np.stack([b - a, c - a], axis=1))
    at = np.array([x, z])
    second = np.linalg.det(np.stack([at - a, c - a], axis=1)) / area
    third = np.linalg.det(np.stack([b - a, at - a], axis=1)) / area
    met = (second >= 0) & (third >= 0) & (second + third <= 1)
    weights = np.stack([1 - second - third, second, third], axis=1)[met]
    found = (triangles[met][..., 1] * weights).sum(1)
    # Seen from above these corners go around clockwise where the surface faces up.
    up = area[met] < 0
    above, below = found > y, found <= y
    if not above.any() or not below.any():
        return np.inf
    first, last = np.flatnonzero(above)[found[above].argmin()], np.flatnonzero(below)[found[below].argmax()]
    if up[first] and not up[last]:
        return float(found[last] - found[first])
    return float(found[first] - found[last])


@pytest.fixture(scope="module")
def takes(subject, head) -> dict[str, Motion]:
    """A mouth that is always open, by its jaw or by its shape; one that closes; one that is pressed shut."""
    motion, own = subject.motion, mouth_map(head)
    at_ease = replace(motion, expression=np.zeros_like(motion.expression))
    jaw = np.maximum(motion.jaw_pose - np.percentile(motion.jaw_pose[:, 0], 20) * np.array([1, 0, 0]), 0)
    pressed = closing(np.zeros(len(own.metric)), own)[27, :-3].astype(np.float32)
    shut = replace(
        at_ease, jaw_pose=jaw.astype(np.float32), expression=(at_ease.expression + pressed).astype(np.float32)
    )
    rows = arkit_to_motion_parts(viseme_weights("hiss")[None], head).expression
    parted = replace(at_ease, expression=np.repeat(2 * rows, len(motion), axis=0), jaw_pose=jaw.astype(np.float32))
    return {
        "jaw": replace(motion, jaw_pose=(motion.jaw_pose + np.array([0.08, 0, 0])).astype(np.float32)),
        "shape": parted,
        "closes": replace(at_ease, jaw_pose=jaw.astype(np.float32)),
        "pressed": shut,
    }


@pytest.mark.parametrize("name", ["jaw", "shape", "closes", "pressed"])
def test_every_mouth_is_closed_at_rest(name: str, takes, head) -> None:
    motion = takes[name]
    own = mouth_map(head, betas=motion.betas, jaw=motion.jaw_pose.mean(axis=0))
    values, gap = mouth_of(motion, own)
    upper = np.zeros(motion.expression.shape[1])
    before = fit_mouth_space(values, gap, own)
    after = closed_at_rest(before, own, subject=subject_head(head, motion), upper=upper)

    def shown(space) -> Motion:
        mouth = space.decode(space.rest[None])
        still = replace(motion[:1], global_orient=np.zeros((1, 3), np.float32), neck_pose=np.zeros((1, 3), np.float32))
        expression, jaw = mouth[:, :-3].astype(np.float32), mouth[:, -3:].astype(np.float32)
        return replace(still, expression=expression, jaw_pose=jaw, eyelids=still.eyelids * 0, transl=still.transl * 0)

    first, last = (float(opening(head, shown(space))[0]) for space in (before, after))
    if name == "pressed":
        assert last <= first and last <= REST_OPENING
    else:
        assert first > REST_OPENING and REST_OPENING - 0.002 < last <= REST_OPENING
    if name in ("jaw", "shape"):
        assert first > 0.06
    # Whoever presses the lips keeps their own mouth, whatever it does.
    assert name == "pressed" or clearance(head, shown(after)) > 0


def test_an_open_mouth_is_closed_in_silence_as_it_is_played(takes, subject, head) -> None:
    config = SpeechConfig(steps=4, seeds=(0,), folds=2)
    model = fit_speech_model(subject.features, takes["jaw"], offset=0.2, head=head, config=config)
    silent = model.predict(subject.features, fps=25.0, activity=np.zeros(1600))
    still = replace(silent[:1], global_orient=np.zeros((1, 3), np.float32), neck_pose=np.zeros((1, 3), np.float32))
    assert opening(head, still)[0] <= BAR - 0.001
    # Without silence the lips stay in the take's own range, which never closes.
    spoken = model.predict(subject.features, fps=25.0)
    own = mouth_map(head)
    assert mouth_of(spoken, own)[1].min() > mouth_of(takes["jaw"], own)[1].min() - 0.001


@pytest.mark.parametrize("name", ["", "jaw", "shape", "pressed"])
def test_whoever_was_never_heard_closes_the_mouth_too(name: str, takes, subject, head) -> None:
    motion = takes.get(name, subject.motion)
    life = LifeModel.from_motion(motion, head=head)
    if name:
        model = general_speech_of(motion, head=head, life=life, feature_model=LOG_MEL)
    else:
        model = general_speech(head, betas=motion.betas, life=life, feature_model=LOG_MEL)
    rest = replace(model.rest(np.zeros(1)), global_orient=np.zeros((1, 3), np.float32))
    assert opening(head, rest)[0] <= REST_OPENING + 1e-6
    pressed = np.zeros((1, len(ARKIT_NAMES)))
    assert np.allclose(model.decode(pressed)[0], model.mouth)


def test_the_measure_sees_lips_in_each_other(subject, head) -> None:
    still = replace(
        subject.motion[:1], expression=0 * subject.motion.expression[:1], transl=0 * subject.motion.transl[:1]
    )
    nothing = np.zeros((1, 3), np.float32)
    still = replace(still, global_orient=nothing, neck_pose=nothing, jaw_pose=nothing, eyelids=nothing[:, :2])
    through = replace(still, jaw_pose=np.array([[-0.06, 0, 0]], np.float32))
    assert clearance(head, still) > 3e-4 and clearance(head, through) < -3e-4


def test_lips_that_would_meet_are_not_pushed_on(head) -> None:
    # A mouth much larger than its eyes' distance allows for: the landmarks lie far apart where the lips meet.
    offsets = torch.zeros_like(head.v_template)
    below = head.faces[head.landmarks.faces[[pair[1] for pair in INNER_LIP_PAIRS]]].flatten().unique()
    offsets[below, 0] += 0.01
    offsets[below, 1] += 0.0006
    other = head.with_identity(torch.zeros(1), offsets)
    own, still = mouth_map(other), np.zeros(other.exprdirs.shape[-1])
    way = closing(np.zeros(len(own.metric)), own)
    assert first_closed(other, way, upper=still) is None
    closed = closed_mouth(way[0], subject=other, upper=still)
    assert (own.lips_base + own.lips @ closed)[:, 1].mean() > -3e-4
