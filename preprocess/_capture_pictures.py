"""Sharpness and exposure of a take's pictures, over the face."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np

from avatar.io.parts import HEAD
from avatar.preprocess import _mesh_regions as regions
from avatar.preprocess._threads import map_ordered
from avatar.preprocess.capture_figures import PictureFigures
from avatar.preprocess.framing import face_heights
from avatar.spread import evenly_spread

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from jaxtyping import Bool, Float, UInt8

    from avatar.io.take import Take

# Enough of a long clip for every percentile stated, at a cost that stays below that of looking at the clip.
MOST = 600
LUMA = np.array([0.2126, 0.7152, 0.0722], np.float32)
# A channel from here on is clipped for the eye, and a luma up to here is black; both leave room for codec noise.
CLIPPED, BLACK = 250, 16
# Share of the picture's border that the head covers where it is cut off, rather than touched by a stray label.
BORDER_SHARE = 0.03
SHARPEST = 95
# An edge this many times wider than the blur that measures it is measured again with a wider one.
FAR = 1.5


def measure_pictures(take: Take, progress: Callable[[int, int], None] | None = None) -> PictureFigures:
    """Looks at the used frames of a take, at most 600 that are spread over it; a few are in memory at a time.

    Args:
        take: An ingested take.
        progress: Called with (frames done, all frames).
    """
    seen, landmarks = np.flatnonzero(take.used), take.perception()["landmarks"]
    chosen = evenly_spread(seen, MOST)

    def look(index: int) -> tuple[float, ...]:
        return _look(take.image(index), take.parts(index), landmarks[index])

    def counted() -> Iterator[int]:
        for done, index in enumerate(chosen):
            if progress is not None:
                progress(done + 1, len(chosen))
            yield int(index)

    rows = np.array(list(map_ordered(look, counted()))).reshape(-1, 6)
    heights = face_heights(landmarks[chosen]) if len(chosen) else np.zeros(0)
    pixels, luminance, bright, highlights, shadows, border = (_plain(rows[:, column]) for column in range(6))
    return PictureFigures(
        frames=chosen.tolist(),
        edge_percent=_plain(100 * rows[:, 0] / np.maximum(heights, 1e-6)),
        edge_pixels=pixels,
        luminance=luminance,
        bright=bright,
        highlights=highlights,
        shadows=shadows,
        cut_off=[value > BORDER_SHARE for value in border],
    )


def _look(
    image: UInt8[np.ndarray, "H W 3"], labels: UInt8[np.ndarray, "H W"], points: Float[np.ndarray, "478 3"]
) -> tuple[float, ...]:
    """Edge width (pixels), mean luma, bright luma, clipped share, black share, covered share of the border."""
    # A head that leaves at the bottom is a neck; at the other borders something is missing.
    border = max(float((edge == HEAD).mean()) for edge in (labels[0], labels[:, 0], labels[:, -1]))
    oval = np.round(points[list(regions.OVAL), :2]).astype(np.int32)
    corner = np.maximum(oval.min(axis=0), 0)
    image = image[corner[1] : oval[:, 1].max() + 1, corner[0] : oval[:, 0].max() + 1]
    if image.size == 0:
        return (0.0,) * 5 + (border,)
    face = np.zeros(image.shape[:2], np.uint8)
    cv2.fillConvexPoly(face, cv2.convexHull(oval - corner), 1)
    inside = face > 0
    luma = image.astype(np.float32) @ LUMA
    skin = luma[inside]
    return (
        edge_width(luma, inside),
        float(skin.mean()),
        float(np.percentile(skin, SHARPEST)),
        float((image[inside].max(axis=1) >= CLIPPED).mean()),
        float((skin <= BLACK).mean()),
        border,
    )


def edge_width(luma: Float[np.ndarray, "H W"], inside: Bool[np.ndarray, "H W"]) -> float:
    """Width of a picture's sharpest edges, as the standard deviation of the blur of a step, in pixels.

    A step blurred by sigma and again by s has a gradient that is sqrt(1 + s^2 / sigma^2) times lower, so that the ratio
    before and after a blur gives sigma (Zhuo and Sim, Defocus map estimation from a single image, Pattern
    Recognition 44, 2011). Taken on the ridges of the strongest twentieth of the gradients, it knows neither
    contrast nor skin.

    Args:
        luma: (H, W) the picture, any range.
        inside: (H, W) where to look.
    """
    before = _gradient(luma)
    # The border of the face against what is behind it belongs to neither.
    middle = cv2.erode(inside.astype(np.uint8), np.ones((5, 5), np.uint8)) > 0
    middle = middle if middle.any() else inside
    strong = middle & (before >= np.percentile(before[middle], SHARPEST)) & (before > 0) & _ridges(luma, before)
    if not strong.any():
        return float(min(luma.shape))
    blur, width = 1.0, np.inf
    # A blur that is small beside the edge changes little but noise.
    while width > FAR * blur and blur < min(luma.shape) / 8:
        blur = min(float(width), 2 * blur) if np.isfinite(width) else blur
        after = _gradient(cv2.GaussianBlur(luma, (0, 0), blur))
        ratio = float(np.median(before[strong] / np.maximum(after[strong], 1e-6)))
        width = blur / float(np.sqrt(max(ratio**2 - 1, 1e-4)))
    return float(width)


def _gradient(luma: np.ndarray) -> np.ndarray:
    return np.hypot(cv2.Sobel(luma, cv2.CV_32F, 1, 0), cv2.Sobel(luma, cv2.CV_32F, 0, 1))


def _ridges(luma: np.ndarray, gradient: np.ndarray) -> np.ndarray:
    """Where a gradient is not below its neighbours across the edge: the middle of an edge (Canny 1986)."""
    across = np.abs(cv2.Sobel(luma, cv2.CV_32F, 1, 0)) >= np.abs(cv2.Sobel(luma, cv2.CV_32F, 0, 1))
    row, column = np.ones((1, 3), np.uint8), np.ones((3, 1), np.uint8)
    return gradient >= np.where(across, cv2.dilate(gradient, row), cv2.dilate(gradient, column))


def _plain(values: np.ndarray) -> list[float]:
    return [round(float(value), 4) for value in values]
