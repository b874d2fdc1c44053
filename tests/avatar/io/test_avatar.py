"""The avatar file: what is saved comes back, and what is damaged is refused with a word on what is wrong."""

import json
import shutil
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from rebinding import bound_like
from safetensors.torch import load_file, save_file

from avatar.errors import FormatError, InputError
from avatar.fields.gaussian_head import GaussianHead
from avatar.fields.speech_condition import SpeechCondition
from avatar.io.avatar import FILES, MANIFEST, PLATE, TRAINED, WEIGHTS, AvatarInfo, load_avatar, pack_avatar, save_avatar
from avatar.motion import Motion
from avatar.view_cone import ViewCone


@pytest.fixture
def folder(tiny_avatar: Path, tmp_path: Path) -> Path:
    """An avatar to damage."""
    return shutil.copytree(tiny_avatar, tmp_path / "avatar")


def change_manifest(folder: Path, **changes: object) -> None:
    path = folder / MANIFEST
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def change_tensors(folder: Path, change: Callable[[dict[str, torch.Tensor]], object]) -> None:
    tensors = {name: value.clone() for name, value in load_file(folder / WEIGHTS).items()}
    change(tensors)
    save_file(tensors, folder / WEIGHTS)


def test_a_saved_avatar_comes_back_within_half_precision(
    tiny_avatar: Path, tiny_gaussians: GaussianHead, tiny_motion: Motion
) -> None:
    assert sorted(path.name for path in tiny_avatar.iterdir()) == sorted(FILES)
    stored = load_avatar(tiny_avatar)
    for name in (*(name for name in TRAINED if name != "residuals"), "barycentric"):
        wanted = getattr(tiny_gaussians, name)
        assert torch.allclose(getattr(stored.gaussians, name), wanted, rtol=1e-3, atol=1e-6), name
    wanted = tiny_gaussians.residuals
    assert ((stored.gaussians.residuals - wanted).abs() <= 0.51 * wanted.abs().amax(0) / 127 + 1e-9).all()
    for name in ("triangles", "regions", "betas", "torso_vertices", "torso_faces"):
        assert torch.equal(getattr(stored.gaussians, name), getattr(tiny_gaussians, name)), name
    first, again = (g(g.poses(tiny_motion)[3]) for g in (tiny_gaussians, stored.gaussians))
    assert torch.allclose(first.means, again.means, atol=2e-5)
    assert torch.allclose(first.colors, again.colors, atol=2e-3)
    assert not any(p.requires_grad for p in stored.gaussians.parameters())


def test_manifest_speech_life_and_plate_come_back(tmp_path: Path, tiny_gaussians: GaussianHead) -> None:
    head = tiny_gaussians.head
    info = AvatarInfo(
        head.id,
        head.hash,
        len(tiny_gaussians),
        6,
        4,
        12.5,
        (30000, 1001),
        speech={"format": 1, "nets": 2},
        limits={"yaw": (-10.0, 12.0)},
        view_cone=ViewCone((-25.0, 30.0), (-10.0, 15.0)),
        provenance={"source_sha256": "ab"},
        consent="me, and I agree",
    )
    plate = np.random.default_rng(0).integers(0, 255, (4, 6, 3), dtype=np.uint8)
    speech, life = {"net0.weight": torch.eye(2)}, {"blink": torch.tensor([12.0, 0.2, 0.9])}
    save_avatar(tmp_path, info, tiny_gaussians, speech=speech, life=life, plate=plate, preview=plate[:2])
    stored = load_avatar(tmp_path)
    assert stored.info == info
    assert np.array_equal(stored.plate, plate)
    assert stored.speech.keys() == speech.keys() and torch.equal(stored.speech["net0.weight"], torch.eye(2))
    assert torch.equal(stored.life["blink"], life["blink"])
    preview = cv2.imread(str(tmp_path / "preview.png"))
    assert preview is not None and np.array_equal(preview[..., ::-1], plate[:2])
    assert not list(tmp_path.glob("*partial*"))


def test_one_file_holds_the_same_as_the_folder(tiny_avatar: Path, tmp_path: Path) -> None:
    pack_avatar(tiny_avatar, tmp_path / "me.avatar")
    one, other = load_avatar(tiny_avatar), load_avatar(tmp_path / "me.avatar")
    assert one.info == other.info and np.array_equal(one.plate, other.plate)
    for name, value in one.gaussians.state_dict().items():
        assert torch.equal(value, other.gaussians.state_dict()[name])
    assert [path.name for path in tmp_path.iterdir()] == ["me.avatar"]


def test_other_members_of_the_zip_are_never_touched(tiny_avatar: Path, tmp_path: Path) -> None:
    path = tmp_path / "in" / "me.avatar"
    path.parent.mkdir()
    pack_avatar(tiny_avatar, path)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("../evil", "out of the folder")
        archive.writestr("/tmp/evil", "anywhere")
        archive.writestr("setup.py", "raise SystemExit")
    assert load_avatar(path).info.gaussians > 0
    assert sorted(p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*")) == ["in", "in/me.avatar"]


def test_what_is_no_avatar_says_so(tmp_path: Path, tiny_avatar: Path) -> None:
    with pytest.raises(InputError, match="There is no avatar at"):
        load_avatar(tmp_path / "none.avatar")
    with pytest.raises(InputError, match=r"no avatar\.json, weights\.safetensors, background\.png"):
        load_avatar(tmp_path)
    (tmp_path / "text.avatar").write_text("hello")
    with pytest.raises(FormatError, match="is not an avatar"):
        load_avatar(tmp_path / "text.avatar")
    pack_avatar(tiny_avatar, tmp_path / "me.avatar")
    data = (tmp_path / "me.avatar").read_bytes()
    (tmp_path / "cut.avatar").write_bytes(data[: len(data) // 2])
    with pytest.raises(FormatError, match=r"is cut short[\s\S]*To do: copy it again"):
        load_avatar(tmp_path / "cut.avatar")
    with zipfile.ZipFile(tmp_path / "empty.avatar", "w") as archive:
        archive.writestr("readme.txt", "no manifest")
    with pytest.raises(FormatError, match=r"avatar\.json"):
        load_avatar(tmp_path / "empty.avatar")


@pytest.mark.parametrize("share", [0.05, 0.3, 0.6, 0.9])
def test_flipped_bytes_in_the_zip_are_noticed(share: float, tiny_avatar: Path, tmp_path: Path) -> None:
    path = tmp_path / "me.avatar"
    pack_avatar(tiny_avatar, path)
    data = bytearray(path.read_bytes())
    start = int(len(data) * share)
    data[start : start + 64] = bytes(255 - value for value in data[start : start + 64])
    path.write_bytes(data)
    with pytest.raises(FormatError):
        load_avatar(path)


@pytest.mark.parametrize("name", [MANIFEST, WEIGHTS, PLATE])
@pytest.mark.parametrize("content", [b"", b"\x89PNG no more", None])
def test_damaged_files_are_refused(name: str, content: bytes | None, folder: Path) -> None:
    whole = (folder / name).read_bytes()
    (folder / name).write_bytes(whole[:40] if content is None else content)
    with pytest.raises(FormatError, match="is damaged") as caught:
        load_avatar(folder)
    assert str(folder) in str(caught.value)


def test_another_layout_is_told_from_damage(folder: Path) -> None:
    (folder / MANIFEST).write_text('{"schema": 7, "everything": "new"}')
    with pytest.raises(FormatError) as caught:
        load_avatar(folder)
    assert str(caught.value) == (
        f"The avatar {folder} has another layout.\n"
        "  Expected: schema 1.\n"
        "  Found: schema 7.\n"
        "  To do: update headsplat, or make the avatar again."
    )


def test_another_version_of_the_head_is_refused(folder: Path) -> None:
    change_manifest(folder, head_hash="0123456789abcdef")
    with pytest.raises(InputError, match=r"another version of the head open-1.*\n.*0123456789ab"):
        load_avatar(folder)
    change_manifest(folder, head_id="flame-2023")
    with pytest.raises(InputError, match="There is no head model flame-2023"):
        load_avatar(folder)


@pytest.mark.parametrize(
    "wrong",
    [
        {"gaussians": -1},
        {"width": 0},
        {"focal": 0.0},
        {"fps": [25, 0]},
        {"focal": "wide"},
        {"fps": 25},
        {"limits": 3},
        {"view_cone": {"yaw": [5, 10], "pitch": [0, 0]}},
    ],
)
def test_manifests_of_impossible_values_are_refused(wrong: dict[str, object], folder: Path) -> None:
    change_manifest(folder, **wrong)
    with pytest.raises(FormatError, match="is damaged"):
        load_avatar(folder)


def test_a_number_of_gaussians_that_does_not_fit_is_refused(folder: Path) -> None:
    change_manifest(folder, gaussians=17)
    with pytest.raises(FormatError, match=r"offsets of shape \(17, 3\)"):
        load_avatar(folder)


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("offsets", torch.full((4000, 3), float("nan")), "finite offsets"),
        ("condition_basis", torch.tensor(1.0), "condition_basis of shape"),
        ("condition_mean", torch.zeros(5), "condition_mean of shape"),
        ("residual_levels", torch.zeros(4000, 9, 4, dtype=torch.int8), "residual_levels of shape"),
        ("residual_steps", torch.full((10, 4), float("nan")), "finite residual_steps"),
        ("triangles", torch.full((4000,), 1 << 20), "triangles below"),
        ("triangles", torch.full((4000,), -1), "triangles below"),
        ("regions", torch.full((4000,), 9, dtype=torch.uint8), "regions below"),
        ("torso_faces", torch.tensor([[0, 1, 1 << 20]]), "torso_faces below"),
        ("barycentric", torch.zeros(4000, 3), "barycentric rows that sum to 1"),
        ("betas", None, "betas of shape"),
    ],
)
def test_tensors_that_cannot_be_used_are_named(name: str, value: torch.Tensor | None, text: str, folder: Path) -> None:
    key = f"gaussians.{name}"
    change_tensors(folder, lambda t: t.pop(key) if value is None else t.update({key: value}))
    with pytest.raises(FormatError, match=text):
        load_avatar(folder)


def test_the_subjects_offsets_come_back_and_are_checked(
    tmp_path: Path, write_avatar, tiny_gaussians: GaussianHead
) -> None:
    told = torch.randn(tiny_gaussians.head.v_template.shape, generator=torch.Generator().manual_seed(0)) * 0.01
    shaped = bound_like(tiny_gaussians, vertex_offsets=told)
    folder = write_avatar(tmp_path / "shaped", shaped)
    torch.testing.assert_close(load_avatar(folder).gaussians.vertex_offsets, told, rtol=1e-3, atol=1e-6)
    change_tensors(folder, lambda t: t.update({"gaussians.vertex_offsets": torch.zeros(5, 3)}))
    with pytest.raises(FormatError, match="vertex_offsets of shape"):
        load_avatar(folder)


def test_an_avatar_without_offsets_stores_none(tiny_avatar: Path) -> None:
    assert "gaussians.vertex_offsets" not in load_file(tiny_avatar / WEIGHTS)
    assert not load_avatar(tiny_avatar).gaussians.vertex_offsets.any()


def test_too_many_betas_are_refused(folder: Path) -> None:
    change_tensors(folder, lambda t: t.update({"gaussians.betas": torch.zeros(5000)}))
    with pytest.raises(FormatError, match="up to 100 betas"):
        load_avatar(folder)


def test_a_refused_manifest_cannot_be_made_either() -> None:
    info = AvatarInfo("open-1", "ab", 10, 8, 8, 20.0, (25, 1))
    with pytest.raises(ValueError, match="must be positive"):
        replace(info, width=0)


def listening(gaussians: GaussianHead) -> GaussianHead:
    """A copy that hears two components of four channels."""
    copy = gaussians.subset(torch.ones(len(gaussians), dtype=torch.bool))
    generator = torch.Generator().manual_seed(0)
    weights, motion = (torch.randn(n, 2, generator=generator) for n in (20, len(copy.condition.mean)))
    copy.listen(SpeechCondition(weights, motion, torch.ones(2), feature_model="some", feature_rate=50.0))
    with torch.no_grad():
        copy.residuals[..., -2:].normal_(generator=generator)
    return copy.requires_grad_(False)


def save(folder: Path, gaussians: GaussianHead) -> None:
    head, picture = gaussians.head, np.zeros((4, 4, 3), np.uint8)
    info = AvatarInfo(head.id, head.hash, len(gaussians), 4, 4, 9.0, (25, 1))
    save_avatar(folder, info, gaussians, speech={}, life={}, plate=picture, preview=picture)


def test_what_an_avatar_hears_comes_back(tmp_path: Path, tiny_gaussians: GaussianHead) -> None:
    listener = listening(tiny_gaussians)
    assert listener.sound is not None
    save(tmp_path / "listener", listener)
    stored = load_avatar(tmp_path / "listener")
    assert stored.gaussians.sound is not None and stored.gaussians.sound.id == listener.sound.id
    assert torch.allclose(stored.gaussians.residuals, listener.residuals, atol=0.02)
    save(tmp_path / "deaf", tiny_gaussians)
    assert load_avatar(tmp_path / "deaf").gaussians.sound is None


def test_an_avatar_of_earlier_versions_loads(folder: Path, tiny_gaussians: GaussianHead) -> None:
    tensors = load_file(folder / WEIGHTS)
    for name in ("levels", "steps"):
        tensors.pop(f"gaussians.residual_{name}")
    save_file(tensors | {"gaussians.residuals": tiny_gaussians.residuals.detach().half()}, folder / WEIGHTS)
    manifest = json.loads((folder / MANIFEST).read_text())
    manifest.pop("sound")
    (folder / MANIFEST).write_text(json.dumps(manifest))
    stored = load_avatar(folder).gaussians
    assert stored.sound is None
    assert torch.allclose(stored.residuals, tiny_gaussians.residuals, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("name", ["sound_weights", "sound_motion", "sound_bias"])
def test_damaged_hearing_is_refused(tmp_path: Path, tiny_gaussians: GaussianHead, name: str) -> None:
    save(tmp_path, listening(tiny_gaussians))
    change_tensors(tmp_path, lambda tensors: tensors.pop(f"gaussians.{name}"))
    with pytest.raises(FormatError, match="sound"):
        load_avatar(tmp_path)
