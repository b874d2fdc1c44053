"""A rendered head over footage of the same head, blended inside its outline and matched in colour."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import cv2
import numpy as np

if TYPE_CHECKING:
    from jaxtyping import Float, UInt8

    from avatar.render._outputs import Rendering

# Of the picture's side: the width of the blend, and how far colours at the seam reach along it.
FEATHER, REACH = 0.025, 0.06
# Colours are compared where the head hides the footage at least so much.
SOLID = 0.98
OPAQUE = 0.5


class Dubbed(NamedTuple):
    """One picture with another head in it.

    Attributes:
        image: sRGB bytes.
        seam: Mean absolute difference from the footage just inside the blend, levels of 255: by how much a colour step
            across the mask's edge differs from the footage's. NaN where no head is in the picture.
        seam_unmatched: The same without matched colours.
    """

    image: UInt8[np.ndarray, "H W 3"]
    seam: float
    seam_unmatched: float


@dataclass(frozen=True)
class _Blend:
    """How a head enters a picture: its share of each pixel, and where the seam is."""

    share: Float[np.ndarray, "H W"]
    depth: Float[np.ndarray, "H W"]
    width: float

    @property
    def seam(self) -> np.ndarray:
        """Pixels just inside the blend."""
        return (self.depth > self.width) & (self.depth < 1.5 * self.width) & (self.share > SOLID)


def dub_picture(footage: UInt8[np.ndarray, "H W 3"], head: Rendering, shown: Float[np.ndarray, "H W"]) -> Dubbed:
    """Footage with a rendered head over the one that it shows.

    The head's share rises from none at the outline to all of it a little inside: hair, ears and collar end as in the
    footage. The outline is the rendered head's where it lies on the one in the footage. Its colours are shifted by
    what the footage differs from it: near the seam by the difference there, further in by the difference of the whole.

    Args:
        footage: The picture.
        head: The head alone at the same moment from the same camera: premultiplied colours, alpha and nothing else.
        shown: Where the footage shows head and neck, from 0 to 1.
    """
    alpha = head.alpha[..., 0].cpu().numpy()
    colors = head.image.cpu().numpy() / np.maximum(alpha, 1e-3)[..., None]
    behind = footage.astype(np.float32) / 255
    blend = _blend(alpha, shown)
    if not (blend.share > SOLID).any():
        return Dubbed(footage.copy(), np.nan, np.nan)
    matched = colors + _shift(behind, colors, blend)
    share = blend.share[..., None]
    mixed = (share * matched.clip(0, 1) + (1 - share) * behind).clip(0, 1)
    seams = [_step(picture, behind, blend) for picture in (mixed, share * colors.clip(0, 1) + (1 - share) * behind)]
    return Dubbed((mixed * 255 + 0.5).astype(np.uint8), *seams)


def _blend(alpha: Float[np.ndarray, "H W"], shown: Float[np.ndarray, "H W"]) -> _Blend:
    # A frame of nothing around the picture would make its border an outline; a head that is cut off has none there.
    inside = np.pad(((alpha > OPAQUE) & (shown > OPAQUE)).astype(np.uint8), 1, mode="edge")
    depth = cv2.distanceTransform(inside, cv2.DIST_L2, 5)[1:-1, 1:-1]
    width = max(2.0, FEATHER * max(alpha.shape))
    rise = np.clip(depth / width, 0, 1)
    return _Blend(alpha * rise * rise * (3 - 2 * rise), depth, width)


def _shift(behind: np.ndarray, colors: np.ndarray, blend: _Blend) -> Float[np.ndarray, "H W 3"]:
    """What to add to the head's colours."""
    difference = behind - colors
    whole = np.median(difference[blend.share > SOLID], axis=0)
    band = ((blend.depth > 0.5 * blend.width) & (blend.depth < 2 * blend.width)).astype(np.float32)
    sigma = REACH * max(band.shape)
    weight = cv2.GaussianBlur(band, (0, 0), sigma)[..., None]
    near = cv2.GaussianBlur(difference * band[..., None], (0, 0), sigma) / np.maximum(weight, 1e-6)
    at_seam = np.exp(-np.maximum(blend.depth - blend.width, 0) / (3 * blend.width))[..., None]
    at_seam = at_seam * np.clip(weight / 0.02, 0, 1)
    return whole + at_seam * (near - whole)


def _step(picture: np.ndarray, behind: np.ndarray, blend: _Blend) -> float:
    seam = blend.seam
    return float(255 * np.abs(picture - behind)[seam].mean()) if seam.any() else float("nan")
