"""Which of the 478 face-mesh landmarks belong to which part of the face (MediaPipe Face Mesh topology)."""

from __future__ import annotations

import numpy as np

# Outer eye corners of the subject: right, left. Their distance is the scale that every error is stated in.
OUTER_CORNERS = (33, 263)
OVAL = (
    *(10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377),
    *(152, 148, 176, 149, 150, 136, 172, 58, 132, 93, 234, 127, 162, 21, 54, 103, 67, 109),
)
LIPS = (
    *(61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291, 185, 40, 39, 37, 0, 267, 269, 270, 409),
    *(78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308, 191, 80, 81, 82, 13, 312, 311, 310, 415),
)
RIGHT_EYE = (33, 7, 163, 144, 145, 153, 154, 155, 133, 173, 157, 158, 159, 160, 161, 246)
LEFT_EYE = (263, 249, 390, 373, 374, 380, 381, 382, 362, 398, 384, 385, 386, 387, 388, 466)
EYES = (*RIGHT_EYE, *LEFT_EYE)
# The centre, then the ring; the subject's right iris comes first.
RIGHT_IRIS = (468, 469, 470, 471, 472)
LEFT_IRIS = (473, 474, 475, 476, 477)
IRIS = (*RIGHT_IRIS, *LEFT_IRIS)
# Points that no expression moves by much: brow ridge, bridge and side of the nose, eye corners, temples, ears' roots.
RIGID = (33, 133, 362, 263, 6, 197, 195, 5, 4, 168, 8, 9, 151, 10, 127, 356, 234, 454, 93, 323, 54, 284, 98, 327, 2)
COUNT = 478


def interior() -> np.ndarray:
    """Indices of the landmarks off the face oval, which slides along the cheek as the head turns."""
    return np.setdiff1d(np.arange(COUNT), OVAL)


REGIONS = {"lips": LIPS, "eyes": EYES, "iris": IRIS, "oval": OVAL}
