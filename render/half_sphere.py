"""A half equirectangular picture: the 180 by 180 degrees in front of an eye, as VR180 shows them.

A perspective picture cannot span them, so the faces of a cube around the eye are drawn and looked up along each pixel's
ray. Only faces with some of the avatar on them are drawn: of a head in front of the eye that is one.
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from typing import TYPE_CHECKING

import cv2
import numpy as np
import torch

from avatar.cameras import intrinsics
from avatar.render._outputs import Rendering

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

    from avatar.cameras import Camera
    from avatar.render.playback import PosedAvatar

# Camera to face, OpenCV axes: front, left, right, up, down.
FACES = np.array(
    [
        [[1, 0, 0], [0, 1, 0], [0, 0, 1]],
        [[0, 0, 1], [0, 1, 0], [-1, 0, 0]],
        [[0, 0, -1], [0, 1, 0], [1, 0, 0]],
        [[1, 0, 0], [0, 0, 1], [0, -1, 0]],
        [[1, 0, 0], [0, 0, -1], [0, 1, 0]],
    ],
    np.float32,
)
# Looked up between pixels, a face must be finer than the picture to keep its sharpness.
FINER = 1.5
# Pixels beyond the 90 degrees of a face, so that its edge is looked up like its middle.
MARGIN = 8
# How far beyond a face's edge the avatar's points may lie for its Gaussians to reach the face, as a part of its half.
REACH = 1.15


@lru_cache(maxsize=4)
def half_sphere_rays(size: int) -> Float[np.ndarray, "S S 3"]:
    """Unit rays of the pixels in camera axes: longitude grows to the right, latitude to the top, both 180 degrees."""
    angle = (np.arange(size) + 0.5) / size * np.pi - np.pi / 2
    across, down = np.meshgrid(angle, angle)
    rays = np.stack([np.cos(down) * np.sin(across), np.sin(down), np.cos(down) * np.cos(across)], axis=-1)
    return rays.astype(np.float32)


def draw_half_sphere(posed: PosedAvatar, camera: Camera, *, depth: bool = False, normal: bool = False) -> Rendering:
    """The half sphere in front of a camera as a square picture of the camera's height; its focal length has no part.

    Depth is the distance from the camera, metres.
    """
    size = camera.height
    rays = half_sphere_rays(size)
    side, focal = _face_size(size)
    points = posed.points.cpu().numpy() @ camera.viewmat[:3, :3].T + camera.viewmat[:3, 3]
    canvas = {"image": np.zeros((size, size, 3), np.float32), "alpha": np.zeros((size, size, 1), np.float32)}
    canvas |= {"depth": np.zeros((size, size, 1), np.float32)} if depth else {}
    canvas |= {"normal": np.zeros((size, size, 3), np.float32)} if normal else {}
    for index, turn in enumerate(FACES):
        seen = points @ turn.T
        if not ((seen[:, 2] > 0) & (np.abs(seen[:, :2]).max(1) < REACH * seen[:, 2])).any():
            continue
        viewmat = camera.viewmat.copy()
        viewmat[:3] = turn @ viewmat[:3]
        face = posed.draw(
            replace(camera, viewmat=viewmat, K=intrinsics(focal, side, side), width=side, height=side),
            depth=depth,
            normal=normal,
        )
        across, down, inside = _lookup(size, index)
        for name, picture in canvas.items():
            drawn: Tensor = getattr(face, name)
            # Neighbours of an edge have no depth or normal in common.
            how = cv2.INTER_LINEAR if name in ("image", "alpha") else cv2.INTER_NEAREST
            found = cv2.remap(drawn.cpu().numpy(), across, down, how).reshape(size, size, -1)
            np.copyto(picture, found, where=inside[..., None])
        if depth:
            np.divide(canvas["depth"], rays @ turn[2][:, None], out=canvas["depth"], where=inside[..., None])
    device = posed.points.device
    return Rendering(**{name: torch.from_numpy(picture).to(device) for name, picture in canvas.items()})


def _face_size(size: int) -> tuple[int, float]:
    """Pixels of a face's side, and its focal length."""
    half = round(FINER * size / np.pi)
    return 2 * (half + MARGIN), float(half)


@lru_cache(maxsize=16)
def _lookup(size: int, index: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Where a face is looked up for each pixel (both coordinates, float32), and which pixels are its own."""
    side, focal = _face_size(size)
    rays = half_sphere_rays(size)
    inside = (rays @ FACES[:, 2].T).argmax(-1) == index
    seen = rays @ FACES[index].T
    ahead = np.where(inside, seen[..., 2], 1)
    across, down = (focal * seen[..., axis] / ahead + side / 2 - 0.5 for axis in (0, 1))
    return across.astype(np.float32), down.astype(np.float32), inside
