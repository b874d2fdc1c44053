"""From motion to pictures: what every renderer of an avatar shares."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np
import torch

from avatar.errors import InputError
from avatar.render._graphs import deformation
from avatar.render.rasterization import rasterize

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from jaxtyping import Float, UInt8

    from avatar.cameras import Camera
    from avatar.fields.gaussian_head import GaussianHead, Pose
    from avatar.gaussians import Gaussians
    from avatar.motion import Motion

NAMED_COLORS = {"black": (0, 0, 0), "white": (255, 255, 255), "green": (0, 177, 64), "gray": (128, 128, 128)}


def render_pose(
    gaussians: Callable[[Pose], Gaussians], pose: Pose, camera: Camera, *, threads: int | None = None
) -> Float[np.ndarray, "H W 4"]:
    """One picture of an avatar, or of its `deformation`: premultiplied sRGB and alpha, in [0, 1]."""
    with torch.no_grad():
        world = gaussians(pose)
        viewmat, K = (
            torch.as_tensor(m, dtype=torch.float32, device=world.means.device) for m in (camera.viewmat, camera.K)
        )
        picture = rasterize(
            world.means,
            world.quats,
            world.scales,
            world.opacities,
            world.colors,
            viewmat,
            K,
            camera.width,
            camera.height,
            threads=threads,
        )
    return torch.cat([picture.image, picture.alpha], dim=-1).clamp(0, 1).cpu().numpy()


def render_motion(
    gaussians: GaussianHead, motion: Motion, cameras: Iterable[Camera], *, threads: int | None = None
) -> Iterator[Float[np.ndarray, "H W 4"]]:
    """One premultiplied picture for each moment of the motion, each from its own camera."""
    deform = deformation(gaussians)
    for pose, camera in zip(gaussians.poses(motion), cameras, strict=True):
        yield render_pose(deform, pose, camera, threads=threads)


def composite(
    picture: Float[np.ndarray, "H W 4"], background: Float[np.ndarray, "#H #W 3"]
) -> UInt8[np.ndarray, "H W 3"]:
    """The picture before a background in [0, 1], as bytes."""
    mixed = picture[..., :3] + (1 - picture[..., 3:]) * background
    return (mixed.clip(0, 1) * 255 + 0.5).astype(np.uint8)


def straight_alpha(picture: Float[np.ndarray, "H W 4"]) -> UInt8[np.ndarray, "H W 4"]:
    """The picture with colours no longer premultiplied, as bytes, for files with an alpha channel."""
    color = picture[..., :3] / np.maximum(picture[..., 3:], 1e-4)
    return (np.concatenate([color, picture[..., 3:]], axis=-1).clip(0, 1) * 255 + 0.5).astype(np.uint8)


def background_image(
    name: str, plate: UInt8[np.ndarray, "H W 3"], camera: Camera
) -> Float[np.ndarray, "#H #W 3"] | None:
    """The background that an option names: ``plate``, a colour name, ``#rrggbb``, or None for ``transparent``.

    Raises:
        InputError: The name is none of these.
    """
    if name == "transparent":
        return None
    if name == "plate":
        resized = cv2.resize(plate, (camera.width, camera.height), interpolation=cv2.INTER_AREA)
        return resized.astype(np.float32) / 255
    digits = name.removeprefix("#")
    if name in NAMED_COLORS:
        color = NAMED_COLORS[name]
    elif name.startswith("#") and len(digits) == 6 and all(c in "0123456789abcdefABCDEF" for c in digits):
        color = tuple(bytes.fromhex(digits))
    else:
        raise InputError(
            "The background cannot be used",
            expected=f"plate, transparent, {', '.join(NAMED_COLORS)} or a colour such as #20304a",
            found=repr(name),
        )
    return np.array(color, np.float32)[None, None] / 255
