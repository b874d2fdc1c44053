"""Which of the 478 face-mesh landmarks belong to which part of the face (MediaPipe Face Mesh topology)."""

from __future__ import annotations

import numpy as np

from avatar.face_mesh import INNER_LIPS, LIPS, OVAL

# Closed contours, in drawing order.
RIGHT_EYE = (33, 7, 163, 144, 145, 153, 154, 155, 133, 173, 157, 158, 159, 160, 161, 246)
LEFT_EYE = (263, 249, 390, 373, 374, 380, 381, 382, 362, 398, 384, 385, 386, 387, 388, 466)
EYES = (*RIGHT_EYE, *LEFT_EYE)
# The centre, then the ring; the subject's right iris comes first.
RIGHT_IRIS = (468, 469, 470, 471, 472)
LEFT_IRIS = (473, 474, 475, 476, 477)
IRIS = (*RIGHT_IRIS, *LEFT_IRIS)
COUNT = 478


def facing(contour: tuple[int, ...]) -> np.ndarray:
    """Pairs (P, 2) of points that face each other across a closed contour from corner to corner."""
    return np.array([(contour[index], contour[-index]) for index in range(1, len(contour) // 2)])


LID_PAIRS = np.concatenate([facing(RIGHT_EYE), facing(LEFT_EYE)])
LIP_PAIRS = facing(INNER_LIPS)


def interior() -> np.ndarray:
    """Indices of the landmarks off the face oval, which slides along the cheek as the head turns."""
    return np.setdiff1d(np.arange(COUNT), OVAL)


REGIONS = {"lips": LIPS, "eyes": EYES, "iris": IRIS, "oval": OVAL}
