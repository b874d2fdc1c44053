"""How far a picture is from a person: descriptors of dlib's face recognition network."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from avatar.errors import PartError
from avatar.models import fetch

if TYPE_CHECKING:
    from collections.abc import Callable

    from jaxtyping import Float, UInt8

# Of MediaPipe's face mesh, in the order of dlib's five points: the corners of the eye on the right of the picture,
# outer then inner, those of the other eye, and the base of the nose.
FIVE_POINTS = (263, 362, 33, 133, 2)
CHIP, PADDING = 150, 0.25


def load_identity() -> Callable[[UInt8[np.ndarray, "H W 3"], Float[np.ndarray, "478 3"]], Float[np.ndarray, " 128"]]:
    """The function from a picture and its face's landmarks to a descriptor of 128 numbers.

    Descriptors of one person lie about 0.35 apart, those of two people more than 0.6 (dlib's own threshold).

    Raises:
        PartError: dlib is not installed, or the network cannot be fetched.
    """
    try:
        # Compiled code without stubs.
        import dlib  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise PartError(
            "The identity distance cannot be computed",
            expected="dlib",
            found="it is not installed",
            fix="pip install 'headsplat[eval]'",
        ) from error
    dlib_any: Any = dlib
    network = dlib_any.face_recognition_model_v1(str(fetch("dlib_face_recognition")))

    def describe(image: UInt8[np.ndarray, "H W 3"], landmarks: Float[np.ndarray, "478 3"]) -> Float[np.ndarray, " 128"]:
        points = [dlib_any.point(round(float(x)), round(float(y))) for x, y in landmarks[list(FIVE_POINTS), :2]]
        height, width = image.shape[:2]
        shape = dlib_any.full_object_detection(dlib_any.rectangle(0, 0, width - 1, height - 1), points)
        chip = dlib_any.get_face_chip(np.ascontiguousarray(image), shape, CHIP, PADDING)
        return np.array(network.compute_face_descriptor(chip))

    return describe
