"""What views from the side may not show: the mouth through the skin, and skin beyond the head's outline.

A recording seen from the front does not tell a dark spot of skin from skin so thin that the dark mouth shines through,
nor how far before the face a brow lies. Either way the frames are explained, and a view from the side is spoilt. So
training looks at the avatar from the side as well, where it knows of no colours, only of these two.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import cv2
import numpy as np
import torch

from avatar.cameras import Camera
from avatar.face_mesh import INNER_LIPS
from avatar.fields.gaussian_head import REGIONS
from avatar.fields.survey import project
from avatar.fields.underlay import spread_evenly
from avatar.render.rigged import rasterize_rigged
from avatar.render.trajectories import around

if TYPE_CHECKING:
    from jaxtyping import Float, Int
    from torch import Tensor

    from avatar.fields.gaussian_head import GaussianHead, Pose

# A look every so many steps, in a square picture: pixels, and metres across at the head.
EVERY = 3
SIDE, ACROSS = 192, 0.3
# How far its camera goes to the sides, degrees; up to `FILMED` frames themselves tell where the outline is.
YAW, PITCH, FILMED = 45.0, 12.0, 15.0
# The mouth may be seen, and skin lie, so far beyond the outlines of lips and head, metres: the mesh is not exact.
LIP_MARGIN, OUTLINE_MARGIN = 1.5e-3, 2.5e-3
# Of the 478 landmarks forehead, chin and both sides, whose middle the camera looks at.
AROUND = (10, 152, 234, 454)
# Points that stand for the surface of head and torso, some 3 mm apart.
POINTS = 40000
# Sets its draws apart from the other draws of a step.
STREAM = 2
LEARNING = ("offsets", "log_scales", "quats", "opacity_logits")
# Logits of colours that are all there or not at all.
FULL, NONE = 16.0, -16.0


@dataclass(frozen=True)
class SideViews:
    """Looks at an avatar from the side; where from depends on the seed and the step alone.

    Attributes:
        corners: (P, 3) vertices of the triangles with points that stand for the mesh.
        barycentric: (P, 3) where on their triangles these are.
        seed: Of the views.
    """

    corners: Int[Tensor, "P 3"]
    barycentric: Float[Tensor, "P 3"]
    seed: int

    @classmethod
    def of(cls, gaussians: GaussianHead, seed: int) -> SideViews:
        """What looks at an avatar from the side in training."""
        faces = torch.cat([gaussians.head.faces, gaussians.torso_faces])
        first, second, third = gaussians.rest_vertices[faces].unbind(1)
        areas = torch.linalg.cross(second - first, third - first).norm(dim=1).double().cpu().numpy()
        generator = np.random.default_rng(0)
        triangles = torch.as_tensor(spread_evenly(areas, POINTS, generator), device=faces.device)
        barycentric = torch.as_tensor(generator.dirichlet([1.0] * 3, POINTS), dtype=torch.float32, device=faces.device)
        return cls(faces[triangles], barycentric, seed)

    def __call__(
        self,
        step: int,
        gaussians: GaussianHead,
        pose: Pose,
        residual: Float[Tensor, "N 10"],
        *,
        threads: int | None = None,
    ) -> Float[Tensor, ""] | None:
        """How much of the picture shows the inside of the mouth, or skin, where it should not; None in most steps.

        Only the skin gets gradients, of place, shape and opacity.

        Args:
            step: The step of training.
            gaussians: The avatar.
            pose: The moment.
            residual: What the avatar adds at that moment, in residual units.
            threads: Threads of the rasteriser.
        """
        if step % EVERY:
            return None
        yaw, pitch = np.random.default_rng([self.seed, step, STREAM]).uniform([-YAW, -PITCH], [YAW, PITCH])
        return self.flaws(gaussians, pose, residual, yaw=yaw, pitch=pitch, threads=threads)

    def flaws(
        self,
        gaussians: GaussianHead,
        pose: Pose,
        residual: Float[Tensor, "N 10"],
        *,
        yaw: float,
        pitch: float,
        threads: int | None = None,
    ) -> Float[Tensor, ""]:
        """The same from a given side: `yaw` and `pitch` in degrees from where the take's camera is."""
        rigged = gaussians.rigged()
        with torch.no_grad():
            carriers, vertices = gaussians.carriers(pose), gaussians.vertices(pose)
            of_head = vertices[: len(gaussians.head.v_template)]
            marks = gaussians.head.landmark_positions(of_head[None])[0].double().cpu().numpy()
        camera = _camera(marks[list(AROUND)].mean(0), yaw=yaw, pitch=pitch)
        device = carriers.device
        closed = torch.from_numpy(beside_lips(marks[list(INNER_LIPS)], camera)).to(device)
        skin, mouth = (gaussians.regions == REGIONS.index(name) for name in ("skin", "mouth"))
        painted = torch.stack([mouth, skin, torch.zeros_like(skin)], 1)
        learning = {name: _of(skin, getattr(rigged, name)) for name in LEARNING}
        moved = _of(skin, residual)[:, :7]
        viewmat, K = (torch.as_tensor(m, dtype=torch.float32, device=device) for m in (camera.viewmat, camera.K))
        picture = rasterize_rigged(
            replace(rigged, **learning, color_logits=torch.where(painted, FULL, NONE)),
            carriers,
            viewmat,
            K,
            width=SIDE,
            height=SIDE,
            residual=torch.cat([moved, moved.new_zeros(len(moved), 3)], 1),
            threads=threads,
        )
        flaws = (picture.image[..., 0] * closed).mean()
        if abs(yaw) < FILMED:
            return flaws
        points = (vertices[self.corners] * self.barycentric[..., None]).sum(1).double().cpu().numpy()
        outside = torch.from_numpy(beyond_outline(points, camera)).to(device)
        return flaws + (picture.image[..., 1] * outside).mean()


def beside_lips(ring: Float[np.ndarray, "R 3"], camera: Camera) -> Float[np.ndarray, "H W"]:
    """1 where lips and skin cover the mouth, 0 within the outline of the inner lips `ring` (metres) and a margin."""
    open_ = np.zeros((camera.height, camera.width), np.uint8)
    outline = np.round((project(ring, camera)[0] - 0.5) * 16).astype(np.int32)
    cv2.fillPoly(open_, [outline], 1, shift=4)
    cv2.polylines(open_, [outline], True, 1, shift=4)  # What is thinner than a pixel has no inside.
    return _further(1 - open_, LIP_MARGIN * _scale(camera))


def beyond_outline(points: Float[np.ndarray, "P 3"], camera: Camera) -> Float[np.ndarray, "H W"]:
    """1 outside of the mesh and a margin around it, by `points` on it (metres); gaps between these are no outside."""
    place = np.floor(project(points, camera)[0]).astype(int)
    place = place[((place >= 0) & (place < [camera.width, camera.height])).all(1)]
    empty = np.ones((camera.height, camera.width), np.uint8)
    empty[place[:, 1], place[:, 0]] = 0
    outside = np.pad(_further(empty, OUTLINE_MARGIN * _scale(camera)), 1, constant_values=1)
    cv2.floodFill(outside, None, (0, 0), 2)
    return (outside[1:-1, 1:-1] == 2).astype(np.float32)


def _further(empty: np.ndarray, distance: float) -> Float[np.ndarray, "H W"]:
    """1 where a pixel is further than `distance` pixels from all that are 0."""
    return (cv2.distanceTransform(empty, cv2.DIST_L2, 5) > distance).astype(np.float32)


def _scale(camera: Camera) -> float:
    """Pixels a metre at the head."""
    return camera.width / ACROSS


def _of(some: Tensor, value: Tensor) -> Tensor:
    """The same values, with gradients for some rows only."""
    return torch.where(some if value.ndim == 1 else some[:, None], value, value.detach())


def _camera(center: Float[np.ndarray, " 3"], *, yaw: float, pitch: float) -> Camera:
    """A camera at the tracker's distance from `center`, turned about it from the tracker's own by angles in degrees."""
    distance = float(np.linalg.norm(center))
    ahead = np.degrees(np.arctan2(-center[0], -center[2])), np.degrees(np.arcsin(-center[1] / distance))
    camera = Camera.front(SIDE * distance / ACROSS, SIDE, SIDE)
    return around(camera, center, yaw=ahead[0] + yaw, pitch=ahead[1] + pitch)
