"""An avatar as OpenUSD: splats as ParticleField3DGaussianSplat (UsdVol, 26.03), mesh as UsdSkel with blend shapes.

Both stand for the same head; the variant ``representation`` of the default prim says which one is there. The package
usd-core does the writing.
"""

# usd-core is bindings without type hints, and may be absent.
# pyright: reportAttributeAccessIssue=false, reportMissingImports=false

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.spatial.transform import Rotation

from avatar.errors import InputError
from avatar.heads.layout import JOINTS, PARENTS
from avatar.io._splats import harmonics, unit_quats
from avatar.io.mesh_glb import linear

if TYPE_CHECKING:
    from pathlib import Path

    from avatar.gaussians import Gaussians
    from avatar.io.mesh_glb import Animation, SkinnedMesh

ROOT = "/avatar"
SPLATS = "ParticleField3DGaussianSplat"
# The time codes of a USD stage are frames; these are fine enough for any frame rate.
CODES_PER_SECOND = 1000.0
STILL = 2e-6


def require_usd() -> Any:
    """The package ``pxr``; raises InputError where usd-core is not installed."""
    try:
        return importlib.import_module("pxr")
    except ModuleNotFoundError as error:
        raise InputError(
            "USD needs Pixar's library",
            expected="the package usd-core",
            found="no such package",
            fix="pip install 'headsplat[export]', or choose another --format",
        ) from error


def write_usd(path: Path, gaussians: Gaussians, mesh: SkinnedMesh, animation: Animation, *, comment: str) -> None:
    """Writes the stage, in metres and with +y up.

    Args:
        path: Ends in .usd, .usda or .usdc.
        gaussians: The splats, in a head's axes.
        mesh: The same head as a mesh.
        animation: How the mesh moves; one moment for a still one.
        comment: What to note.
    """
    require_usd()
    from pxr import Sdf, Usd, UsdGeom

    stage = Usd.Stage.CreateNew(str(path))
    stage.SetMetadata("comment", comment)
    UsdGeom.SetStageUpAxis(stage, UsdGeom.Tokens.y)
    UsdGeom.SetStageMetersPerUnit(stage, 1.0)
    stage.SetTimeCodesPerSecond(CODES_PER_SECOND)
    root = UsdGeom.Xform.Define(stage, Sdf.Path(ROOT)).GetPrim()
    stage.SetDefaultPrim(root)
    variants = root.GetVariantSets().AddVariantSet("representation")
    for name, write in (("splats", lambda: _splats(stage, gaussians)), ("mesh", lambda: _mesh(stage, mesh, animation))):
        variants.AddVariant(name)
        variants.SetVariantSelection(name)
        with variants.GetVariantEditContext():
            write()
    # Last selected is the mesh, which every reader shows.
    stage.GetRootLayer().Save()


def _splats(stage: Any, gaussians: Gaussians) -> None:
    from pxr import Sdf, Vt

    # Through the names alone, so that a usd-core from before the schema writes it too.
    prim = stage.DefinePrim(f"{ROOT}/splats", SPLATS)
    means = gaussians.means.numpy()
    reach = 3 * gaussians.scales.max(dim=1, keepdim=True).values.numpy()
    # USD keeps the real part last in memory.
    quats = unit_quats(gaussians).roll(-1, dims=-1).numpy()
    types = Sdf.ValueTypeNames
    for name, kind, value in (
        ("positions", types.Point3fArray, Vt.Vec3fArray.FromNumpy(_rows(means))),
        ("orientations", types.QuatfArray, Vt.QuatfArray.FromNumpy(_rows(quats))),
        ("scales", types.Float3Array, Vt.Vec3fArray.FromNumpy(_rows(gaussians.scales.numpy()))),
        ("opacities", types.FloatArray, Vt.FloatArray.FromNumpy(_rows(gaussians.opacities.numpy()))),
        (
            "radiance:sphericalHarmonicsCoefficients",
            types.Float3Array,
            Vt.Vec3fArray.FromNumpy(_rows(harmonics(gaussians).numpy())),
        ),
        (
            "extent",
            types.Float3Array,
            Vt.Vec3fArray.FromNumpy(_rows(np.stack([(means - reach).min(0), (means + reach).max(0)]))),
        ),
    ):
        prim.CreateAttribute(name, kind, False).Set(value)
    for name, kind, value in (
        ("radiance:sphericalHarmonicsDegree", types.Int, 0),
        ("projectionModeHint", types.Token, "perspective"),
        ("sortingModeHint", types.Token, "zDepth"),
    ):
        prim.CreateAttribute(name, kind, False, Sdf.VariabilityUniform).Set(value)


def _mesh(stage: Any, mesh: SkinnedMesh, animation: Animation) -> None:
    from pxr import Gf, Sdf, UsdGeom, UsdSkel, Vt

    place = f"{ROOT}/body"
    UsdSkel.Root.Define(stage, place)
    paths = _joint_paths()
    skeleton = UsdSkel.Skeleton.Define(stage, f"{place}/skeleton")
    skeleton.CreateJointsAttr(paths)
    bind = [Gf.Matrix4d(1.0).SetTranslate(Gf.Vec3d(*map(float, joint))) for joint in mesh.joints]
    offsets = mesh.joints - np.where(np.array(PARENTS)[:, None] < 0, 0, mesh.joints[list(PARENTS)])
    rest = [Gf.Matrix4d(1.0).SetTranslate(Gf.Vec3d(*map(float, offset))) for offset in offsets]
    skeleton.CreateBindTransformsAttr(Vt.Matrix4dArray(bind))
    skeleton.CreateRestTransformsAttr(Vt.Matrix4dArray(rest))
    played = UsdSkel.Animation.Define(stage, f"{place}/motion")
    UsdSkel.BindingAPI.Apply(skeleton.GetPrim()).CreateAnimationSourceRel().SetTargets([played.GetPath()])

    faces = np.concatenate(list(mesh.faces.values()))
    shape = UsdGeom.Mesh.Define(stage, f"{place}/head")
    shape.CreateSubdivisionSchemeAttr(UsdGeom.Tokens.none)
    shape.CreatePointsAttr(Vt.Vec3fArray.FromNumpy(_rows(mesh.rest)))
    shape.CreateFaceVertexCountsAttr(Vt.IntArray.FromNumpy(np.full(len(faces), 3, np.int32)))
    shape.CreateFaceVertexIndicesAttr(Vt.IntArray.FromNumpy(faces.reshape(-1).astype(np.int32)))
    shape.CreateNormalsAttr(Vt.Vec3fArray.FromNumpy(_rows(mesh.normals)))
    shape.SetNormalsInterpolation(UsdGeom.Tokens.vertex)
    shape.CreateDoubleSidedAttr(True)
    shape.CreateExtentAttr(Vt.Vec3fArray.FromNumpy(_rows(np.stack([mesh.rest.min(0), mesh.rest.max(0)]))))
    shape.CreateDisplayColorPrimvar(UsdGeom.Tokens.vertex).Set(Vt.Vec3fArray.FromNumpy(_rows(linear(mesh.colors))))
    primvars = UsdGeom.PrimvarsAPI(shape)
    uv = primvars.CreatePrimvar("st", Sdf.ValueTypeNames.TexCoord2fArray, UsdGeom.Tokens.vertex)
    uv.Set(Vt.Vec2fArray.FromNumpy(_rows(mesh.uv)))
    start = 0
    for name, part in mesh.faces.items():
        subset = UsdGeom.Subset.CreateGeomSubset(shape, name, UsdGeom.Tokens.face, Vt.IntArray())
        subset.GetIndicesAttr().Set(Vt.IntArray.FromNumpy(np.arange(start, start + len(part), dtype=np.int32)))
        start += len(part)

    binding = UsdSkel.BindingAPI.Apply(shape.GetPrim())
    binding.CreateSkeletonRel().SetTargets([skeleton.GetPath()])
    joints = np.tile(np.arange(len(JOINTS), dtype=np.int32), len(mesh.rest))
    binding.CreateJointIndicesPrimvar(False, len(JOINTS)).Set(Vt.IntArray.FromNumpy(joints))
    weights = mesh.weights.reshape(-1).astype(np.float32)
    binding.CreateJointWeightsPrimvar(False, len(JOINTS)).Set(Vt.FloatArray.FromNumpy(weights))
    names = list(mesh.targets)
    for name, moved in mesh.targets.items():
        indices = np.flatnonzero(np.abs(moved).max(axis=1) > STILL).astype(np.int32)
        target = UsdSkel.BlendShape.Define(stage, f"{place}/head/{name}")
        target.CreateOffsetsAttr(Vt.Vec3fArray.FromNumpy(_rows(moved[indices])))
        target.CreatePointIndicesAttr(Vt.IntArray.FromNumpy(indices))
    binding.CreateBlendShapesAttr(names)
    binding.CreateBlendShapeTargetsRel().SetTargets([f"{place}/head/{name}" for name in names])
    _play(stage, played, paths, offsets, animation, names)


def _play(stage: Any, played: Any, paths: list[str], offsets: np.ndarray, animation: Animation, names: list) -> None:
    """Joints and weights of every moment, or as plain values for a single one."""
    from pxr import Usd, Vt

    played.CreateJointsAttr(paths)
    played.CreateBlendShapesAttr(names)
    still = len(animation.time) == 1
    turns, places = played.CreateRotationsAttr(), played.CreateTranslationsAttr()
    sizes, weights = played.CreateScalesAttr(), played.CreateBlendShapeWeightsAttr()
    sizes.Set(Vt.Vec3hArray(len(JOINTS), (1.0, 1.0, 1.0)))
    for moment in range(len(animation.time)):
        seconds = float(animation.time[moment] - animation.time[0])
        code = Usd.TimeCode.Default() if still else Usd.TimeCode(round(seconds * CODES_PER_SECOND))
        quats = Rotation.from_rotvec(animation.pose[moment]).as_quat()
        turns.Set(Vt.QuatfArray.FromNumpy(_rows(quats)), code)
        moved = offsets.copy()
        moved[0] += animation.transl[moment]
        places.Set(Vt.Vec3fArray.FromNumpy(_rows(moved)), code)
        weights.Set(Vt.FloatArray.FromNumpy(_rows(animation.weights[moment])), code)
    if not still:
        stage.SetStartTimeCode(0)
        stage.SetEndTimeCode(round(float(animation.time[-1] - animation.time[0]) * CODES_PER_SECOND))


def _joint_paths() -> list[str]:
    paths: list[str] = []
    for name, parent in zip(JOINTS, PARENTS, strict=True):
        paths.append(name if parent < 0 else f"{paths[parent]}/{name}")
    return paths


def _rows(values: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(values, np.float32)
