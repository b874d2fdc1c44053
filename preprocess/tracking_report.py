"""How well a tracked head meets what was seen: figures for the capture report."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from avatar.face_mesh import EYE_CORNERS
from avatar.preprocess import _mesh_regions as regions

if TYPE_CHECKING:
    from jaxtyping import Float

    from avatar.preprocess.tracking_config import TrackingConfig


def tracking_report(
    detected: Float[np.ndarray, "T 478 2"],
    modelled: Float[np.ndarray, "T 478 2"],
    *,
    weight: Float[np.ndarray, " T"],
    time: Float[np.ndarray, " T"],
    held_out: int,
    config: TrackingConfig,
) -> dict[str, Any]:
    """Reprojection and steadiness of a tracked clip.

    Errors are fractions of the clip's median distance between the outer eye corners, medians over the frames that were
    used and over the landmarks off the face oval, unless a region is named.

    Args:
        detected: (T, 478, 2) landmarks in pixels.
        modelled: (T, 478, 2) where the fitted head puts them.
        weight: (T,) weight of each frame in the fit.
        time: (T,) seconds.
        held_out: First frame that no shared unknown has learnt from.
        config: The tracker's settings.

    Returns:
        Plain JSON values. ``reprojection_held_out`` is the error in the frames from which neither identity nor focal
        length nor landmark corrections were learnt. ``acceleration_ratio`` compares the model's mean second difference
        with the detector's: below 1 the fit is steadier than what it was fitted to. ``outliers`` are frame numbers.
    """
    used = np.flatnonzero(weight > 0)
    corners = detected[used][:, list(EYE_CORNERS)]
    unit = float(np.median(np.linalg.norm(corners[:, 0] - corners[:, 1], axis=1)))
    error = np.linalg.norm(detected - modelled, axis=2) / unit
    inside = regions.interior()
    residual = np.median(error[:, inside], axis=1)
    typical = float(np.median(residual[used]))
    late = used[used >= held_out]
    return {
        "reprojection_iod_median": float(np.median(error[np.ix_(used, inside)])),
        "reprojection_held_out": float(np.median(error[np.ix_(late, inside)])) if len(late) else None,
        "reprojection_regions": {
            name: float(np.median(error[np.ix_(used, list(points))])) for name, points in regions.REGIONS.items()
        },
        "reprojection_pixels": typical * unit,
        "inter_ocular_pixels": unit,
        "acceleration_ratio": _acceleration_ratio(detected[:, inside], modelled[:, inside], weight),
        "used_frames": len(used),
        "residual": [
            round(float(value), 6) if trust > 0 else None for value, trust in zip(residual, weight, strict=True)
        ],
        "outliers": [int(index) for index in used if residual[index] > config.outlier_ratio * typical],
    }


def _acceleration_ratio(detected: np.ndarray, modelled: np.ndarray, weight: np.ndarray) -> float:
    """Mean second difference of the modelled over that of the detected landmarks, where three frames were seen."""
    seen = (weight[2:] > 0) & (weight[1:-1] > 0) & (weight[:-2] > 0)
    sizes = [
        np.linalg.norm(values[2:] - 2 * values[1:-1] + values[:-2], axis=2)[seen].mean() if seen.any() else 0.0
        for values in (modelled, detected)
    ]
    return float(sizes[0] / sizes[1]) if sizes[1] > 0 else 0.0
