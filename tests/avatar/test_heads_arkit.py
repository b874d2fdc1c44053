import numpy as np
import pytest
import torch

from avatar.errors import InputError
from avatar.heads import (
    ARKIT_NAMES,
    MEDIAPIPE_BLENDSHAPES,
    Head,
    arkit_to_motion_parts,
    from_mediapipe,
    load_head,
    motion_parts_to_arkit,
)


@pytest.fixture(scope="module")
def head() -> Head:
    return load_head("open")


def column(name: str) -> int:
    return ARKIT_NAMES.index(name)


def one(**weights: float) -> np.ndarray:
    row = np.zeros((1, 52), np.float32)
    for name, value in weights.items():
        row[0, column(name)] = value
    return row


def posed(head: Head, weights: np.ndarray) -> np.ndarray:
    parts = arkit_to_motion_parts(weights, head)
    pose = np.zeros((len(weights), 5, 3), np.float32)
    pose[:, 2], pose[:, 3], pose[:, 4] = parts.jaw_pose, parts.leye_pose, parts.reye_pose
    given = {"expression": parts.expression, "pose": pose, "eyelids": parts.eyelids}
    return head(**{name: torch.from_numpy(value) for name, value in given.items()}).numpy()


def test_names_are_the_52():
    assert len(set(ARKIT_NAMES)) == 52
    assert MEDIAPIPE_BLENDSHAPES[0] == "_neutral" and MEDIAPIPE_BLENDSHAPES[25] == "jawOpen"
    assert len(MEDIAPIPE_BLENDSHAPES) == 52 and set(MEDIAPIPE_BLENDSHAPES[1:]) == set(ARKIT_NAMES) - {"tongueOut"}


def test_mediapipe_scores_keep_their_meaning():
    scores = np.zeros((2, 52))
    scores[1, MEDIAPIPE_BLENDSHAPES.index("mouthPucker")] = 0.6
    scores[:, 0] = 0.9
    weights = from_mediapipe(scores)
    assert weights[1, column("mouthPucker")] == 0.6
    assert weights.sum() == pytest.approx(0.6)


def test_every_action_is_basis_joint_or_lid(head):
    posed_ = {name for name in ARKIT_NAMES if name.startswith(("jawOpen", "eyeBlink", "eyeLook"))}
    assert set(head.arkit_names) == set(ARKIT_NAMES) - posed_
    assert len(head.arkit_names) == head.exprdirs.shape[-1] == 41


def test_round_trip(head):
    rng = np.random.default_rng(2)
    weights = rng.random((20, 52)).astype(np.float32) * (rng.random((20, 52)) < 0.5)
    # Opposite looks cancel, so each eye gets one of each pair.
    for side in ("Left", "Right"):
        for one_way, other in (("Up", "Down"), ("In", "Out")):
            weights[:, column(f"eyeLook{one_way}{side}")] *= weights[:, column(f"eyeLook{other}{side}")] == 0
    back = motion_parts_to_arkit(arkit_to_motion_parts(weights, head), head)
    np.testing.assert_allclose(back, weights, atol=2e-4)


def test_expressions_outside_the_cone_come_back_as_weights(head):
    parts = arkit_to_motion_parts(np.zeros((3, 52), np.float32), head)
    wild = np.random.default_rng(0).normal(size=parts.expression.shape).astype(np.float32)
    weights = motion_parts_to_arkit(type(parts)(wild, *[parts.jaw_pose] * 3, parts.eyelids), head)
    assert (weights >= 0).all() and (weights <= 1).all() and weights.max() > 0


@pytest.mark.parametrize("side", ["Left", "Right"])
def test_sides_are_the_subjects(head, side):
    """+x is the subject's left."""
    sign = 1 if side == "Left" else -1
    rest = head.v_template.numpy()
    for action in (f"mouthSmile{side}", f"eyeBlink{side}", f"eyeLookUp{side}", f"cheekSquint{side}"):
        moved = np.linalg.norm(posed(head, one(**{action: 1.0}))[0] - rest, axis=1)
        assert sign * (moved * rest[:, 0]).sum() > 0.5 * (moved * np.abs(rest[:, 0])).sum(), action
    start, stop = head.parts[f"eye_{side[0].lower()}"]
    assert sign * rest[start:stop, 0].mean() > 0.025


def test_eyes_look_where_the_names_say(head):
    start, _ = head.parts["eye_l"]
    pupil = head.v_template[start].numpy()
    moved = {
        way: posed(head, one(**{f"eyeLook{way}Left": 1.0}))[0, start] - pupil for way in ("Up", "Down", "In", "Out")
    }
    assert moved["Up"][1] > 1e-3 > -1e-3 > moved["Down"][1]
    assert moved["Out"][0] > 1e-3 > -1e-3 > moved["In"][0]


def test_jaw_open_turns_the_jaw_down(head):
    assert 0.3 < head.jaw_open_angle < 0.5
    assert arkit_to_motion_parts(one(jawOpen=0.5), head).jaw_pose[0, 0] == pytest.approx(0.5 * head.jaw_open_angle)
    start, stop = head.parts["teeth_lower"]
    moved = posed(head, one(jawOpen=1.0))[0] - head.v_template.numpy()
    assert moved[start:stop, 1].mean() < -0.01
    start, stop = head.parts["teeth_upper"]
    np.testing.assert_allclose(moved[start:stop], 0, atol=1e-6)


def test_mouth_close_shuts_the_lips_over_an_open_jaw(head):
    """At the landmarks of the inner lips' middle, 13 above and 14 below."""
    corners, barycentric = head.faces[head.landmarks.faces].numpy(), head.landmarks.barycentric.numpy()

    def gap(**weights: float) -> float:
        points = np.einsum("lk,lkc->lc", barycentric, posed(head, one(**weights))[0][corners])
        return float(points[13, 1] - points[14, 1])

    assert gap(jawOpen=1.0) > 0.02
    assert abs(gap(jawOpen=1.0, mouthClose=1.0) - gap()) < 0.004


def test_wrong_width_is_named(head):
    with pytest.raises(InputError, match=r"Expected: shape \(T, 52\)"):
        arkit_to_motion_parts(np.zeros((3, 51)), head)
