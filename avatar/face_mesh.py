"""Landmarks of MediaPipe's face mesh (478 points; canonical_face_model.obj of that project) by what they lie on."""

from __future__ import annotations

# Outer eye corners of the subject: right, left. Their distance is the scale that errors are stated in.
EYE_CORNERS = (33, 263)
# The face's outline in order (FACEMESH_FACE_OVAL), from the middle of the forehead over the subject's left.
OVAL = (
    *(10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377),
    *(152, 148, 176, 149, 150, 136, 172, 58, 132, 93, 234, 127, 162, 21, 54, 103, 67, 109),
)
# Closed contours, in drawing order.
OUTER_LIPS = (61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291, 409, 270, 269, 267, 0, 37, 39, 40, 185)
INNER_LIPS = (78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308, 415, 310, 311, 312, 13, 82, 81, 80, 191)
LIPS = (*OUTER_LIPS, *INNER_LIPS)
# Each eye's corners and lids with its brow; the subject's right one comes first.
EYES_AND_BROWS = (
    (33, 133, 159, 145, 160, 158, 70, 63, 105, 66, 107, 55, 65, 52, 53, 46),
    (263, 362, 386, 374, 385, 387, 300, 293, 334, 296, 336, 285, 295, 282, 283, 276),
)
