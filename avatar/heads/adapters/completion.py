"""What other people's head models lack, told them by the open head: lids, regions, ARKit actions, angles."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch

from avatar.cameras import Camera, intrinsics, look_at
from avatar.heads.adapters.landmarks import iris_angle
from avatar.heads.adapters.registration import register
from avatar.heads.adapters.zbuffer import CameraScene
from avatar.heads.build.meshes import vertex_areas
from avatar.heads.head import Head
from avatar.heads.layout import PARENTS, HeadLayout

if TYPE_CHECKING:
    from jaxtyping import Float

    from avatar.heads.adapters.registration import Registration
    from avatar.heads.adapters.source import HeadSource

# The least squares of an action: vertices are believed to this many metres, a whole face of them counts as so many
# independent ones, and coefficients are likely to be of this size.
NOISE, INDEPENDENT, USUAL = 1e-4, 300, 3.0
# An action that moves the model less than this everywhere is not the model's to make, metres.
STILL = 2e-4
JAW_ANGLES = np.linspace(0.05, 0.8, 61)
# Half-width of the window in which an eye is looked at, metres; its size in pixels; the camera's distance.
WINDOW, PIXELS, DISTANCE = 0.02, 100, 1.0
LID_FACTORS = (0.4, 2.2)
SHUT, PRESS = 0.01, 1.03


@dataclass(frozen=True)
class Actions:
    """ARKit actions in a model's expression basis.

    Attributes:
        names: (A,) those that the model can make.
        to_psi: (E, A) coefficients of one unit of each.
        errors: Relative error of each on the vertices, by name.
    """

    names: tuple[str, ...]
    to_psi: Float[np.ndarray, "E A"]
    errors: dict[str, float]


def provisional(source: HeadSource, *, name: str, reference: Head) -> HeadLayout:
    """The layout of a model as its publisher made it, with nothing yet in the places of what it lacks."""
    count, expressions = len(source.v_template), source.exprdirs.shape[-1]
    looks = reference.eye_look_angles if source.eye_look_angles is None else source.eye_look_angles
    # Some publishers' weights and regressors are rounded; joints and skinning take sums of one for granted.
    regressor, weights = (rows / rows.sum(axis=1, keepdims=True) for rows in (source.J_regressor, source.weights))
    return HeadLayout(
        id=name,
        v_template=source.v_template.astype(np.float32),
        f=source.f.astype(np.int64),
        uv=source.uv.astype(np.float32),
        shapedirs=source.shapedirs.astype(np.float32),
        exprdirs=source.exprdirs.astype(np.float32),
        posedirs=source.posedirs.astype(np.float32),
        J_regressor=regressor.astype(np.float32),
        kintree_table=np.array([PARENTS, range(len(PARENTS))]),
        weights=weights.astype(np.float32),
        eyelids=np.zeros((count, 3, 2), np.float32) if source.eyelids is None else source.eyelids.astype(np.float32),
        parts=source.parts,
        arkit_names=tuple(sorted(source.actions)),
        arkit_to_psi=np.stack([source.actions[key] for key in sorted(source.actions)], axis=1).astype(np.float32)
        if source.actions
        else np.zeros((expressions, 0), np.float32),
        jaw_open_angle=source.jaw_open_angle or reference.jaw_open_angle,
        eye_look_angles=np.asarray(looks, np.float32),
        licence=source.licence,
        source=source.source,
    )


def complete(layout: HeadLayout, source: HeadSource, reference: Head) -> HeadLayout:
    """The layout with what the model lacks, from the open head by way of the landmarks both have.

    Args:
        layout: The model with its landmarks.
        source: The same as it was read; what its publisher says stays.
        reference: The open head.
    """
    found = register(layout, reference)
    quality = dict(layout.quality)
    layout = replace(layout, regions=found.regions(reference), iris_angle=iris_angle(layout))
    importance = vertex_areas(layout.v_template.astype(np.float64), layout.f) * found.trust
    if source.jaw_open_angle is None:
        angle, quality["jawOpen"] = fit_jaw(layout, reference, found, importance)
        layout = replace(layout, jaw_open_angle=angle)
    if source.eyelids is None:
        layout = replace(layout, eyelids=fit_lids(layout, reference, found))
    quality |= {f"open_eye_{side}": share for side, share in zip("lr", eyes_left_open(layout), strict=True)}
    if not source.actions:
        actions = fit_actions(layout, reference, found, importance)
        layout = replace(layout, arkit_names=actions.names, arkit_to_psi=actions.to_psi.astype(np.float32))
        quality |= actions.errors
    else:
        quality |= dict.fromkeys(layout.arkit_names, 0.0)
    return replace(layout, quality=quality)


def fit_actions(
    layout: HeadLayout, reference: Head, found: Registration, importance: Float[np.ndarray, " V"]
) -> Actions:
    """The open head's actions in the model's basis, by least squares over the vertices."""
    directions = reference.exprdirs.double().numpy() @ reference.arkit_to_psi.double().numpy()
    goals = found.displacements(directions)
    basis = layout.exprdirs.astype(np.float64)
    root = np.sqrt(importance / importance.sum())[:, None, None]
    system, wanted = ((root * part).reshape(-1, part.shape[2]) for part in (basis, goals))
    ridge = NOISE**2 / (INDEPENDENT * USUAL**2)
    to_psi = np.linalg.solve(system.T @ system + ridge * np.eye(system.shape[1]), system.T @ wanted)
    size = np.linalg.norm(wanted, axis=0)
    errors = np.linalg.norm(system @ to_psi - wanted, axis=0) / np.maximum(size, 1e-12)
    moved = np.linalg.norm(goals * (found.trust > 0)[:, None, None], axis=1).max(axis=0)
    kept = [index for index in range(len(reference.arkit_names)) if moved[index] > STILL]
    names = tuple(reference.arkit_names[index] for index in kept)
    return Actions(
        names, to_psi[:, kept], {name: float(errors[index]) for name, index in zip(names, kept, strict=True)}
    )


def fit_jaw(
    layout: HeadLayout, reference: Head, found: Registration, importance: Float[np.ndarray, " V"]
) -> tuple[float, float]:
    """The jaw's angle that opens the model's mouth as far as jawOpen = 1 the open head's, and the relative error."""

    def opened(head: Head, angle: float) -> np.ndarray:
        pose = torch.zeros(1, 5, 3)
        pose[0, 2, 0] = angle
        return (head(pose=pose) - head())[0].double().numpy()

    goal = found.displacements(opened(reference, reference.jaw_open_angle))
    head = Head(layout)
    errors = [
        float((importance * np.square(opened(head, angle) - goal).sum(axis=1)).sum()) for angle in JAW_ANGLES.tolist()
    ]
    best = int(np.argmin(errors))
    total = float((importance * np.square(goal).sum(axis=1)).sum())
    return float(JAW_ANGLES[best]), float(np.sqrt(errors[best] / max(total, 1e-18)))


def fit_lids(layout: HeadLayout, reference: Head, found: Registration) -> Float[np.ndarray, "V 3 2"]:
    """The open head's closing lids on the model, as far as it takes to hide its eyeballs."""
    closing = found.displacements(reference.eyelid_dirs.double().numpy())
    for name in ("eye_l", "eye_r"):
        if name in layout.parts:
            closing[slice(*layout.parts[name])] = 0
    if not {"eye_l", "eye_r"} <= set(layout.parts):
        return closing.astype(np.float32)
    for side in range(2):
        low, high = LID_FACTORS
        for _ in range(8):
            middle = (low + high) / 2
            trial = replace(layout, eyelids=(closing * middle).astype(np.float32))
            low, high = (middle, high) if eyes_left_open(trial)[side] > SHUT else (low, middle)
        closing[..., side] *= high * PRESS
    return closing.astype(np.float32)


def eyes_left_open(layout: HeadLayout) -> tuple[float, float]:
    """Share of each eyeball's visible area that shut lids leave visible from the front, left and right."""
    if not {"eye_l", "eye_r"} <= set(layout.parts):
        return 0.0, 0.0
    shares = []
    for side, name in enumerate(("eye_l", "eye_r")):
        ball = layout.parts[name]
        shut = layout.v_template + layout.eyelids[..., side]
        open_area, shut_area = (_visible(layout, vertices, ball) for vertices in (layout.v_template, shut))
        shares.append(shut_area / max(open_area, 1))
    return shares[0], shares[1]


def _visible(layout: HeadLayout, vertices: np.ndarray, ball: tuple[int, int]) -> int:
    """Pixels of an eyeball that a camera before it sees; lashes are looked through."""
    centre = layout.v_template[slice(*ball)].mean(axis=0).astype(np.float64)
    eye = centre + np.array([0, 0, DISTANCE])
    focal = PIXELS / 2 * DISTANCE / WINDOW
    camera = Camera(look_at(eye, centre), intrinsics(focal, PIXELS, PIXELS), PIXELS, PIXELS)
    near = (np.abs(vertices[layout.f] - centre).max(axis=(1, 2)) < 3 * WINDOW) & (
        vertices[layout.f, 2] > centre[2] - 0.03
    ).all(1)
    lashes = layout.parts.get("lashes", (0, 0))
    faces = layout.f[near & ~((layout.f[:, 0] >= lashes[0]) & (layout.f[:, 0] < lashes[1]))]
    shown = CameraScene(vertices, faces, camera).image.faces
    first = faces[shown[shown >= 0], 0]
    return int(((first >= ball[0]) & (first < ball[1])).sum())
