"""Two eyes: pictures side by side or one above the other, and the half sphere of VR180."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import torch

from avatar.errors import InputError
from avatar.render._outputs import Rendering
from avatar.render.half_sphere import draw_half_sphere

if TYPE_CHECKING:
    from avatar.cameras import Camera
    from avatar.render.playback import PosedAvatar

Layout = Literal["sbs", "tb", "180"]
NEAREST_CONVERGENCE = 0.05


@dataclass(frozen=True)
class Stereo:
    """How two eyes see, and how their pictures are laid out.

    Attributes:
        layout: ``sbs`` left and right eye side by side at full size; ``tb`` left above right; ``180`` side by side as
            half equirectangular pictures of 180 by 180 degrees (VR180).
        ipd: Distance between the eyes, metres.
        convergence: Distance at which both eyes see a point at the same place of their pictures, metres; what is
            nearer comes out of the screen. None for the head's own. The eyes of ``180`` are parallel.
    """

    layout: Layout = "sbs"
    ipd: float = 0.063
    convergence: float | None = None

    @property
    def grid(self) -> tuple[int, int]:
        """How many pictures of one eye lie side by side, and one above the other."""
        return (1, 2) if self.layout == "tb" else (2, 1)

    def __post_init__(self) -> None:
        if not 0 <= self.ipd <= 0.5:
            raise InputError(
                "The distance between the eyes cannot be used",
                expected="0 to 500 mm; adults have 54 to 74",
                found=f"{1000 * self.ipd:g} mm",
                fix="leave it out for 63 mm",
            )
        if self.convergence is not None and not NEAREST_CONVERGENCE <= self.convergence < 1e4:
            raise InputError(
                "The convergence cannot be used",
                expected=f"a distance in metres, at least {NEAREST_CONVERGENCE:g}",
                found=f"{self.convergence:g} m",
                fix="leave it out for the distance of the head",
            )
        if self.convergence is not None and self.layout == "180":
            raise InputError(
                "VR180 has no convergence",
                expected="parallel eyes",
                found=f"{self.convergence:g} m",
                fix="leave --convergence out, or choose --stereo sbs",
            )


def eyes(camera: Camera, stereo: Stereo, *, distance: float) -> tuple[Camera, Camera]:
    """The left and the right eye beside a camera.

    Both look the same way; the pictures are shifted to meet at the convergence, since eyes that turn towards each other
    would see what is the same height at different heights (Woods, Docherty and Koch, "Image distortions in stereoscopic
    video systems", SPIE 1915, 1993).

    Args:
        camera: Between the eyes.
        stereo: The eyes.
        distance: The convergence where `stereo` has none, metres.
    """
    apart = 0.0 if stereo.layout == "180" else 1 / (stereo.convergence or max(distance, NEAREST_CONVERGENCE))
    pair = []
    for side in (1, -1):
        viewmat, K = camera.viewmat.copy(), camera.K.copy()
        viewmat[0, 3] += side * stereo.ipd / 2
        K[0, 2] -= side * K[0, 0] * stereo.ipd / 2 * apart
        pair.append(replace(camera, viewmat=viewmat, K=K))
    return pair[0], pair[1]


def draw_stereo(
    posed: PosedAvatar,
    camera: Camera,
    stereo: Stereo,
    *,
    distance: float,
    depth: bool = False,
    normal: bool = False,
) -> Rendering:
    """Both eyes of one moment as one picture; the avatar is skinned once for both.

    Args:
        posed: The avatar at that moment.
        camera: Between the eyes; its picture is that of one eye.
        stereo: The eyes and the layout.
        distance: The convergence where `stereo` has none, metres.
        depth: Render depth; with ``180`` it is the distance from the eye.
        normal: Render normals.
    """
    pair = eyes(camera, stereo, distance=distance)
    if stereo.layout == "180":
        left, right = (draw_half_sphere(posed, eye, depth=depth, normal=normal) for eye in pair)
    else:
        left, right = (posed.draw(eye, depth=depth, normal=normal) for eye in pair)
    across = -3 if stereo.layout == "tb" else -2
    return Rendering(
        torch.cat([left.image, right.image], across),
        torch.cat([left.alpha, right.alpha], across),
        None if left.depth is None or right.depth is None else torch.cat([left.depth, right.depth], across),
        None if left.normal is None or right.normal is None else torch.cat([left.normal, right.normal], across),
    )
