"""Imported heads: FLAME's layout from a synthetic model, from the file to an avatar that renders."""

import json
import pickle
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file

from avatar import cli
from avatar.commands.heads import head_info, import_head
from avatar.errors import FormatError, InputError
from avatar.face_mesh import INNER_LIPS, OVAL
from avatar.heads import (
    ArkitMotion,
    Embedding,
    Head,
    arkit_to_motion_parts,
    load_head,
    motion_parts_to_arkit,
    read_head,
)
from avatar.heads.adapters import HeadSource, landmarks, read_head_source
from avatar.heads.adapters.completion import provisional
from avatar.heads.arkit import ARKIT_NAMES
from avatar.heads.layout import HeadLayout
from avatar.heads.library import heads_folder, imported, keep_head
from avatar.io.audio import write_wav
from avatar.io.avatar import load_avatar
from avatar.io.take import Take
from avatar.io.video import probe
from avatar.motion import Motion
from avatar.preprocess.tracking import TrackingConfig, track
from avatar.render.export.formats import FORMATS
from avatar.speech.features import LOG_MEL
from avatar.train import config as train_config
from avatar.train.config import TrainConfig

FEW_VIEWS = ((0, 0), (0.35, 0), (-0.35, 0), (0, 0.2), (0, -0.2))
QUICK = TrainConfig(
    gaussians=400,
    torso_gaussians=80,
    components=3,
    steps=30,
    residual_start=10,
    checkpoint_every=20,
    feature_weight=0.0,
    close_pinholes=False,
)


@pytest.fixture(scope="session")
def heads_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HEADSPLAT_HEADS", str(tmp_path_factory.mktemp("heads")))
        yield heads_folder()


@pytest.fixture(scope="session")
def flame_head(
    flame_content: dict[str, Any],
    heads_home: Path,
    perception_parts: list[Path],
    tmp_path_factory: pytest.TempPathFactory,
) -> str:
    """The synthetic model imported under a name, looked at from fewer sides than usual."""
    path = tmp_path_factory.mktemp("flame") / "flame2023.pkl"
    path.write_bytes(pickle.dumps({key: value for key, value in flame_content.items() if key != "kept"}, protocol=2))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(landmarks, "VIEWS", FEW_VIEWS)
        patch.setattr(landmarks, "FIRST_VIEWS", FEW_VIEWS[:3])
        patch.setattr(landmarks, "JAWS", (0.0, 0.2))
        return import_head(path, identities=1).stem


def same_model(found: HeadSource | HeadLayout, content: dict[str, Any]) -> None:
    np.testing.assert_array_equal(found.f, content["f"])
    np.testing.assert_allclose(found.v_template, content["v_template"], atol=1e-6)
    assert found.shapedirs.shape == (5023, 3, 300) and found.exprdirs.shape == (5023, 3, 100)
    np.testing.assert_allclose(found.exprdirs, content["shapedirs"][..., 300:], atol=1e-6)
    np.testing.assert_allclose(found.J_regressor @ found.v_template, content["J"], atol=1e-6)
    assert list(found.parts) == ["skin", "eye_l", "eye_r"] and found.parts["eye_r"][1] == 5023


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_a_pickle_with_chumpy_arrays_is_read(
    flame_pickle: Callable[..., Path], flame_content: dict[str, Any], protocol: int
) -> None:
    found = read_head_source(flame_pickle(protocol=protocol))
    assert isinstance(found, HeadSource)
    same_model(found, flame_content)
    assert found.name == "flame-2020" and found.licence == "user-supplied; licence of the publisher applies"


def test_the_same_keys_are_read_from_npz_and_safetensors(flame_content: dict[str, Any], tmp_path: Path) -> None:
    arrays = {key: value for key, value in flame_content.items() if isinstance(value, np.ndarray) and key != "kept"}
    arrays["J_regressor"] = flame_content["J_regressor"].toarray()
    np.savez(tmp_path / "model.npz", **arrays)
    save_file({key: np.ascontiguousarray(value) for key, value in arrays.items()}, tmp_path / "model.safetensors")
    for name in ("model.npz", "model.safetensors"):
        found = read_head_source(tmp_path / name)
        same_model(found, flame_content)


def test_editions_are_told_by_their_content(flame_pickle: Callable[..., Path], flame_content: dict[str, Any]) -> None:
    def edition(name: str, **changes: Any) -> str:
        found = read_head_source(flame_pickle(name, **changes))
        assert isinstance(found, HeadSource)
        return found.name

    assert edition("flame2023.pkl") == "flame-2023"
    assert edition("flame2023_Open.pkl") == "flame-2023-open"
    assert edition("model.pkl") == "flame"
    assert edition("model.pkl", license="FLAME 2023 Open, CC-BY-4.0") == "flame-2023-open"
    face_only = flame_content["shapedirs"].copy()
    face_only[flame_content["v_template"][:, 2] < 0.02, :, 300:] = 0
    assert edition("flame2023.pkl", shapedirs=face_only) == "flame-2019"


def test_posing_follows_the_published_formula(flame_pickle: Callable[..., Path], open_head: Head) -> None:
    """Linear blend skinning as in the SMPL and FLAME papers, written out with loops over the joints."""
    source = read_head_source(flame_pickle())
    assert isinstance(source, HeadSource)
    head = Head(provisional(source, name="x", reference=open_head))
    generator = torch.Generator().manual_seed(0)
    pose = 0.3 * torch.randn(1, 5, 3, generator=generator)
    betas, expression = (torch.randn(1, n, generator=generator) for n in (300, 100))
    found = head(betas=betas, expression=expression, pose=pose)[0].double().numpy()

    shaped = source.v_template + source.shapedirs @ betas[0].double().numpy()
    turns = [torch.linalg.matrix_exp(_cross(axis)).numpy() for axis in pose[0].double()]
    joints = source.J_regressor @ shaped
    features = np.concatenate([(turn - np.eye(3)).ravel() for turn in turns[1:]])
    rest = shaped + source.exprdirs @ expression[0].double().numpy() + source.posedirs @ features
    world = []
    for turn, joint, parent in zip(turns, joints, (-1, 0, 1, 1, 1), strict=True):
        local = np.eye(4)
        local[:3, :3], local[:3, 3] = turn, joint - (joints[parent] if parent >= 0 else 0)
        world.append(local if parent < 0 else world[parent] @ local)
    expected = np.zeros_like(rest)
    for weight, matrix, joint in zip(source.weights.T, world, joints, strict=True):
        expected += weight[:, None] * ((rest - joint) @ matrix[:3, :3].T + matrix[:3, 3])
    np.testing.assert_allclose(found, expected, atol=2e-5)


def _cross(axis: torch.Tensor) -> torch.Tensor:
    x, y, z = axis
    zero = torch.zeros_like(x)
    return torch.stack([zero, -z, y, z, zero, -x, -y, x, zero]).reshape(3, 3)


def test_eyeballs_that_come_first_are_put_last(
    flame_pickle: Callable[..., Path], flame_content: dict[str, Any]
) -> None:
    """Parts are ranges, so that another order of the vertices is changed, and everything with it."""
    order = np.roll(np.arange(5023), 700)
    place = np.argsort(order)
    changed = {key: flame_content[key][order] for key in ("v_template", "shapedirs", "posedirs", "weights")}
    changed |= {"f": place[flame_content["f"]], "J_regressor": flame_content["J_regressor"].toarray()[:, order]}
    found = read_head_source(flame_pickle(**changed))
    assert isinstance(found, HeadSource)
    ball = found.v_template[slice(*found.parts["eye_l"])]
    assert np.linalg.norm(ball.mean(axis=0) - flame_content["J"][3]) < 0.01
    triangles = flame_content["v_template"][flame_content["f"]]
    np.testing.assert_allclose(found.v_template[found.f], triangles, atol=1e-9)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"posedirs": None}, "Found: no posedirs"),
        ({"weights": np.ones((5023, 4))}, r"Expected: weights of shape \(5023, 5\)"),
        ({"shapedirs": np.zeros((5023, 3, 150))}, "300 identity and 100 expression directions"),
        ({"kintree_table": np.array([[-1, 0, 0, 1, 1]])}, r"Found: \(-1, 0, 0, 1, 1\)"),
        ({"f": np.array([[0, 1, 9999]])}, "triangles of vertices 0 to 5022"),
        ({"v_template": np.full((5023, 3), np.nan)}, "finite numbers in v_template"),
        ({"v_template": "text"}, "numbers in v_template"),
    ],
)
def test_models_that_are_not_flame_are_refused(
    flame_pickle: Callable[..., Path], changes: dict[str, Any], reason: str
) -> None:
    with pytest.raises(FormatError, match=reason):
        read_head_source(flame_pickle(**changes))


def test_other_units_and_axes_are_refused(flame_pickle: Callable[..., Path], flame_content: dict[str, Any]) -> None:
    with pytest.raises(FormatError, match=r"not a head in metres.*\n.*eyes 0\.045 to 0\.085 apart"):
        read_head_source(flame_pickle(v_template=1000 * flame_content["v_template"]))
    with pytest.raises(FormatError, match="does not face us"):
        read_head_source(flame_pickle(v_template=flame_content["v_template"] * [-1, 1, -1]))


def test_files_that_are_no_heads_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"There is no head model at .*\n.*a FLAME model"):
        read_head_source(tmp_path / "absent.pkl")
    (tmp_path / "list.pkl").write_bytes(pickle.dumps([1, 2]))
    with pytest.raises(FormatError, match=r"holds no head model.*\n.*\n.*Found: list"):
        read_head_source(tmp_path / "list.pkl")
    np.savez(tmp_path / "other.npz", a=np.zeros(3))
    with pytest.raises(FormatError, match=r"holds no head model.*\n.*\n.*Found: a\."):
        read_head_source(tmp_path / "other.npz")
    (tmp_path / "broken.npz").write_bytes(b"PK\x03\x04 and no more")
    with pytest.raises(FormatError, match="must be unpacked first"):
        read_head_source(tmp_path / "broken.npz")
    with zipfile.ZipFile(tmp_path / "FLAME2023.zip", "w") as archive:
        archive.writestr("FLAME2023/flame2023.pkl", pickle.dumps([1]))
    with pytest.raises(FormatError, match=r"is an archive.*\n.*\n.*Found: FLAME2023/flame2023.pkl.*\n.*unpack it"):
        read_head_source(tmp_path / "FLAME2023.zip")
    (tmp_path / "generic_model.pkl").write_text("<!DOCTYPE html><html>Please log in</html>")
    with pytest.raises(FormatError, match=r"cannot be read as a pickle.*\n.*\n.*\n.*To do: .*a web page"):
        read_head_source(tmp_path / "generic_model.pkl")
    (tmp_path / "x.safetensors").write_bytes(b"\x40\0\0\0\0\0\0\0{nothing")
    with pytest.raises(FormatError, match="is not a safetensors file"):
        read_head_source(tmp_path / "x.safetensors")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"does not say which head model.*\n.*\n.*no model file"):
        read_head_source(tmp_path / "empty")


def test_a_hostile_file_ends_in_one_line_and_runs_nothing(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, heads_home: Path
) -> None:
    mark = tmp_path / "mark"
    hostile = f"(dS'v_template'\ncposix\nsystem\n(S'touch {mark}'\ntRs.".encode()
    (tmp_path / "generic_model.pkl").write_bytes(hostile)
    with pytest.raises(SystemExit) as stop:
        cli.main(["heads", "import", str(tmp_path / "generic_model.pkl")])
    assert stop.value.code == 2 and not mark.exists()
    text = capsys.readouterr().err
    assert "a request for posix.system, which was not run" in text and "Traceback" not in text


def test_the_landmarks_are_found_where_they_are(
    flame_head: str, flame_content: dict[str, Any], open_head: Head
) -> None:
    head = load_head(flame_head)
    found = head.landmark_positions(head())[0].numpy()
    truth = open_head.landmark_positions(open_head())[0].numpy() * [1.05, 1.02, 1.03] + [0.0, -0.012, 0.008]
    error = np.linalg.norm(found - truth, axis=1)
    sure = np.setdiff1d(np.arange(478), [*OVAL, *INNER_LIPS])
    # The open head's own embedding is known to about half a millimetre.
    assert np.median(error[sure]) < 1.2e-3 and np.percentile(error[sure], 95) < 4e-3
    assert read_head(heads_folder() / f"{flame_head}.npz").quality["landmarks_reprojection"] < 0.03


def test_landmarks_that_nobody_agrees_on_are_mended(flame_head: str, open_head: Head) -> None:
    layout = read_head(heads_folder() / f"{flame_head}.npz")
    assert layout.lmk478 is not None
    torn = [61, 78, 415]
    faces, sigma = layout.lmk478.faces.copy(), layout.lmk478.sigma.copy()
    faces[torn] = int(np.argmin(layout.v_template[layout.f].mean(axis=1)[:, 2]))
    sigma[torn] = 0.012
    broken = replace(layout, lmk478=replace(layout.lmk478, faces=faces, sigma=sigma))
    mended = landmarks.mended(broken, open_head)

    def place(embedding: Embedding) -> np.ndarray:
        return np.einsum("lk,lkc->lc", embedding.barycentric, layout.v_template[layout.f[embedding.faces]])

    truth = open_head.landmark_positions(open_head())[0].numpy() * [1.05, 1.02, 1.03] + [0.0, -0.012, 0.008]
    assert np.linalg.norm(place(mended) - truth, axis=1)[torn].max() < 4e-3
    kept = np.setdiff1d(np.flatnonzero(sigma < landmarks.UNSURE), torn)
    np.testing.assert_array_equal(place(mended)[kept], place(layout.lmk478)[kept])


def test_actions_look_like_the_open_head_s(flame_head: str, flame_content: dict[str, Any], open_head: Head) -> None:
    head = load_head(flame_head)
    kept = flame_content["kept"]
    front = (flame_content["v_template"][:, 2] > 0.02) & (np.arange(5023) < head.parts["skin"][1])
    truth = (open_head.exprdirs @ open_head.arkit_to_psi).numpy()[kept][front] * np.array([1.05, 1.02, 1.03])[:, None]
    made = (head.exprdirs @ head.arkit_to_psi).numpy()[front]
    assert set(head.arkit_names) == set(open_head.arkit_names) - {"tongueOut"}
    errors = {}
    for column, name in enumerate(head.arkit_names):
        goal = truth[..., open_head.arkit_names.index(name)]
        errors[name] = np.linalg.norm(made[..., column] - goal) / np.linalg.norm(goal)
    assert np.median(list(errors.values())) < 0.15 and max(errors.values()) < 0.4
    assert head.jaw_open_angle == pytest.approx(open_head.jaw_open_angle, rel=0.25)
    stated = head_info(flame_head)["arkit_relative_error"]
    assert set(stated) == set(head.arkit_names) and all(0 <= value < 0.5 for value in stated.values())


def test_lids_shut(flame_head: str) -> None:
    quality = read_head(heads_folder() / f"{flame_head}.npz").quality
    assert quality["open_eye_l"] < 0.03 and quality["open_eye_r"] < 0.03


def test_arkit_weights_survive_the_way_there_and_back(flame_head: str) -> None:
    head = load_head(flame_head)
    weights = np.zeros((len(head.arkit_names), len(ARKIT_NAMES)), np.float32)
    for row, name in enumerate(head.arkit_names):
        weights[row, ARKIT_NAMES.index(name)] = 0.7
    parts = arkit_to_motion_parts(weights, head)
    assert isinstance(parts, ArkitMotion)
    back = motion_parts_to_arkit(parts, head)
    np.testing.assert_allclose(back, weights, atol=0.05)


def test_heads_are_listed_and_told_about(flame_head: str, capsys: pytest.CaptureFixture[str]) -> None:
    cli.main(["heads", "list", "--json"])
    rows = {row["name"]: row for row in json.loads(capsys.readouterr().out)}
    assert rows["open"]["shipped"] and not rows[flame_head]["shipped"]
    assert rows[flame_head]["vertices"] == 5023 and rows[flame_head]["identity"] == 300
    cli.main(["heads", "info", flame_head])
    text = capsys.readouterr().out
    assert "licence of the publisher applies" in text and "mouthSmileLeft" in text and "landmarks_sigma_mm" in text
    with pytest.raises(InputError, match=rf"no head model flame-1999.*\n.*{flame_head}.*\n.*avatar heads import PATH"):
        load_head("flame-1999")


def test_a_name_keeps_its_model(flame_head: str, open_head: Head) -> None:
    layout = read_head(heads_folder() / f"{flame_head}.npz")
    assert keep_head(layout) == heads_folder() / f"{flame_head}.npz"
    with pytest.raises(InputError, match=f"another head named {flame_head}"):
        keep_head(replace(layout, v_template=layout.v_template + np.float32(0.001)))
    assert read_head(heads_folder() / f"{flame_head}.npz").hash == layout.hash
    for name in ("open", "../up", "", "a b"):
        with pytest.raises(InputError, match="cannot be named"):
            keep_head(replace(layout, id=name))
    assert imported() == [flame_head]


def test_a_head_in_our_layout_is_kept_as_it_is(flame_head: str, heads_home: Path, tmp_path: Path) -> None:
    copy = tmp_path / "mine.npz"
    copy.write_bytes((heads_home / f"{flame_head}.npz").read_bytes())
    path = import_head(copy, name="mine")
    try:
        assert load_head("mine").id == "mine" and load_head("mine").hash == load_head(flame_head).hash
    finally:
        path.unlink()


def test_a_head_without_a_face_says_so(
    open_head: Head, flame_pickle: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(landmarks, "FIRST_VIEWS", FEW_VIEWS[:2])
    source = read_head_source(flame_pickle())
    assert isinstance(source, HeadSource)
    layout = provisional(source, name="x", reference=open_head)
    with pytest.raises(InputError, match=r"cannot be embedded.*\n.*most of 4 pictures.*\n.*one in 0"):
        landmarks.embed_by_detection(layout, open_head, detect=lambda image: None)


def test_an_avatar_is_made_with_an_imported_head(
    flame_head: str,
    take_copy: Take,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Tracking, training, evaluation, rendering, speech, edits and exports know the head by its name alone."""
    head = load_head(flame_head)
    figures = track(take_copy, head, config=TrackingConfig(shared_steps=120))
    take = Take.open(take_copy.path)
    assert take.info.head_id == flame_head and take.motion().head_hash == head.hash
    # The person is the open head: what is left is how well one head explains another.
    assert figures["reprojection_iod_median"] < 0.03, figures

    monkeypatch.setitem(train_config.PRESETS, "fast", QUICK)
    capsys.readouterr()
    cli.main(["train", str(take.path), "-o", str(tmp_path / "me"), "--preset", "fast", "--json"])
    report = json.loads(capsys.readouterr().out)
    assert report["avatar"]["head"] == flame_head and report["held_out"]["video_driven"]["psnr"] > 12
    stored = load_avatar(tmp_path / "me")
    assert stored.gaussians.head.hash == head.hash
    where = ["--motion", str(take.path / "motion.npz"), "-o", str(tmp_path / "talk.mp4")]
    cli.main(["render", str(tmp_path / "me"), "--camera", "orbit", *where])
    assert probe(tmp_path / "talk.mp4").frames > 10
    write_wav(tmp_path / "a.wav", 0.1 * np.random.default_rng(0).standard_normal(16000).astype(np.float32))
    monkeypatch.setattr("avatar.speech.stand_in.at_hand", lambda kind: LOG_MEL)
    spoken = ["--audio", str(tmp_path / "a.wav"), "--emotion", "happy:0.5", "--gain", "blinks=0", "--gaze", "camera"]
    out = ["--motion-out", str(tmp_path / "said.npz"), "-o", str(tmp_path / "said.mp4"), "--size", "32"]
    cli.main(["render", str(tmp_path / "me"), *spoken, *out])
    said = Motion.load(tmp_path / "said.npz")
    assert said.head_hash == head.hash and np.ptp(said.jaw_pose[:, 0]) + np.ptp(said.expression) > 0.01
    for name in sorted(FORMATS):
        written = tmp_path / f"{name}{'' if FORMATS[name].is_folder else FORMATS[name].suffixes[0]}"
        cli.main(["export", str(tmp_path / "me"), "--format", name, "-o", str(written)])
        assert written.exists()
