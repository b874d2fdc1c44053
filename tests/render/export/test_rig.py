"""The rigged package and the FLAME-layout head, each played by code that knows no more than what is written of them."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from rig_player import RigPlayer, rotation
from safetensors.numpy import load_file
from splat_parity import picture, psnr

from avatar.assets import asset
from avatar.fields.gaussian_head import GaussianHead
from avatar.gaussians import Gaussians
from avatar.heads import Head, read_head
from avatar.heads.adapters.flame import looks_like_flame, read_flame
from avatar.heads.arkit import ARKIT_NAMES, arkit_to_motion_parts
from avatar.io.avatar import StoredAvatar
from avatar.motion import Motion
from avatar.render.export import FORMATS, export_avatar, neutral_motion, posed

LOSSLESS = 45.0


@pytest.fixture(scope="module")
def package(
    stored: StoredAvatar, moment: Motion, tiny_motion: Motion, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    folder = tmp_path_factory.mktemp("rig") / "me-rig"
    figures = export_avatar(stored, folder, FORMATS["rig"], moment=moment, motion=tiny_motion)
    assert figures["frames"] == len(tiny_motion) and figures["bytes"] == sum(p.stat().st_size for p in folder.iterdir())
    return folder


def test_a_strangers_player_shows_the_same_picture(package: Path, stored: StoredAvatar, tiny_motion: Motion) -> None:
    player, track = RigPlayer(package), load_file(package / "track.safetensors")
    assert np.allclose(track["time"], tiny_motion.time - tiny_motion.time[0])
    for index in (3, 17):
        ours = posed(stored, tiny_motion[index : index + 1])
        theirs = player.splats(*(track[name][index] for name in ("expression", "pose", "eyelids", "transl", "torso")))
        assert psnr(picture(theirs), picture(ours)) > LOSSLESS
        assert (theirs.means - ours.means).abs().max() < 2e-5


def test_arkit_weights_drive_it_as_they_drive_the_avatar(package: Path, stored: StoredAvatar) -> None:
    generator = np.random.default_rng(4)
    values = generator.uniform(0, 0.6, (1, 52)) * (generator.random((1, 52)) < 0.3)
    parts = arkit_to_motion_parts(values.astype(np.float32), stored.gaussians.head)
    still = neutral_motion(stored.gaussians)
    motion = Motion(**{**vars(still), **vars(parts)})
    player = RigPlayer(package)
    weights = dict(zip(ARKIT_NAMES, values[0], strict=True))
    theirs = player.splats(*player.face(weights), np.zeros(3), np.zeros(3))
    assert (theirs.means - posed(stored, motion).means).abs().max() < 2e-5


def test_the_rest_pose_with_the_torso_is_the_neutral_avatar(
    package: Path, stored: StoredAvatar, tiny_gaussians: GaussianHead
) -> None:
    player = RigPlayer(package)
    still = player.face({})
    shown = player.splats(*still, np.zeros(3), np.array([0.0, 0.0, 0.0]))
    assert (shown.means - posed(stored, neutral_motion(tiny_gaussians)).means).abs().max() < 2e-5


def test_a_head_with_more_expressions_than_actions(stored: StoredAvatar, tiny_motion: Motion, tmp_path: Path) -> None:
    layout, generator = read_head(asset("open_head.npz")), np.random.default_rng(5)
    more = layout.exprdirs[..., :9] @ generator.normal(size=(9, 9)) * 0.3
    layout = replace(
        layout,
        exprdirs=np.concatenate([layout.exprdirs, more], axis=2).astype(np.float32),
        arkit_to_psi=np.concatenate([layout.arkit_to_psi, np.zeros((9, layout.arkit_to_psi.shape[1]))]).astype("f4"),
    )
    head, ours = Head(layout), stored.gaussians
    gaussians = GaussianHead(
        head,
        ours.betas,
        torch.randn(4, 3) * 0.05 - torch.tensor([0, 0.2, 0]),
        torch.tensor([[0, 1, 2], [1, 2, 3]]) + len(head.v_template),
        ours.condition,
        triangles=torch.cat([ours.triangles[2:], len(head.faces) + torch.arange(2)]),
        barycentric=ours.barycentric,
        regions=ours.regions,
    ).requires_grad_(False)
    gaussians.residuals.normal_(generator=torch.Generator().manual_seed(1))
    extra = generator.normal(size=(len(tiny_motion), 9)).astype(np.float32)
    motion = replace(
        tiny_motion,
        expression=np.concatenate([tiny_motion.expression, extra], axis=1),
        torso=generator.normal(size=(len(tiny_motion), 3)).astype(np.float32) * 0.01,
        head_hash=head.hash,
    )
    export_avatar(replace(stored, gaussians=gaussians), tmp_path / "rig", FORMATS["rig"], moment=motion, motion=motion)
    player, track = RigPlayer(tmp_path / "rig"), load_file(tmp_path / "rig" / "track.safetensors")
    theirs = player.splats(*(track[name][7] for name in ("expression", "pose", "eyelids", "transl", "torso")))
    world = gaussians(gaussians.poses(motion)[7])
    assert (theirs.means - world.means).abs().max() < 5e-5
    assert (theirs.colors - world.colors).abs().max() < 2e-3 and (theirs.scales / world.scales - 1).abs().max() < 5e-3


def test_the_manifest_says_whose_data_it_is(package: Path, stored: StoredAvatar) -> None:
    manifest = json.loads((package / "rig.json").read_text())
    head = stored.gaussians.head
    assert (manifest["format"], manifest["version"], manifest["head_licence"]) == ("headsplat-rig", 1, head.licence)
    assert manifest["gaussians"] == len(stored.gaussians) and manifest["consent"] == stored.info.consent
    assert set(manifest["arkit_names"]) | set(manifest["arkit_joints"]) | {"eyeBlinkLeft", "eyeBlinkRight"} == set(
        ARKIT_NAMES
    )
    assert "condition_gain" in (package / "README.md").read_text()
    assert sorted(p.name for p in package.iterdir()) == [
        "README.md",
        "rig.json",
        "rig.safetensors",
        "track.safetensors",
    ]


# The head in FLAME's layout.


@pytest.fixture(scope="module")
def flame(stored: StoredAvatar, moment: Motion, tmp_path_factory: pytest.TempPathFactory) -> dict[str, np.ndarray]:
    path = tmp_path_factory.mktemp("flame") / "me.npz"
    export_avatar(stored, path, FORMATS["flame"], moment=moment)
    with np.load(path, allow_pickle=False) as content:
        return dict(content)


def test_flame_equations_give_the_subjects_vertices(
    flame: dict[str, np.ndarray], stored: StoredAvatar, moment: Motion, shown: Gaussians
) -> None:
    """Vertices after SMPL's and FLAME's own definition: shape, joints, correctives, skin."""
    betas = np.zeros(400)
    betas[300 : 300 + moment.expression.shape[1]] = moment.expression[0]
    shaped = flame["v_template"] + flame["shapedirs"] @ betas
    # FLAME has no lids of their own; these come beside it.
    shaped = shaped + flame["eyelids"] @ moment.eyelids[0]
    joints = flame["J_regressor"] @ flame["v_template"]
    assert np.allclose(joints, flame["J"], atol=1e-6)
    R = [rotation(turn) for turn in moment.pose[0]]
    shaped = shaped + flame["posedirs"] @ (np.array(R[1:]) - np.eye(3)).ravel()
    parents = flame["kintree_table"][0].astype(np.int64)
    chain = []
    for joint in range(5):
        local = np.eye(4)
        local[:3, :3] = R[joint]
        local[:3, 3] = joints[joint] - (joints[parents[joint]] if joint else 0)
        chain.append(chain[parents[joint]] @ local if joint else local)
    for joint in range(5):
        chain[joint] = chain[joint].copy()
        chain[joint][:3, 3] -= chain[joint][:3, :3] @ joints[joint]
    blended = np.einsum("vj,jab->vab", flame["weights"], np.array(chain))
    vertices = (blended[:, :3, :3] @ shaped[..., None])[..., 0] + blended[:, :3, 3] + moment.transl[0]
    gaussians = stored.gaussians
    with torch.no_grad():
        ours = gaussians.vertices(gaussians.poses(moment)[0]).numpy()[: len(vertices)]
    assert np.abs(vertices - ours).max() < 1e-5


def test_our_own_import_takes_it_for_a_flame_head(flame: dict[str, np.ndarray], stored: StoredAvatar) -> None:
    assert looks_like_flame(flame)
    source = read_flame(flame, Path("me.npz"), digest="0" * 64)
    assert len(source.v_template) == len(stored.gaussians.head.v_template)
    assert source.exprdirs.shape[-1] == 100 and not source.shapedirs.any()
