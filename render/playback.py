"""From motion to pictures: what every renderer of an avatar shares."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

import cv2
import numpy as np
import torch

from avatar.errors import InputError
from avatar.render._graphs import CapturedDeformation, deformation
from avatar.render.compose import compose
from avatar.render.rasterization import rasterize
from avatar.render.rigged import rasterize_rigged

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from jaxtyping import Float, UInt8
    from torch import Tensor

    from avatar.cameras import Camera
    from avatar.fields.gaussian_head import GaussianHead, Pose
    from avatar.fields.rig import RiggedGaussians
    from avatar.gaussians import Gaussians
    from avatar.motion import Motion
    from avatar.render._outputs import Rendering

NAMED_COLORS = {"black": (0, 0, 0), "white": (255, 255, 255), "green": (0, 177, 64), "gray": (128, 128, 128)}


class PosedAvatar:
    """One moment of an avatar, skinned once for any number of cameras; without gradients.

    Args:
        gaussians: The avatar, or its `deformation`.
        pose: The moment.
        threads: Threads of the rasteriser; all processors when None.
    """

    def __init__(
        self, gaussians: GaussianHead | CapturedDeformation, pose: Pose, *, threads: int | None = None
    ) -> None:
        self._gaussians, self.pose, self._threads = gaussians, pose, threads

    @cached_property
    def world(self) -> Gaussians:
        """The Gaussians in world space; the next pose overwrites those of a `CapturedDeformation`."""
        with torch.no_grad():
            return self._gaussians(self.pose)

    @cached_property
    def _carried(self) -> tuple[RiggedGaussians, Tensor, Tensor]:
        """What the fused rasteriser takes: Gaussians on triangles, posed vertices, residuals."""
        assert not isinstance(self._gaussians, CapturedDeformation)
        with torch.no_grad():
            residual = self._gaussians.residual(self.pose.condition)
            return self._gaussians.rigged(), self._gaussians.carriers(self.pose), residual

    @property
    def points(self) -> Float[Tensor, "U 3"]:
        """Points all over the avatar, metres: what tells where it is."""
        return self.world.means if isinstance(self._gaussians, CapturedDeformation) else self._carried[1]

    @torch.no_grad()
    def draw(self, camera: Camera, *, depth: bool = False, normal: bool = False) -> Rendering:
        """Premultiplied sRGB and alpha, and depth and normals where they are asked for."""
        fused = not (depth or normal or isinstance(self._gaussians, CapturedDeformation))
        viewmat, K = _on_device(camera, self.points.device)
        if fused:
            rigged, carriers, residual = self._carried
            size = {"width": camera.width, "height": camera.height, "threads": self._threads}
            return rasterize_rigged(rigged, carriers, viewmat, K, residual=residual, **size)
        world = self.world
        scene = (world.means, world.quats, world.scales, world.opacities, world.colors)
        layers = {"depth": depth, "normal": normal, "threads": self._threads}
        return rasterize(*scene, viewmat, K, camera.width, camera.height, **layers)


def render_pose(
    gaussians: GaussianHead | CapturedDeformation, pose: Pose, camera: Camera, *, threads: int | None = None
) -> Rendering:
    """One moment of an avatar, or of its `deformation`: premultiplied sRGB and alpha, without gradients."""
    return PosedAvatar(gaussians, pose, threads=threads).draw(camera)


def _on_device(camera: Camera, device: torch.device) -> tuple[Tensor, Tensor]:
    viewmat, K = (torch.as_tensor(m, dtype=torch.float32, device=device) for m in (camera.viewmat, camera.K))
    return viewmat, K


def render_over(
    gaussians: GaussianHead | CapturedDeformation,
    pose: Pose,
    camera: Camera,
    *,
    background: Float[np.ndarray, "#H #W 3"],
    threads: int | None = None,
) -> UInt8[np.ndarray, "H W 3"]:
    """One moment before a background in [0, 1], as bytes."""
    picture = render_pose(gaussians, pose, camera, threads=threads)
    return compose(picture.image, picture.alpha, background, threads=threads)


def render_motion(
    gaussians: GaussianHead,
    motion: Motion,
    cameras: Iterable[Camera],
    *,
    background: Float[np.ndarray, "#H #W 3"] | None,
    threads: int | None = None,
) -> Iterator[UInt8[np.ndarray, "H W C"]]:
    """One picture for each moment of the motion, each from its own camera; RGBA where the background is None."""
    deform = deformation(gaussians)
    for pose, camera in zip(gaussians.poses(motion), cameras, strict=True):
        if background is None:
            picture = render_pose(deform, pose, camera, threads=threads)
            yield straight_alpha(picture.image, picture.alpha)
        else:
            yield render_over(deform, pose, camera, background=background, threads=threads)


def straight_alpha(image: Float[Tensor, "H W 3"], alpha: Float[Tensor, "H W 1"]) -> UInt8[np.ndarray, "H W 4"]:
    """A premultiplied picture with colours no longer premultiplied, as bytes, for files with an alpha channel."""
    straight = torch.cat([image / alpha.clamp(min=1e-4), alpha], dim=-1)
    return (straight.clamp(0, 1) * 255 + 0.5).byte().cpu().numpy()


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
            expected=f"plate, transparent, {', '.join(NAMED_COLORS)}, a colour such as #20304a, a film or a picture",
            found=repr(name),
        )
    return np.array(color, np.float32)[None, None] / 255
