"""Colours that the person does not have are taken back: what the outline's pixels mix in from the background.

A mask is never exact, and training puts the background that it lets in onto the Gaussians at the outline: a line of a
pixel from the front, a patch of leaves on the jaw from the side. Colours that do not occur well within the person's
own pixels move to the nearest ones that do; what is seen of it from the front is within the noise.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np
import torch
from scipy.spatial import KDTree

from avatar.fields.gaussian_head import REGIONS
from avatar.io.parts import HEAD
from avatar.spread import evenly_spread

if TYPE_CHECKING:
    from jaxtyping import Float, Int

    from avatar.fields.gaussian_head import GaussianHead
    from avatar.io.take import Take

FRAMES, PIXELS = 24, 40000
# How far from the outline a pixel must be, in sides of the picture: the reach of a segmenter's errors and of the coarse
# colour of compressed video, which carries a blue wall six pixels into the hair of a small picture.
MARGIN = 0.022
# So many of the person's pixels must be near a colour, and so near, in sRGB from 0 to 1.
NEAREST, TOLERANCE = 32, 0.02
OF_SKIN_AND_HAIR = tuple(REGIONS.index(name) for name in ("skin", "scalp", "unseen"))


def own_colors(take: Take, indices: Int[np.ndarray, " n"]) -> Float[np.ndarray, "P 3"]:
    """Colours of pixels well within the head, sRGB in [0, 1], from some of the frames; none if it is never shown."""
    chosen = evenly_spread(indices, FRAMES)
    generator, found = np.random.default_rng(0), []
    for index in chosen:
        person = (np.asarray(take.mask(int(index))) > 0.5).astype(np.uint8)
        depth = cv2.distanceTransform(person, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
        within = (take.parts(int(index)) == HEAD) & (depth > MARGIN * max(person.shape))
        pixels = take.image(int(index))[within]
        found.append(generator.permutation(pixels)[: PIXELS // len(chosen)])
    return np.concatenate(found) / 255.0


@torch.no_grad()
def keep_to_own_colors(gaussians: GaussianHead, colors: Float[np.ndarray, "P 3"]) -> int:
    """Moves the colours of skin and hair to within `TOLERANCE` of the person's own, in place.

    Args:
        gaussians: The trained head.
        colors: As `own_colors` gives them; too few of them change nothing.

    Returns:
        How many Gaussians were changed.
    """
    if len(colors) < NEAREST:
        return 0
    on_head = gaussians.triangles < len(gaussians.head.faces)
    judged = torch.isin(gaussians.regions, gaussians.regions.new_tensor(OF_SKIN_AND_HAIR)) & on_head
    learned = gaussians.color_logits[judged].sigmoid().double().cpu().numpy()
    own = colors[KDTree(colors).query(learned, NEAREST)[1]].mean(1)
    return draw_nearer(gaussians, judged.cpu().numpy().nonzero()[0], own, tolerance=TOLERANCE)


@torch.no_grad()
def draw_nearer(
    gaussians: GaussianHead, rows: Int[np.ndarray, " n"], colors: Float[np.ndarray, "n 3"], *, tolerance: float
) -> int:
    """Moves the colours of some Gaussians to within `tolerance` of others, sRGB in [0, 1]; returns how many moved."""
    place = torch.from_numpy(rows).to(gaussians.regions.device)
    learned = gaussians.color_logits[place].sigmoid().double().cpu().numpy()
    away = np.linalg.norm(colors - learned, axis=1, keepdims=True)
    share = (1 - tolerance / np.maximum(away, 1e-9)).clip(0)
    moved = share[:, 0] > 0
    changed = torch.from_numpy((learned + share * (colors - learned))[moved]).float().clamp(1e-3, 1 - 1e-3)
    where = place[torch.from_numpy(moved).to(place.device)]
    gaussians.color_logits[where] = changed.logit().to(gaussians.color_logits.device)
    return int(moved.sum())
