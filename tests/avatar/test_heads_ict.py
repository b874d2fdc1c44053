"""ICT-FaceKit's adapter, on a clone whose files hold the open head's shapes in ICT's vertex order and units."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch

from avatar.errors import FormatError, InputError
from avatar.heads import ARKIT_NAMES, Head
from avatar.heads.adapters import HeadSource, read_head_source
from avatar.heads.adapters.completion import eyes_left_open, provisional
from avatar.heads.adapters.ict import PARTS, VERTICES, arkit_actions

SHIFT = np.array([0.0, 1.5, 5.0])


def layout_rows(open_head: Head) -> np.ndarray:
    """For each of ICT's vertices one of the open head's; what a part has too many of repeats its first."""
    rows = np.zeros(VERTICES, np.int64)
    for name, (start, stop) in PARTS.items():
        first, last = open_head.parts[name]
        rows[start:stop] = first
        rows[start : start + last - first] = np.arange(first, last)
    return rows


def write_obj(path: Path, points: np.ndarray, faces: str = "") -> None:
    lines = [f"v {x:.6f} {y:.6f} {z:.6f}" for x, y, z in points.tolist()]
    path.write_text("mtllib ICTFaceModelMaterial.mtl\n" + "\n".join(lines) + "\n" + faces)


@pytest.fixture(scope="module")
def clone(open_head: Head, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ICT-FaceKit") / "FaceXModel"
    folder.mkdir()
    rows = layout_rows(open_head)
    place = np.full(len(open_head.v_template), -1)
    for name, (start, _) in PARTS.items():
        first, last = open_head.parts[name]
        place[first:last] = np.arange(start, start + last - first)
    rest = open_head()[0].double().numpy()

    def write(name: str, vertices: np.ndarray, faces: str = "") -> None:
        write_obj(folder / f"{name}.obj", 100 * vertices[rows] + SHIFT, faces)

    corners = place[open_head.faces.numpy()] + 1
    text = "vt 0.25 0.75\nvt 0.5 0.5\nvt 1 0\n" + "\n".join(
        f"f {a}/1/1 {b}/2/1 {c}/3/1" for a, b, c in corners.tolist()
    )
    write("generic_neutral_mesh", rest, text)
    for index in range(3):
        write(f"identity{index:03d}", rest + open_head.shapedirs[..., index].numpy())
    actions = (open_head.exprdirs @ open_head.arkit_to_psi).double().numpy()
    for column, name in enumerate(open_head.arkit_names):
        stem = (
            re.sub("Left$", "_L", re.sub("Right$", "_R", name))
            if name not in ("jawLeft", "jawRight", "mouthLeft", "mouthRight")
            else name
        )
        if name == "tongueOut":
            continue
        if name in ("browInnerUp", "cheekPuff"):
            share = np.clip(0.5 + rest[:, :1] / 0.04, 0, 1)
            write(f"{name}_L", rest + share * actions[..., column])
            write(f"{name}_R", rest + (1 - share) * actions[..., column])
        elif name != "mouthClose":
            write(stem, rest + actions[..., column])
    write("jawOpen", posed(open_head, 2, [open_head.jaw_open_angle, 0, 0]))
    closed = posed(open_head, 2, [open_head.jaw_open_angle, 0, 0], expression="mouthClose")
    write("mouthClose", rest + closed - posed(open_head, 2, [open_head.jaw_open_angle, 0, 0]))
    up, down, inner, outer = open_head.eye_look_angles
    for side, letter in enumerate("LR"):
        write(f"eyeBlink_{letter}", rest + open_head.eyelid_dirs[..., side].numpy())
        inwards = -1 if letter == "L" else 1
        looks = {
            "Up": [-up, 0, 0],
            "Down": [down, 0, 0],
            "In": [0, inwards * inner, 0],
            "Out": [0, -inwards * outer, 0],
        }
        for look, turn in looks.items():
            write(f"eyeLook{look}_{letter}", posed(open_head, 3 + side, turn))
    return folder.parent


def posed(head: Head, joint: int, turn: list[float], *, expression: str | None = None) -> np.ndarray:
    pose = torch.zeros(1, 5, 3)
    pose[0, joint] = torch.tensor(turn)
    psi = None if expression is None else head.arkit_to_psi[None, :, head.arkit_names.index(expression)]
    return head(pose=pose, expression=psi)[0].double().numpy()


@pytest.fixture(scope="module")
def source(clone: Path) -> HeadSource:
    found = read_head_source(clone)
    assert isinstance(found, HeadSource)
    return found


@pytest.fixture(scope="module")
def rows(open_head: Head) -> np.ndarray:
    """For each vertex of the converted head, the open head's."""
    return np.concatenate([layout_rows(open_head)[slice(*ends)] for ends in PARTS.values()])


def test_the_clone_is_recognised_and_its_shells_are_left_out(source: HeadSource, clone: Path) -> None:
    assert source.name == "ict-facekit" and source.licence.startswith("MIT")
    assert list(source.parts) == list(PARTS)
    assert len(source.v_template) == sum(stop - start for start, stop in PARTS.values()) < VERTICES
    assert source.shapedirs.shape[2] == 3 and set(source.uv[:, 1].ravel()) == {0.5}
    inner = read_head_source(clone / "FaceXModel")
    assert isinstance(inner, HeadSource)
    np.testing.assert_array_equal(inner.v_template, source.v_template)


def test_metres_and_directions(source: HeadSource, open_head: Head, rows: np.ndarray) -> None:
    np.testing.assert_allclose(source.v_template, open_head.v_template.numpy()[rows] + 0.01 * SHIFT, atol=1e-6)
    np.testing.assert_allclose(source.shapedirs, open_head.shapedirs[..., :3].numpy()[rows], atol=1e-6)


def test_joints_of_jaw_and_eyes_are_found(source: HeadSource, open_head: Head) -> None:
    joints = source.J_regressor @ source.v_template - 0.01 * SHIFT
    truth = open_head.joints()[0].numpy()
    np.testing.assert_allclose(joints[3:], truth[3:], atol=1e-3)
    # Along its own axis and through the bone's slide the jaw's place is free: only its turn is felt.
    np.testing.assert_allclose(joints[2], truth[2], atol=2e-3)
    np.testing.assert_allclose(joints[:2], truth[:2], atol=0.02)
    assert source.jaw_open_angle == pytest.approx(open_head.jaw_open_angle, abs=0.01)
    assert source.eye_look_angles is not None
    np.testing.assert_allclose(source.eye_look_angles, open_head.eye_look_angles, atol=0.01)


def test_sculpted_shapes_come_back_through_the_joints(source: HeadSource, open_head: Head, rows: np.ndarray) -> None:
    head = Head(provisional(source, name="ict", reference=open_head))
    rest = head()[0].double().numpy()
    kept = np.concatenate([np.arange(*head.parts[name]) for name in ("skin", "teeth_lower", "tongue")])
    for joint, turn in ((2, [head.jaw_open_angle, 0.0, 0.0]), (3, [0.1, 0.0, 0.0]), (4, [0.0, 0.12, 0.0])):
        expected = posed(open_head, joint, turn)[rows] - open_head()[0].numpy()[rows]
        error = np.linalg.norm(posed(head, joint, turn) - rest - expected, axis=1)[kept]
        assert np.sqrt(np.mean(error**2)) < 0.15 * np.sqrt(np.mean(np.sum(expected[kept] ** 2, axis=1))), joint
    closed = posed(head, 2, [head.jaw_open_angle, 0, 0], expression="mouthClose")
    truth = posed(open_head, 2, [open_head.jaw_open_angle, 0, 0], expression="mouthClose")[rows] + 0.01 * SHIFT
    assert np.percentile(np.linalg.norm(closed - truth, axis=1)[kept], 95) < 2e-3


def test_arkit_actions_are_exact(source: HeadSource, open_head: Head, rows: np.ndarray) -> None:
    layout = provisional(source, name="ict", reference=open_head)
    assert {"browInnerUp", "cheekPuff", "mouthSmileLeft", "jawRight"} <= set(layout.arkit_names)
    assert not {"jawOpen", "eyeBlinkLeft", "tongueOut"} & set(layout.arkit_names)
    made = layout.exprdirs @ layout.arkit_to_psi
    truth = (open_head.exprdirs @ open_head.arkit_to_psi).numpy()[rows]
    for column, name in enumerate(layout.arkit_names):
        if name != "mouthClose":
            np.testing.assert_allclose(made[..., column], truth[..., open_head.arkit_names.index(name)], atol=2e-6)
    assert max(eyes_left_open(layout)) < 0.02


def test_every_action_has_a_spelling() -> None:
    stems = [re.sub("Left$", "_L", re.sub("Right$", "_R", name)) for name in ARKIT_NAMES]
    named = [
        name if name in ("jawLeft", "jawRight", "mouthLeft", "mouthRight") else stem
        for name, stem in zip(ARKIT_NAMES, stems, strict=True)
    ]
    assert set(arkit_actions(named)) == set(ARKIT_NAMES)


def test_broken_clones_say_what_to_do(clone: Path, tmp_path: Path) -> None:
    folder = tmp_path / "FaceXModel"
    folder.mkdir()
    pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 3\n"
    (folder / "generic_neutral_mesh.obj").write_text(pointer)
    with pytest.raises(FormatError, match="is not a mesh"):
        read_head_source(tmp_path)
    write_obj(folder / "generic_neutral_mesh.obj", np.zeros((4, 3)), "f 1 2 3 4\n")
    with pytest.raises(FormatError, match=r"is not ICT-FaceKit's.*\n.*26719 vertices.*\n.*Found: 4"):
        read_head_source(tmp_path)
    (folder / "generic_neutral_mesh.obj").write_bytes((clone / "FaceXModel/generic_neutral_mesh.obj").read_bytes())
    with pytest.raises(InputError, match=r"not a whole ICT-FaceKit.*\n.*\n.*no eyeBlink_L.*\n.*git lfs pull"):
        read_head_source(tmp_path)
