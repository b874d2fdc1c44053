"""The background plate: the scene without the person, from the frames of a static camera."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import cv2
import numpy as np

from avatar.errors import InputError

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, UInt8

# Exposures are compared on pictures of about this side; differences below that share are the camera's noise.
_EXPOSURE_SIDE, _STEADY = 128, 0.01


def background_plate(
    frames: Iterable[tuple[UInt8[np.ndarray, "H W 3"], Float[np.ndarray, "H W"]]],
    *,
    max_frames: int = 48,
    margin: float = 0.02,
) -> UInt8[np.ndarray, "H W 3"]:
    """Median over time of what is seen around the person; what is never seen is filled in smoothly.

    Frames are brought to one exposure and white balance first, or else places that are seen at different times would
    differ, and the plate would show where the person stood.

    Args:
        frames: RGB frames of one size and their soft person masks. Of a longer stream an even choice is kept, so that
            memory does not grow with the clip.
        max_frames: How many frames the median may see at most.
        margin: How far from the mask a pixel must lie to count as background, as a share of the frame's shorter side.

    Raises:
        InputError: There is no frame, or they differ in size.
    """
    images, seen = _even_choice(frames, max_frames, margin)
    plate, known = _masked_median(_equally_exposed(images, seen), seen)
    return fill_holes(plate, known)


def fill_holes(image: UInt8[np.ndarray, "H W 3"], known: Bool[np.ndarray, "H W"]) -> UInt8[np.ndarray, "H W 3"]:
    """Fills unknown pixels from the known ones around them, the smoother the farther away they are.

    A pyramid is averaged over the known pixels only and read back from coarse to fine (push-pull, Gortler et al. 1996,
    The Lumigraph, section 4.3). Without any known pixel the result is mid-grey.
    """
    if not known.any():
        return np.full_like(image, 128)
    weight = known.astype(np.float32)
    levels = [(image.astype(np.float32) * weight[..., None], weight)]
    while min(levels[-1][1].shape) > 1:
        colour, weight = levels[-1]
        size = ((weight.shape[1] + 1) // 2, (weight.shape[0] + 1) // 2)
        colour, weight = (cv2.resize(v, size, interpolation=cv2.INTER_AREA) for v in (colour, weight))
        # A coarse pixel counts as known once a part of it is.
        full = np.minimum(weight * 4, 1)
        levels.append((colour / np.maximum(weight, 1e-6)[..., None] * full[..., None], full))
    filled = levels[-1][0] / np.maximum(levels[-1][1], 1e-6)[..., None]
    for colour, weight in reversed(levels[:-1]):
        guess = cv2.resize(filled, weight.shape[::-1], interpolation=cv2.INTER_CUBIC)
        filled = colour + guess.reshape(colour.shape) * (1 - weight[..., None])
    soft = cv2.GaussianBlur(filled, (0, 0), max(1.0, min(known.shape) / 150))
    # The pyramid leaves faint blocks in the filling, which a blur takes away; the seen pixels stay as they were.
    return np.clip(np.where(known[..., None], image, np.round(soft)), 0, 255).astype(np.uint8)


def _even_choice(
    frames: Iterable[tuple[np.ndarray, np.ndarray]], limit: int, margin: float
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Keeps every 2^k-th frame, k growing as needed, so that at most `limit` are held of a stream of unknown length."""
    images: list[np.ndarray] = []
    seen: list[np.ndarray] = []
    step = 1
    for index, (image, alpha) in enumerate(frames):
        if images and image.shape != images[0].shape:
            raise InputError("The plate's frames differ in size", expected=str(images[0].shape), found=str(image.shape))
        if index % step:
            continue
        if len(images) == limit:
            images, seen, step = images[::2], seen[::2], step * 2
            if index % step:
                continue
        radius = max(1, round(margin * min(alpha.shape)))
        kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1))
        images.append(image)
        seen.append(cv2.dilate((alpha > 0.1).astype(np.uint8), kernel) == 0)
    if not images:
        raise InputError("There is no background plate", expected="at least one frame", found="none")
    return images, seen


def _equally_exposed(images: list[np.ndarray], seen: list[np.ndarray]) -> list[np.ndarray]:
    """Frames with each colour channel scaled as in the one of median brightness, by what both see of the background."""
    step = max(1, min(seen[0].shape) // _EXPOSURE_SIDE)
    coarse = [image[::step, ::step].astype(np.float32) + 1 for image in images]
    visible = [mask[::step, ::step] for mask in seen]
    brightness = [
        float(np.median(image[mask])) if mask.any() else np.inf for image, mask in zip(coarse, visible, strict=True)
    ]
    chosen = int(np.argsort(brightness)[np.isfinite(brightness).sum() // 2])
    result = []
    for image, small, mask in zip(images, coarse, visible, strict=True):
        both = mask & visible[chosen]
        scale = np.median(coarse[chosen][both] / small[both], axis=0) if both.any() else np.ones(3)
        steady = np.abs(scale - 1).max() < _STEADY
        result.append(image if steady else np.clip(np.rint(image * scale), 0, 255).astype(np.uint8))
    return result


def _masked_median(images: list[np.ndarray], seen: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Median of each pixel over the frames that see it, and whether any does; in strips, to keep memory flat."""
    height, width = seen[0].shape
    plate = np.zeros((height, width, 3), np.uint8)
    known = np.any(seen, axis=0)
    rows = max(1, (1 << 22) // (len(images) * width))
    for top in range(0, height, rows):
        part = slice(top, min(top + rows, height))
        colours = np.stack([image[part] for image in images]).astype(np.int16)
        visible = np.stack([mask[part] for mask in seen])
        # The unseen sort to the end, so that the middle of the seen ones is at half their number.
        colours[~visible] = 256
        colours.sort(axis=0)
        middle = (np.maximum(visible.sum(axis=0), 1) - 1) // 2
        chosen = np.take_along_axis(colours, np.broadcast_to(middle[None, ..., None], (1, *colours.shape[1:])), axis=0)
        plate[part] = np.where(known[part][..., None], chosen[0], 0)
    return plate, known
