"""First guess of every unknown of the tracker, in closed form."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from avatar.face_mesh import EYE_CORNERS
from avatar.heads.arkit import MEDIAPIPE_BLENDSHAPES
from avatar.preprocess import _mesh_regions as regions
from avatar.preprocess._unknowns import PerFrame, Shared

if TYPE_CHECKING:
    from collections.abc import Callable

    from jaxtyping import Bool, Float
    from torch import Tensor

    from avatar.heads import Head
    from avatar.preprocess._landmark_model import PointModel

# The blendshape network exaggerates a little next to a head model's own scale.
ACTION_GAIN = 0.6


def initial_shared(model: PointModel, *, focal: float) -> Shared:
    """The average person in front of a camera of this focal length (pixels)."""
    device = model.rest.device
    return Shared(
        betas=torch.zeros(model.shape.shape[2], device=device),
        log_focal=torch.tensor(float(np.log(focal)), device=device),
        offsets=torch.zeros_like(model.rest),
        root=torch.zeros(3, device=device),
        vergence=torch.tensor(0.03, device=device),
    )


def initial_frames(
    points: Float[Tensor, "3 L"],
    head: Head,
    *,
    time: Float[np.ndarray, " T"],
    pixels: Float[np.ndarray, "T 478 2"],
    blendshapes: Float[np.ndarray, "T 52"],
    trusted: Bool[np.ndarray, " T"],
    centre: tuple[float, float],
) -> PerFrame:
    """Pose by weak perspective, expression by the blendshape network; frames without trust from their neighbours.

    Args:
        points: (3, 478) the person's landmarks at rest, metres.
        head: The head.
        time: (T,) seconds.
        pixels: (T, 478, 2) landmarks.
        blendshapes: (T, 52) scores in MediaPipe's order.
        trusted: (T,) frames whose landmarks and scores mean something; at least one.
        centre: Principal point in pixels.
    """
    filled = _interpolated(time, trusted, device=points.device)
    rotations, scale, middle = weak_perspective(points.cpu().numpy().T, pixels[trusted], anchor=anchor_of(points))
    place = np.concatenate(
        [
            (middle[:, :1] - centre[0]) / scale[:, None],
            (centre[1] - middle[:, 1:]) / scale[:, None],
            -np.log(scale)[:, None],
        ],
        axis=1,
    )
    score = dict(zip(MEDIAPIPE_BLENDSHAPES, blendshapes[trusted].T, strict=True))
    zero = np.zeros(trusted.sum())
    jaw = np.stack([head.jaw_open_angle * score["jawOpen"], zero, zero], axis=1)
    lids = np.stack([score["eyeBlinkLeft"], score["eyeBlinkRight"]], axis=1)
    actions = np.zeros((len(zero), head.exprdirs.shape[2]))
    if head.arkit_to_psi.numel():
        actions = ACTION_GAIN * np.stack([score.get(name, zero) for name in head.arkit_names], axis=1)
    return PerFrame(
        neck=filled(rotations[:, :, :2]),
        place=filled(place),
        jaw=filled(jaw),
        gaze=filled(_gaze(score, head)),
        lids=filled(lids),
        actions=filled(actions),
    )


def anchor_of(points: Float[Tensor, "3 L"]) -> np.ndarray:
    """The point between the outer eye corners at rest, metres: turns about it hardly move the picture."""
    return points[:, list(EYE_CORNERS)].mean(1).cpu().numpy()


def weak_perspective(
    points: Float[np.ndarray, "L 3"], pixels: Float[np.ndarray, "T L 2"], *, anchor: Float[np.ndarray, " 3"]
) -> tuple[Float[np.ndarray, "T 3 3"], Float[np.ndarray, " T"], Float[np.ndarray, "T 2"]]:
    """Scaled-orthographic pose of each frame by least squares over the landmarks that expressions move little.

    Returns:
        Rotations (T, 3, 3) to a world with y up and z to the viewer, scales (T,) in pixels a metre, and where the
        anchor appears (T, 2) in pixels.
    """
    still = np.setdiff1d(regions.interior(), [*regions.LIPS, *regions.IRIS])
    source = points[still].astype(np.float64)
    mean = source.mean(axis=0)
    target = pixels[:, still].astype(np.float64)
    middle = target.mean(axis=1, keepdims=True)
    solver = np.linalg.pinv(source - mean)
    rows = np.einsum("kl,tlc->tck", solver, target - middle) * np.array([1.0, -1.0])[None, :, None]
    left, sizes, right = np.linalg.svd(rows, full_matrices=False)
    # Depth is the worst-seen direction of a face, so that the larger singular value is the better scale.
    scale = sizes[:, 0]
    axes = left @ right
    rotations = np.concatenate([axes, np.cross(axes[:, :1], axes[:, 1:])], axis=1)
    away = (rotations @ (anchor - mean))[:, :2] * np.array([1.0, -1.0])
    return rotations, scale, middle[:, 0] + scale[:, None] * away


def _gaze(score: dict[str, np.ndarray], head: Head) -> np.ndarray:
    up, down, inner, outer = head.eye_look_angles
    pitch = (score["eyeLookDownLeft"] + score["eyeLookDownRight"]) / 2 * down
    pitch = pitch - (score["eyeLookUpLeft"] + score["eyeLookUpRight"]) / 2 * up
    to_left = (score["eyeLookOutLeft"] * outer + score["eyeLookInRight"] * inner) / 2
    to_right = (score["eyeLookInLeft"] * inner + score["eyeLookOutRight"] * outer) / 2
    return np.stack([pitch, to_left - to_right], axis=1)


def _interpolated(
    time: np.ndarray, trusted: np.ndarray, *, device: torch.device
) -> Callable[[np.ndarray], torch.Tensor]:
    """A function that spreads values of the trusted frames over all frames, linearly in time."""

    def spread(values: np.ndarray) -> torch.Tensor:
        flat = values.reshape(len(values), -1)
        columns = [np.interp(time, time[trusted], column) for column in flat.T]
        spread_out = np.stack(columns, axis=1).reshape(len(time), *values.shape[1:])
        return torch.as_tensor(spread_out, dtype=torch.float32, device=device)

    return spread
