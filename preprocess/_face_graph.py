"""Constants of MediaPipe's published face graphs, with their sources.

Detector: BlazeFace short range (model card "MediaPipe BlazeFace (Short Range)", Bazarevsky et al. 2019,
arXiv:1907.05047; anchors and thresholds from ``face_detection_short_range.pbtxt``). Landmarks: model card "MediaPipe
Face Mesh V2" (Kartynnik et al. 2019, arXiv:1907.06724; Grishchenko et al. 2020, arXiv:2006.10962 for the attention
mesh). Blendshapes: model card "MediaPipe Blendshape V2" (``face_blendshapes_graph.cc`` lists the 146 points).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from jaxtyping import Float

DETECTOR_SIZE = 128
# Feature map stride and anchors per cell; three layers of stride 16 with two anchors each are one of six.
DETECTOR_LAYERS = ((8, 2), (16, 6))
DETECTOR_THRESHOLD = 0.5
DETECTOR_OVERLAP = 0.3

MESH_SIZE = 256
MESH_THRESHOLD = 0.5
# The mesh is run on a square 1.5 times as large as the face's box, upright by the line between the eyes.
REGION_SCALE = 1.5

# fmt: off
BLENDSHAPE_POINTS = np.array([
    0, 1, 4, 5, 6, 7, 8, 10, 13, 14, 17, 21, 33, 37, 39, 40, 46, 52, 53, 54, 55, 58, 61, 63, 65, 66, 67, 70, 78, 80,
    81, 82, 84, 87, 88, 91, 93, 95, 103, 105, 107, 109, 127, 132, 133, 136, 144, 145, 146, 148, 149, 150, 152, 153, 154,
    155, 157, 158, 159, 160, 161, 162, 163, 168, 172, 173, 176, 178, 181, 185, 191, 195, 197, 234, 246, 249, 251, 263,
    267, 269, 270, 276, 282, 283, 284, 285, 288, 291, 293, 295, 296, 297, 300, 308, 310, 311, 312, 314, 317, 318, 321,
    323, 324, 332, 334, 336, 338, 356, 361, 362, 365, 373, 374, 375, 377, 378, 379, 380, 381, 382, 384, 385, 386, 387,
    388, 389, 390, 397, 398, 400, 402, 405, 409, 415, 454, 466, 468, 469, 470, 471, 472, 473, 474, 475, 476, 477,
])
# fmt: on
FOREHEAD, CHIN, MOUTH = 10, 152, 13


def detector_anchors() -> Float[np.ndarray, "896 2"]:
    """Centres (x, y) of the detector's anchors, in the unit square, in the order of its outputs."""
    centres = []
    for stride, count in DETECTOR_LAYERS:
        cells = DETECTOR_SIZE // stride
        y, x = np.mgrid[:cells, :cells]
        centres.append(np.repeat((np.stack([x, y], -1).reshape(-1, 2) + 0.5) / cells, count, axis=0))
    return np.concatenate(centres).astype(np.float32)
