"""The mouth of a head as numbers: its opening, and the part of the expression that speech moves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from avatar.face_mesh import EYE_CORNERS, LIPS

if TYPE_CHECKING:
    from jaxtyping import Float

    from avatar.heads import Head

# Indices of the 478 landmarks of MediaPipe's face mesh (canonical_face_model.obj of that project).
INNER_LIP_PAIRS = ((13, 14), (82, 87), (312, 317))
LOWER_FACE = (*LIPS, 152, 148, 377, 176, 400, 205, 425, 50, 280, 207, 427)
UPPER_FACE = (
    *(70, 63, 105, 66, 107, 55, 65, 52, 53, 46, 300, 293, 334, 296, 336, 285, 295, 282, 283, 276),
    *(33, 133, 159, 145, 160, 158, 263, 362, 386, 374, 385, 387, 9, 151, 10),
)
SPEECH_ACTIONS = ("mouth", "jaw", "cheekPuff", "tongue")
JAW_STEP = 0.05
# How far beside the middle of the face the upper teeth's edge is looked for, and how far behind their front, metres.
INCISORS = 0.006


def landmark_opening(landmarks: Float[np.ndarray, "T 478 3"]) -> Float[np.ndarray, " T"]:
    """Mean distance of three pairs of inner-lip landmarks over the distance of the outer eye corners.

    Args:
        landmarks: (T, 478, 3) landmarks in one unit (pixels or metres), third coordinate depth in that unit.

    Returns:
        (T,) opening of the mouth, about 0 closed to 0.3 wide, free of the picture's scale.
    """
    points = np.asarray(landmarks, np.float64)
    gaps = [np.linalg.norm(points[:, lower] - points[:, upper], axis=1) for upper, lower in INNER_LIP_PAIRS]
    eyes = np.linalg.norm(points[:, EYE_CORNERS[0]] - points[:, EYE_CORNERS[1]], axis=1)
    return np.mean(gaps, axis=0) / np.maximum(eyes, 1e-9)


@dataclass(frozen=True)
class MouthMap:
    """A head's mouth, linear in expression and jaw around one identity and jaw pose.

    Attributes:
        gap_base: Inner-lip gap at zero expression and zero jaw by the linear map, metres.
        gap_expression: (E,) metres of inner-lip gap per unit of expression.
        gap_jaw: (3,) metres per radian of jaw.
        metric: (E + 3, E + 3) mean square displacement of the lower face as a quadratic form of expression and jaw.
        speech_part: (E, E) projector onto the expression that speech moves; the identity less it is the upper face.
        lip_metric: (E + 3, E + 3) the same of the lips' outlines.
        bite: (E + 3,) metres by which the lower lip nears the edge of the upper teeth; zero on heads without teeth.
        lips_base: (3, 3) from lower to upper inner lip at three places, at zero expression and zero jaw, metres.
        lips: (3, 3, E + 3) its change per unit of expression and radian of jaw.
    """

    gap_base: float
    gap_expression: Float[np.ndarray, " E"]
    gap_jaw: Float[np.ndarray, " 3"]
    metric: Float[np.ndarray, "D D"]
    speech_part: Float[np.ndarray, "E E"]
    lip_metric: Float[np.ndarray, "D D"]
    bite: Float[np.ndarray, " D"]
    lips_base: Float[np.ndarray, "3 3"]
    lips: Float[np.ndarray, "3 3 D"]

    def opening(self, expression: Float[np.ndarray, "T E"], jaw: Float[np.ndarray, "T 3"]) -> Float[np.ndarray, " T"]:
        """(T,) vertical gap of the inner lips in the head's frame, metres; negative where the lips would overlap."""
        return self.gap_base + expression @ self.gap_expression + jaw @ self.gap_jaw


def mouth_map(
    head: Head, *, betas: Float[np.ndarray, " S"] | None = None, jaw: Float[np.ndarray, " 3"] | None = None
) -> MouthMap:
    """Linearises the mouth of a head.

    The expression enters exactly (blendshapes are linear before skinning); the jaw by central differences.

    Args:
        head: The head model.
        betas: (S',) identity; zero when left out.
        jaw: (3,) jaw axis-angle to linearise around, radians.
    """
    import torch

    count = head.exprdirs.shape[-1]
    faces, barycentric, _ = head.landmarks
    corners = head.faces[faces]
    directions = (head.exprdirs[corners] * barycentric.to(head.exprdirs.dtype)[..., None, None]).sum(dim=1)
    directions = directions.detach().cpu().double().numpy()

    centre = np.zeros(3) if jaw is None else np.asarray(jaw, np.float64)
    poses = torch.zeros(7, 5, 3)
    poses[:, 2] = torch.as_tensor(centre, dtype=torch.float32)
    for axis in range(3):
        poses[1 + 2 * axis, 2, axis] += JAW_STEP
        poses[2 + 2 * axis, 2, axis] -= JAW_STEP
    identity = None if betas is None else torch.as_tensor(np.asarray(betas), dtype=torch.float32)[None]
    with torch.no_grad():
        vertices = head(betas=identity, pose=poses.to(head.exprdirs.device))
        points = head.landmark_positions(vertices).cpu().double().numpy()
    teeth = vertices[0, slice(*head.parts.get("teeth_upper", (0, 0)))].cpu().double().numpy()
    jacobian = np.stack([(points[1 + 2 * a] - points[2 + 2 * a]) / (2 * JAW_STEP) for a in range(3)], axis=-1)

    upper, lower = np.array(INNER_LIP_PAIRS).T
    gap_jaw = (jacobian[upper, 1] - jacobian[lower, 1]).mean(axis=0)
    gap = float((points[0, upper, 1] - points[0, lower, 1]).mean())
    low = list(LOWER_FACE)
    moved = np.concatenate([directions[low], jacobian[low]], axis=2).reshape(-1, count + 3)
    each = np.concatenate([directions, jacobian], axis=2)
    between = each[upper] - each[lower]
    lips = each[list(LIPS)].reshape(-1, count + 3)
    return MouthMap(
        gap_base=gap - float(gap_jaw @ centre),
        gap_expression=(directions[upper, 1] - directions[lower, 1]).mean(axis=0),
        gap_jaw=gap_jaw,
        metric=moved.T @ moved / len(low),
        speech_part=_speech_part(head, directions),
        lip_metric=lips.T @ lips / len(LIPS),
        bite=each[lower].mean(axis=0).T @ _toward_teeth(points[0, lower].mean(axis=0), teeth),
        lips_base=points[0, upper] - points[0, lower] - between[..., -3:] @ centre,
        lips=between,
    )


def _toward_teeth(lip: Float[np.ndarray, " 3"], teeth: Float[np.ndarray, "N 3"]) -> Float[np.ndarray, " 3"]:
    """Unit vector from the lower lip to the middle of the upper incisors' edge; zero where there are no teeth."""
    middle = teeth[np.abs(teeth[:, 0] - lip[0]) < INCISORS]
    if not len(middle):
        return np.zeros(3)
    front = middle[middle[:, 2] > middle[:, 2].max() - INCISORS]
    way = front[front[:, 1].argmin()] - lip
    return way / max(float(np.linalg.norm(way)), 1e-9)


def _speech_part(head: Head, directions: Float[np.ndarray, "L 3 E"]) -> Float[np.ndarray, "E E"]:
    """Projector onto the mouth's share of the expression: by ARKit names where they span the basis, else by region."""
    count = directions.shape[-1]
    actions = head.arkit_to_psi.detach().cpu().double().numpy() if head.arkit_names else np.zeros((count, 0))
    if count and actions.shape[1] and np.linalg.matrix_rank(actions) == count:
        moved = np.array([name.startswith(SPEECH_ACTIONS) for name in head.arkit_names])
        return (actions * moved) @ np.linalg.pinv(actions)
    # Least squares: keep what the lower face does, undo what the upper face does.
    low = directions[list(LOWER_FACE)].reshape(-1, count)
    high = directions[list(UPPER_FACE)].reshape(-1, count)
    inner, outer = low.T @ low / len(low), high.T @ high / len(high)
    damping = 1e-4 * np.trace(inner + outer) / max(count, 1) * np.eye(count)
    return np.linalg.solve(inner + outer + damping, inner + damping / 2) if count else np.zeros((0, 0))
