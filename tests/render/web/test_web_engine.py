"""The player's maths against the Python package's, with node and no browser."""

import copy
import gzip
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from rebinding import bound_like
from web_package import WebPackage, camera_entry, camera_of, premultiplied, psnr

from avatar.fields.condition import MotionCondition, motion_features
from avatar.fields.gaussian_head import GaussianHead
from avatar.io.avatar import StoredAvatar, load_avatar
from avatar.motion import Motion
from avatar.render.export import FORMATS, export_avatar
from avatar.render.playback import render_pose

FRAMES, SIZE = (3, 11, 26), 320
Node = Callable[..., dict[str, Any]]


@pytest.fixture(scope="module")
def played(run_node: Node, web_folder: Path, web_avatar: StoredAvatar) -> Path:
    package = WebPackage(web_folder)
    camera = camera_entry(camera_of(web_avatar, SIZE))
    job = {"folder": str(web_folder), "rows": [package.rows[i].tolist() for i in FRAMES], "camera": camera}
    result = run_node("engine.mjs", job, timeout=60)
    assert result["same"], "a picture changed after one of another size was drawn"
    return Path(result["output"])


@pytest.mark.parametrize("index", range(len(FRAMES)))
def test_gaussians_lie_where_python_puts_them(played: Path, web_folder: Path, index: int) -> None:
    package = WebPackage(web_folder)
    expected = package.world(package.rows[FRAMES[index]])
    found = np.fromfile(played / f"world-{index}.bin", np.float32).reshape(-1, 12)
    np.testing.assert_allclose(found[:, :3], expected.means.numpy(), atol=2e-5)
    turns = torch.nn.functional.normalize(expected.quats, dim=1)
    w, x, y, z = turns.unbind(1)
    rows = [
        (1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)),
        (2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)),
        (2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)),
    ]
    matrix = torch.stack([torch.stack(row, -1) for row in rows], -2) * expected.scales[:, None]
    spread = (matrix @ matrix.mT).flatten(1)[:, [0, 1, 2, 4, 5, 8]].numpy()
    size = np.abs(spread).max(1, keepdims=True)
    error = np.abs(found[:, 4:10] - spread) / size
    # A sliver of a triangle turns with the last digit of its corners.
    assert np.quantile(error, 0.999) < 0.01
    colors = found[:, 3].copy().view(np.uint8).reshape(-1, 4) / 255
    looks = np.concatenate([expected.colors.numpy(), expected.opacities.numpy()[:, None]], 1)
    np.testing.assert_allclose(colors, looks, atol=0.51 / 255 + 1e-4)


def test_gaussians_are_sorted_from_far_to_near(played: Path) -> None:
    found = np.fromfile(played / "sorted-1.bin", np.float32).reshape(-1, 12)
    stored = np.fromfile(played / "world-1.bin", np.float32).reshape(-1, 12)
    step = np.ptp(found[:, 2]) / 65535
    assert (np.diff(found[:, 2]) > -1.01 * step).all()
    np.testing.assert_array_equal(np.sort(found[:, 2]), np.sort(stored[:, 2]))


@pytest.mark.parametrize("index", range(len(FRAMES)))
def test_the_picture_is_that_of_our_rasteriser(
    played: Path, web_avatar: StoredAvatar, tiny_motion: Motion, index: int
) -> None:
    gaussians = web_avatar.gaussians
    pose = gaussians.poses(tiny_motion[FRAMES[index] : FRAMES[index] + 1])[0]
    expected = render_pose(gaussians, pose, camera_of(web_avatar, SIZE), threads=1)
    found = np.fromfile(played / f"picture-{index}.bin", np.uint8).reshape(SIZE, SIZE, 4)
    head = expected.alpha[..., 0].numpy() > 0.5
    assert head.mean() > 0.1
    assert psnr(premultiplied(found)[head], expected.image.numpy()[head]) > 38
    assert psnr(found[..., 3] / 255.0, expected.alpha[..., 0].numpy()) > 38


@pytest.mark.parametrize("actions", [41, 0])
def test_heads_whose_expressions_are_not_arkit_s(
    run_node: Node,
    write_avatar: Callable[[Path, GaussianHead], Path],
    tiny_gaussians: GaussianHead,
    tiny_motion: Motion,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    actions: int,
) -> None:
    """As of FLAME: more directions than actions; or a head that knows no actions at all."""
    generator = np.random.default_rng(2)
    head = copy.deepcopy(tiny_gaussians.head)
    more = torch.as_tensor(generator.normal(scale=2e-4, size=(*head.exprdirs.shape[:2], 4)), dtype=torch.float32)
    head.exprdirs = torch.cat([head.exprdirs, more], 2)
    head.arkit_to_psi = torch.cat([head.arkit_to_psi, torch.zeros(4, 41)])[:, :actions]
    head.psi_to_arkit = torch.linalg.pinv(head.arkit_to_psi)
    head.arkit_names = head.arkit_names[:actions]
    extra = generator.normal(scale=0.5, size=(len(tiny_motion), 4)).astype(np.float32)
    motion = replace(tiny_motion, expression=np.concatenate([tiny_motion.expression, extra], 1))
    condition = MotionCondition.fit(motion_features(motion, head), 5)
    gaussians = bound_like(tiny_gaussians, head=head, condition=condition).requires_grad_(False)
    for name in ("log_scales", "opacity_logits", "color_logits"):
        getattr(gaussians, name).copy_(getattr(tiny_gaussians, name))
    gaussians.residuals.copy_(torch.as_tensor(generator.normal(scale=0.1, size=gaussians.residuals.shape)))
    monkeypatch.setattr("avatar.io.avatar.load_head", lambda name: head)
    stored = load_avatar(write_avatar(tmp_path / "avatar", gaussians))
    still = replace(motion[:1], time=np.zeros(1))
    monkeypatch.setattr("avatar.render.export.web.ease_motion", lambda stored: still)
    export_avatar(stored, tmp_path / "site", FORMATS["web"], motion=motion)
    package = WebPackage(tmp_path / "site")
    assert package.rows.shape[1] == 73 + 45
    job = {"folder": str(tmp_path / "site"), "rows": [package.rows[9].tolist()]}
    result = run_node("engine.mjs", job | {"camera": camera_entry(camera_of(stored, 64))}, timeout=60)
    found = np.fromfile(Path(result["output"]) / "world-0.bin", np.float32).reshape(-1, 12)
    np.testing.assert_allclose(found[:, :3], package.world(package.rows[9]).means.numpy(), atol=2e-5)
    order = torch.argsort(gaussians.triangles, stable=True)
    expected = gaussians(gaussians.poses(motion[9:10])[0])
    assert np.sqrt(((found[:, :3] - expected.means[order].numpy()) ** 2).mean()) < 1e-4


def test_bad_packages_are_refused_in_one_sentence(run_node: Node, web_folder: Path, tmp_path: Path) -> None:
    def broken(name: str, change: Callable[[Path], object]) -> str:
        folder = Path(shutil.copytree(web_folder, tmp_path / name))
        change(folder)
        return str(folder)

    def with_manifest(**changes: Any) -> Callable[[Path], object]:
        def change(folder: Path) -> None:
            manifest = json.loads((folder / "avatar.json").read_text()) | changes
            (folder / "avatar.json").write_text(json.dumps(manifest))

        return change

    data = (web_folder / "avatar.bin").read_bytes()
    raw = gzip.decompress(data)
    text = (web_folder / "avatar.json").read_text()
    folders = [
        broken("newer", with_manifest(schema=2)),
        broken("other", with_manifest(format="something")),
        broken("cut", lambda folder: (folder / "avatar.bin").write_bytes(data[: len(data) // 2])),
        broken("short", lambda folder: (folder / "avatar.bin").write_bytes(raw[:-1000])),
        broken("json", lambda folder: (folder / "avatar.json").write_text(text[:500])),
        broken("array", with_manifest(arrays={})),
        broken("raw", lambda folder: (folder / "avatar.bin").write_bytes(raw)),
    ]
    refused = run_node("engine.mjs", {"broken": folders}, timeout=60)["refused"]
    assert refused == [
        "PlayerError: This avatar was exported for another version of the player (its layout is 2, this player reads "
        "1): export it again, or update the player.",
        "PlayerError: This is no avatar for the web player: export one with `avatar export me --format web`.",
        "PlayerError: This avatar is damaged: avatar.bin is cut short. Export it again.",
        f"PlayerError: This avatar is damaged: avatar.bin has {len(raw) - 1000} bytes and not {len(raw)}. "
        "Export it again.",
        "PlayerError: This avatar is damaged: avatar.json is cut short. Export it again.",
        "PlayerError: This avatar is damaged: it has no faces. Export it again.",
        None,
    ]
