"""The zip for LAM's web renderer, put together as that renderer does it."""

import io
import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
from glb_reader import Reader
from plyfile import PlyData
from splat_parity import from_columns, picture, psnr

from avatar.heads.arkit import ARKIT_NAMES, arkit_to_motion_parts
from avatar.io.avatar import StoredAvatar
from avatar.motion import Motion
from avatar.render.export import FORMATS, export_avatar, neutral_motion, posed


@pytest.fixture(scope="module")
def unzipped(stored: StoredAvatar, moment: Motion, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("lam")
    export_avatar(stored, folder / "ada.zip", FORMATS["lam"], moment=moment)
    with zipfile.ZipFile(folder / "ada.zip") as archive:
        assert [entry.filename for entry in archive.infolist() if entry.is_dir()] == ["ada/"]
        archive.extractall(folder)
    return folder / "ada"


@pytest.mark.parametrize("action", [None, "jawOpen", "eyeBlinkRight", "mouthFunnel"])
def test_the_renderers_sum_is_the_avatar(action: str | None, unzipped: Path, stored: StoredAvatar) -> None:
    reader = Reader(unzipped / "skin.glb")
    (primitive,) = reader.gltf.meshes[0].primitives
    centres = reader.array(primitive.attributes.POSITION).astype(float)
    assert reader.gltf.meshes[0].extras["targetNames"] == list(ARKIT_NAMES)
    weights = np.zeros((1, 52), np.float32)
    if action is not None:
        weights[0, ARKIT_NAMES.index(action)] = 1
        centres = centres + reader.array(primitive.targets[ARKIT_NAMES.index(action)]["POSITION"])
    vertex = PlyData.read(io.BytesIO((unzipped / "offset.ply").read_bytes()))["vertex"]

    def columns(*names: str) -> np.ndarray:
        return np.stack([vertex[name] for name in names], axis=1).astype(np.float64)

    back = from_columns(
        centres + columns("x", "y", "z") - [0, 1.66, 0],
        columns("rot_0", "rot_1", "rot_2", "rot_3"),
        np.exp(columns("scale_0", "scale_1", "scale_2")),
        1 / (1 + np.exp(-vertex["opacity"].astype(float))),
        columns("f_dc_0", "f_dc_1", "f_dc_2"),
    )
    parts = arkit_to_motion_parts(weights, stored.gaussians.head)
    ours = posed(stored, Motion(**{**vars(neutral_motion(stored.gaussians)), **vars(parts)}))
    assert (back.means - ours.means).abs().max() < 1e-5
    if action is None:
        assert psnr(picture(back), picture(ours)) > 45


def test_its_bones_and_clips_are_there(unzipped: Path, stored: StoredAvatar) -> None:
    skin, clips = Reader(unzipped / "skin.glb").gltf, Reader(unzipped / "animation.glb").gltf
    assert [skin.nodes[joint].name for joint in skin.skins[0].joints] == ["hip", "head"]
    assert len(clips.animations) == 12 and [node.name for node in clips.nodes] == ["avatar", "hip", "head"]
    order = json.loads((unzipped / "vertex_order.json").read_text())
    assert order == list(range(len(stored.gaussians)))
