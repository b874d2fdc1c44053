"""What the background spills over a person's outline is taken out of a frame: its hues, where the person has none.

The lens, compressed video's coarse colour and light from a coloured wall carry a background's hue some pixels into
hair, ears and jaw. Studios take the green of their screens out of what is before them; here each pixel's own background
says which hue may be too much, and the person's pixels well within the outline say how much is.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np

from avatar.train.palette import MARGIN

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int, UInt8

# Two axes across the grey one, in sRGB: a colour's hue and its strength lie in this plane.
PLANE = np.array([[2.0, -1, -1], [0, 3**0.5, -(3**0.5)]], np.float32).T / 6**0.5
# A background weaker than that has no hue, in sRGB from 0 to 1; and so much more than the person's own is no spill.
GREY, SLACK = 0.08, 0.02
# Looked at are the nearest pixel well within the outline and so many around it, so far, in reaches of what is spilled.
AROUND, AWAY = 8, 2.0
# More than any colour has.
ANY = 2.0


@dataclass(frozen=True)
class Spill:
    """Takes out of frames what the background spilled over the outline of one person.

    Attributes:
        plate: (H, W, 3) the clip's own background, sRGB in [0, 1].
        axis: (H, W, 2) direction of its hue in the plane; zero where it is grey.
    """

    plate: Float[np.ndarray, "H W 3"]
    axis: Float[np.ndarray, "H W 2"]

    @classmethod
    def of(cls, plate: UInt8[np.ndarray, "H W 3"]) -> Spill:
        """What takes a background out of frames."""
        plate = plate.astype(np.float32) / 255
        flat = plate @ PLANE
        strength = np.linalg.norm(flat, axis=-1, keepdims=True)
        return cls(plate, np.where(strength > GREY, flat / np.maximum(strength, GREY), 0))

    def __call__(
        self, image: UInt8[np.ndarray, "H W 3"], alpha: Float[np.ndarray, "H W"], parts: UInt8[np.ndarray, "H W"]
    ) -> UInt8[np.ndarray, "H W 3"]:
        """The frame as if nothing had been spilled: near the outline it differs, where nobody is it is the plate.

        Args:
            image: sRGB.
            alpha: The person, in [0, 1].
            parts: Labels of `avatar.io.parts`.
        """
        behind = (1 - alpha[..., None]) * self.plate
        # Of a mixture the person's share is neither less than nothing nor more than all of it.
        person = (image.astype(np.float32) / 255 - behind).clip(0, alpha[..., None])
        depth = cv2.distanceTransform((alpha > 0.5).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
        depth /= MARGIN * max(alpha.shape)
        near = np.where(alpha > 0, 3 - 2 * depth, 0).clip(0, 1)
        rows, columns = np.nonzero(near * self.axis.any(-1))
        axis = self.axis[rows, columns]
        most = _strength_beside(image, depth > 1, parts, rows, columns, axis) + SLACK
        strength = ((person[rows, columns] @ PLANE) * axis).sum(-1)
        spilled = near[rows, columns] * (strength - alpha[rows, columns] * most).clip(min=0)
        person[rows, columns] -= spilled[:, None] * (axis @ PLANE.T)
        return np.rint((person + behind).clip(0, 1) * 255).astype(np.uint8)


def _strength_beside(
    image: UInt8[np.ndarray, "H W 3"],
    within: Bool[np.ndarray, "H W"],
    parts: UInt8[np.ndarray, "H W"],
    rows: Int[np.ndarray, " n"],
    columns: Int[np.ndarray, " n"],
    axis: Float[np.ndarray, "n 2"],
) -> Float[np.ndarray, " n"]:
    """How strong the hue `axis` is at most in what lies `within` the outline beside some pixels, of the same part."""
    labels = np.where(parts > 0, parts, cv2.dilate(parts, np.ones((5, 5), np.uint8)))[rows, columns]
    most = np.full(len(rows), -ANY, np.float32)
    for label in np.unique(labels[labels > 0]):
        inside, mine = within & (parts == label), np.flatnonzero(labels == label)
        if not inside.any():
            continue
        _, numbers = cv2.distanceTransformWithLabels(
            1 - inside.astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_5, labelType=cv2.DIST_LABEL_PIXEL
        )
        places = np.zeros((numbers.max() + 1, 2), int)
        places[numbers[inside]] = np.argwhere(inside)
        nearest = places[numbers[rows[mine], columns[mine]]]
        angles = np.arange(AROUND) * (2 * np.pi / AROUND)
        ring = np.rint(AWAY * MARGIN * max(image.shape) * np.stack([np.sin(angles), np.cos(angles)], 1)).astype(int)
        for offset in (np.zeros(2, int), *ring):
            row, column = (nearest + offset).clip(0, np.array(inside.shape) - 1).T
            strength = ((image[row, column].astype(np.float32) / 255 @ PLANE) * axis[mine]).sum(-1)
            most[mine] = np.maximum(most[mine], np.where(inside[row, column], strength, -ANY))
    return np.where(most > -ANY, most, ANY)
