"""Writing the page's folder: what is in it, how large it is, and what is refused."""

import gzip
import io
import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from web_package import WebPackage

from avatar.errors import InputError
from avatar.heads.arkit import ARKIT_NAMES, arkit_to_motion_parts
from avatar.io.avatar import StoredAvatar, load_avatar
from avatar.motion import Motion
from avatar.render.export import FORMATS, export_avatar
from avatar.render.export._web_track import track_rows
from avatar.render.export.web import PLAYER_FILES
from avatar.render.motions import ease_motion, idle_motion

PLAYER = Path(__file__).resolve().parents[3] / "render" / "web"
LARGEST_AVATAR, LARGEST_COMPRESSED, LARGEST_PLAYER = 3_000_000, 1_100_000, 60_000


def test_the_folder_is_small_and_complete(web_folder: Path) -> None:
    names = {path.name for path in web_folder.iterdir()}
    assert names == {*PLAYER_FILES, "avatar.json", "avatar.bin", "track.bin", "sound.mp3"}
    package = WebPackage(web_folder)
    assert package.manifest["gaussians"] == 15_000 and package.manifest["components"] == 16
    assert package.manifest["data"]["bytes"] < LARGEST_AVATAR
    stored = (web_folder / "avatar.bin").read_bytes()
    assert len(stored) + len(gzip.compress((web_folder / "avatar.json").read_bytes())) < LARGEST_COMPRESSED
    player = sum(len(gzip.compress((web_folder / name).read_bytes())) for name in PLAYER_FILES)
    assert player < LARGEST_PLAYER
    assert list(package.manifest["coefficients"]) == list(ARKIT_NAMES)
    assert package.manifest["neutral"] == pytest.approx(package.rows.mean(0), abs=1.5)


def test_nothing_in_the_page_points_outside(web_folder: Path) -> None:
    for name in PLAYER_FILES:
        text = (web_folder / name).read_text()
        assert "http://" not in text.replace("http://www.w3.org", "") and "https://" not in text, name


def test_a_track_says_what_the_motion_says(web_avatar: StoredAvatar, tiny_motion: Motion, web_folder: Path) -> None:
    head = web_avatar.gaussians.head
    rows = track_rows(tiny_motion, head)
    parts = arkit_to_motion_parts(rows[:, :52], head)
    pose = rows[:, 52:73].reshape(-1, 7, 3)
    np.testing.assert_allclose(parts.expression, tiny_motion.expression, atol=1e-4)
    np.testing.assert_allclose(parts.eyelids, tiny_motion.eyelids, atol=1e-6)
    np.testing.assert_allclose(parts.jaw_pose + pose[:, 2], tiny_motion.jaw_pose, atol=1e-6)
    np.testing.assert_allclose(parts.leye_pose + pose[:, 3], tiny_motion.leye_pose, atol=1e-6)
    np.testing.assert_allclose(parts.reye_pose + pose[:, 4], tiny_motion.reye_pose, atol=1e-6)
    np.testing.assert_allclose(pose[:, 5], tiny_motion.transl, atol=1e-6)
    np.testing.assert_allclose(WebPackage(web_folder).rows, rows, atol=1e-3)


def test_the_independent_reader_finds_the_same_gaussians(
    web_avatar: StoredAvatar, tiny_motion: Motion, web_folder: Path
) -> None:
    package, gaussians = WebPackage(web_folder), web_avatar.gaussians
    order = torch.argsort(gaussians.triangles, stable=True)
    with torch.no_grad():
        expected = gaussians(gaussians.poses(tiny_motion[7:8])[0])
    found = package.world(package.rows[7])
    away = (found.means - expected.means[order]).norm(dim=1)
    assert away.pow(2).mean().sqrt() < 1.5e-4
    assert (found.colors - expected.colors[order]).abs().mean() < 0.02
    assert (found.scales / expected.scales[order]).log().abs().mean() < 0.05


def test_without_a_motion_the_avatar_lives_and_ends_as_it_begins(web_avatar: StoredAvatar, tmp_path: Path) -> None:
    figures = export_avatar(web_avatar, tmp_path / "site", FORMATS["web"])
    assert figures["seconds"] > 20
    package = WebPackage(tmp_path / "site")
    assert package.manifest["track"]["sound"] is None
    assert not (tmp_path / "site" / "sound.mp3").exists()
    idle = idle_motion(web_avatar, fps=25)
    assert idle.eyelids.max() > idle.eyelids.min() + 0.3
    steps = np.linalg.norm(np.diff(idle.transl, axis=0), axis=1)
    assert np.linalg.norm(idle.transl[-1] - idle.transl[0]) < 2 * steps.max()
    assert np.abs(idle.global_orient[-1] - idle.global_orient[0]).max() < 0.02
    neutral = ease_motion(web_avatar)
    assert np.abs(idle.expression.mean(0) - neutral.expression).max() < np.abs(idle.expression).max() + 1e-3


def test_any_spacing_in_time_becomes_even(web_avatar: StoredAvatar, tiny_motion: Motion, tmp_path: Path) -> None:
    kept = np.delete(np.arange(len(tiny_motion)), [3, 4, 11])
    export_avatar(web_avatar, tmp_path / "site", FORMATS["web"], motion=tiny_motion[kept])
    track = json.loads((tmp_path / "site" / "avatar.json").read_text())["track"]
    fps = web_avatar.info.fps[0] / web_avatar.info.fps[1]
    assert track["fps"] == pytest.approx(fps)
    assert track["frames"] == round(float(tiny_motion.time[-1] - tiny_motion.time[0]) * fps) + 1


def test_stereo_sound_of_any_rate_becomes_one_channel(
    web_avatar: StoredAvatar, tiny_motion: Motion, tmp_path: Path
) -> None:
    time = np.arange(2 * 22_050) / 22_050
    sound = np.stack([np.sin(2 * np.pi * 440 * time), np.zeros(len(time))], 1) * 0.5
    export_avatar(web_avatar, tmp_path / "site", FORMATS["web"], motion=tiny_motion, sound=(sound, 22_050))
    heard, rate = soundfile.read(io.BytesIO((tmp_path / "site" / "sound.mp3").read_bytes()))
    assert rate == 48_000 and heard.ndim == 1
    assert len(heard) / rate == pytest.approx(2, abs=0.06)
    assert np.sqrt((heard**2).mean()) == pytest.approx(0.25 / np.sqrt(2), rel=0.05)


def test_an_avatar_with_other_counts_of_components(
    web_avatar: StoredAvatar, tiny_avatar: Path, tiny_motion: Motion, tmp_path: Path
) -> None:
    few = load_avatar(tiny_avatar)
    export_avatar(few, tmp_path / "few", FORMATS["web"], motion=tiny_motion)
    package = WebPackage(tmp_path / "few")
    with torch.no_grad():
        expected = few.gaussians(few.gaussians.poses(tiny_motion[2:3])[0])
    order = torch.argsort(few.gaussians.triangles, stable=True)
    assert (package.world(package.rows[2]).means - expected.means[order]).abs().max() < 3e-4


def test_a_folder_in_use_is_left_as_it_is(web_avatar: StoredAvatar, tiny_motion: Motion, tmp_path: Path) -> None:
    taken = tmp_path / "site"
    taken.mkdir()
    (taken / "index.html").write_text("mine")
    with pytest.raises(InputError) as error:
        export_avatar(web_avatar, taken, FORMATS["web"], motion=tiny_motion)
    assert str(error.value) == (
        f"{taken} is there already.\n  Expected: a folder that does not exist yet.\n"
        "  Found: a folder with files in it.\n  To do: choose another output path, or remove it."
    )
    assert [path.name for path in tmp_path.rglob("*")] == ["site", "index.html"]
    (tmp_path / "file").write_text("mine")
    with pytest.raises(InputError, match=r"Found: a file\."):
        export_avatar(web_avatar, tmp_path / "file", FORMATS["web"], motion=tiny_motion)
    (tmp_path / "empty").mkdir()
    export_avatar(web_avatar, tmp_path / "empty", FORMATS["web"], motion=tiny_motion)
    assert (tmp_path / "empty" / "index.html").is_file()


def test_a_webcam_needs_mediapipe(web_avatar: StoredAvatar, tiny_motion: Motion, tmp_path: Path) -> None:
    (tmp_path / "package").mkdir()
    with pytest.raises(InputError, match=r"Found: no vision_bundle\.mjs, .*wasm\.\n  To do: run: npm pack @mediapipe"):
        export_avatar(web_avatar, tmp_path / "site", FORMATS["web"], motion=tiny_motion, webcam=tmp_path / "package")
    assert not (tmp_path / "site").exists()


def test_what_cannot_be_played_is_refused_and_leaves_nothing(
    web_avatar: StoredAvatar, tiny_motion: Motion, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match="The motion belongs to another head model"):
        export_avatar(web_avatar, tmp_path / "site", FORMATS["web"], motion=replace(tiny_motion, head_hash="0" * 64))
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be written"):
        export_avatar(web_avatar, tmp_path / "file" / "site", FORMATS["web"], motion=tiny_motion)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.usefixtures("build_tools")
def test_the_shipped_player_is_what_its_source_builds(tmp_path: Path) -> None:
    subprocess.run(
        [shutil.which("node") or "node", "build.mjs", tmp_path],
        cwd=PLAYER,
        check=True,
        capture_output=True,
        timeout=120,
    )
    for name in PLAYER_FILES:
        assert (tmp_path / name).read_bytes() == (PLAYER / "dist" / name).read_bytes(), f"{name}: npm run build"


def test_the_wheel_ships_the_player_and_not_its_tools(tmp_path: Path) -> None:
    pytest.importorskip("setuptools")
    root = PLAYER.parents[1]
    command = [sys.executable, "setup.py", "-q", "build_py", "--build-lib", str(tmp_path)]
    subprocess.run(command, cwd=root, check=True, capture_output=True, timeout=120)
    shipped = {path.relative_to(tmp_path).as_posix() for path in (tmp_path / "avatar" / "render" / "web").rglob("*.*")}
    assert shipped == {f"avatar/render/web/dist/{name}" for name in PLAYER_FILES}
