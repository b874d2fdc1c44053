"""The exported meshes, read by trimesh, pygltflib and Pixar's library, and posed by what they say alone."""

import copy
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
import trimesh
from glb_reader import Reader, local
from splat_parity import from_columns, picture, psnr

from avatar.fields.gaussian_head import GaussianHead
from avatar.heads.arkit import ARKIT_NAMES, arkit_to_motion_parts
from avatar.io.avatar import StoredAvatar
from avatar.motion import Motion
from avatar.render.export import FORMATS, export_avatar, neutral_motion, posed
from avatar.render.export.surface import subject_mesh

# The head's pose correctives, which no skinned mesh has, reach this far at the turns of the tiny motion, metres.
CORRECTIVES = 4e-3
EXACT = 2e-5


def export(name: str, stored: StoredAvatar, folder: Path, moment: Motion, motion: Motion | None = None) -> Path:
    path = folder / f"me{FORMATS[name].suffixes[0]}"
    export_avatar(stored, path, FORMATS[name], moment=moment, motion=motion)
    return path


def wanted(gaussians: GaussianHead, motion: Motion, *, correctives: bool = True) -> np.ndarray:
    """Our own vertices at each moment, in the mesh's order."""
    sources = subject_mesh(gaussians).sources
    if not correctives:
        gaussians = copy.deepcopy(gaussians)
        gaussians._subject.posedirs.zero_()
    with torch.no_grad():
        return np.stack([gaussians.vertices(pose).numpy()[sources] for pose in gaussians.poses(motion)])


@pytest.fixture(scope="module")
def neutral_glb(stored: StoredAvatar, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export("mesh", stored, tmp_path_factory.mktemp("mesh"), neutral_motion(stored.gaussians))


def test_a_neutral_mesh_is_the_head_at_rest(neutral_glb: Path, stored: StoredAvatar) -> None:
    ours = wanted(stored.gaussians, neutral_motion(stored.gaussians))[0]
    assert np.abs(Reader(neutral_glb).still() - ours).max() < 1e-5


def test_it_has_five_joints_and_the_52_names(neutral_glb: Path) -> None:
    gltf = Reader(neutral_glb).gltf
    assert [gltf.nodes[joint].name for joint in gltf.skins[0].joints] == ["root", "neck", "jaw", "eye_l", "eye_r"]
    assert gltf.meshes[0].extras["targetNames"] == list(ARKIT_NAMES)
    assert all(len(primitive.targets) == 52 for primitive in gltf.meshes[0].primitives)
    assert {material.name for material in gltf.materials} >= {"skin", "teeth_upper", "tongue", "eye_l"}
    # All but those of a head that has them not move something.
    assert sum(gltf.accessors[t["POSITION"]].max != [0, 0, 0] for t in gltf.meshes[0].primitives[0].targets) >= 48


@pytest.mark.parametrize("action", ["jawOpen", "eyeBlinkLeft", "mouthSmileRight", "eyeLookInRight", "browInnerUp"])
def test_an_action_alone_is_what_the_avatar_does(action: str, neutral_glb: Path, stored: StoredAvatar) -> None:
    weights = np.eye(52, dtype=np.float32)[ARKIT_NAMES.index(action)]
    parts = arkit_to_motion_parts(weights[None], stored.gaussians.head)
    motion = Motion(**{**vars(neutral_motion(stored.gaussians)), **vars(parts)})
    reader = Reader(neutral_glb)
    nodes = [reader.gltf.nodes[joint] for joint in reader.gltf.skins[0].joints]
    moved = reader.skinned(weights=weights, locals_=[local(node.translation, node.rotation) for node in nodes])
    ours = wanted(stored.gaussians, motion)[0]
    assert np.abs(ours - wanted(stored.gaussians, neutral_motion(stored.gaussians))[0]).max() > 1e-3
    assert np.abs(moved - ours).max() < 1e-5


def test_a_moment_stands_in_the_nodes_and_a_motion_plays(
    stored: StoredAvatar, moment: Motion, tiny_motion: Motion, tmp_path: Path
) -> None:
    still = Reader(export("mesh", stored, tmp_path, moment))
    assert not still.gltf.animations
    assert np.abs(still.still() - wanted(stored.gaussians, moment, correctives=False)[0]).max() < EXACT
    playing = Reader(export("mesh", stored, tmp_path, tiny_motion[:1], tiny_motion))
    ours, stiff = (wanted(stored.gaussians, tiny_motion, correctives=given) for given in (True, False))
    for frame in (0, 11, 29):
        moved = playing.played(frame)
        assert np.abs(moved - stiff[frame]).max() < EXACT and np.abs(moved - ours[frame]).max() < CORRECTIVES
    times = playing.array(playing.gltf.animations[0].samplers[0].input)[:, 0]
    assert np.allclose(times, tiny_motion.time - tiny_motion.time[0])


def test_trimesh_reads_the_glb(neutral_glb: Path, stored: StoredAvatar) -> None:
    scene = trimesh.load_scene(neutral_glb, process=False)
    head = stored.gaussians.head
    assert sum(len(g.faces) for g in scene.geometry.values()) == len(head.faces) + len(stored.gaussians.torso_faces)
    assert np.abs(scene.bounds[1] - wanted(stored.gaussians, neutral_motion(stored.gaussians))[0].max(0)).max() < EXACT


def test_trimesh_reads_the_obj(stored: StoredAvatar, moment: Motion, tmp_path: Path) -> None:
    path = export("obj", stored, tmp_path, moment)
    scene = trimesh.load_scene(path, process=False, split_object=False, group_material=False)
    (mesh,) = scene.geometry.values()
    ours, source = wanted(stored.gaussians, moment)[0], subject_mesh(stored.gaussians)
    assert np.abs(np.asarray(mesh.vertices) - ours[: len(mesh.vertices)]).max() < 1e-6
    assert len(mesh.faces) == sum(map(len, source.mesh.faces.values()))
    text = path.read_text().splitlines()
    assert [line[2:] for line in text if line.startswith("g ")] == list(source.mesh.faces)
    colors = np.array([line.split()[4:] for line in text if line.startswith("v ")], float)
    assert np.abs(colors - source.mesh.colors).max() < 1e-4


def test_the_colours_are_those_of_the_gaussians(stored: StoredAvatar, neutral_glb: Path) -> None:
    mesh, reader = subject_mesh(stored.gaussians).mesh, Reader(neutral_glb)
    linear = reader.array(reader.gltf.meshes[0].primitives[0].attributes.COLOR_0)[:, :3] / 65535
    encoded = np.where(linear <= 0.0031308, linear * 12.92, 1.055 * linear ** (1 / 2.4) - 0.055)
    assert np.abs(encoded - mesh.colors).max() < 1e-3
    # Dark hair above, a blue shirt below, skin between.
    hair, shirt = mesh.rest[:, 1] > 0.1, mesh.rest[:, 1] < -0.16
    assert mesh.colors[hair].mean() < 0.3
    assert (mesh.colors[shirt][:, 2] > mesh.colors[shirt][:, 0]).mean() > 0.9


def test_a_glb_starts_as_one(neutral_glb: Path) -> None:
    assert struct.unpack("<4sII", neutral_glb.read_bytes()[:12]) == (b"glTF", 2, neutral_glb.stat().st_size)


# USD.


def test_pixars_library_reads_splats_and_mesh(
    stored: StoredAvatar, moment: Motion, tiny_motion: Motion, tmp_path: Path
) -> None:
    pytest.importorskip("pxr", reason="usd-core is not installed")
    from pxr import Usd, UsdGeom, UsdSkel  # pyright: ignore[reportMissingImports]

    stage = Usd.Stage.Open(str(export("usd", stored, tmp_path, moment, tiny_motion)))
    assert UsdGeom.GetStageUpAxis(stage) == "Y" and UsdGeom.GetStageMetersPerUnit(stage) == 1
    root = stage.GetDefaultPrim()
    assert root.GetVariantSet("representation").GetVariantSelection() == "mesh"
    cache = UsdSkel.Cache()
    skin = UsdSkel.Root(stage.GetPrimAtPath("/avatar/body"))
    cache.Populate(skin, Usd.PrimDefaultPredicate)
    frame = 11
    code = round((tiny_motion.time[frame] - tiny_motion.time[0]) * stage.GetTimeCodesPerSecond())
    assert UsdSkel.BakeSkinning(stage.Traverse())
    points = np.array(UsdGeom.Mesh(stage.GetPrimAtPath("/avatar/body/head")).GetPointsAttr().Get(code))
    assert np.abs(points - wanted(stored.gaussians, tiny_motion, correctives=False)[frame]).max() < EXACT

    root.GetVariantSet("representation").SetVariantSelection("splats")
    splats = stage.GetPrimAtPath("/avatar/splats")
    assert splats.GetTypeName() == "ParticleField3DGaussianSplat"

    def get(name: str) -> np.ndarray:
        return np.array(splats.GetAttribute(name).Get())

    quats = np.array([[q.GetReal(), *q.GetImaginary()] for q in splats.GetAttribute("orientations").Get()])
    colors = get("radiance:sphericalHarmonicsCoefficients") * 0.28209479177387814 + 0.5
    back = from_columns(get("positions"), quats, get("scales"), get("opacities"), colors)
    assert psnr(picture(back), picture(posed(stored, moment))) > 45
