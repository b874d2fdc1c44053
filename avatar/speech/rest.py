"""How far lips close when nobody speaks: a bound measured on the head itself, whatever a take's openings are."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from avatar.speech.mouth import INNER_LIP_PAIRS, landmark_opening, mouth_map

if TYPE_CHECKING:
    from jaxtyping import Float

    from avatar.heads import Head
    from avatar.speech.mouth import MouthMap

# Lips at rest are open by at most this part of the distance of the outer eye corners (`landmark_opening`), a sixth of a
# millimetre below 0.03, up to which a mouth counts as closed in silence. It is met on the head itself.
REST_OPENING = 0.028
# Of a take, the percentage of its moments with the smallest opening that shows the closed mouth.
CLOSED_SHARE = 10
# A take whose mouth never came nearer to closed than this, metres beyond the head's neutral, does not show it at rest.
PARTED = 0.002
STEP = 5e-5
# Least mean square displacement of a unit coefficient, of the largest, when the smallest motion is looked for.
FLOOR = 1e-3


def first_closed(subject: Head, mouths: Float[np.ndarray, "N D"], *, upper: Float[np.ndarray, " E"]) -> int | None:
    """Which of ever more closed mouths is the first whose opening is at most `REST_OPENING`.

    Args:
        subject: The head with the subject's identity in it (`avatar.heads.subject.subject_head`).
        mouths: (N, E + 3) expression and jaw.
        upper: (E,) expression outside speech.

    Returns:
        None where none is, or where the lips meet before.
    """
    closed, met = _judged(subject, mouths, upper)
    chosen = int(closed.argmax())
    return chosen if closed[chosen] and not met[1 : chosen + 1].any() else None


def closed_mouth(
    mouth: Float[np.ndarray, " D"], *, subject: Head, upper: Float[np.ndarray, " E"]
) -> Float[np.ndarray, " D"]:
    """A mouth drawn together by the smallest motion, until it is closed or the lips would meet."""
    mouths = closing(mouth, mouth_map(subject, jaw=mouth[-3:]))
    chosen = first_closed(subject, mouths, upper=upper)
    if chosen is None:
        met = _judged(subject, mouths, upper)[1]
        chosen = max(int(met.argmax()) - 1, 0) if met.any() else len(mouths) - 1
    return mouths[chosen]


def closing(mouth: Float[np.ndarray, " D"], own: MouthMap) -> Float[np.ndarray, "N D"]:
    """The way of a mouth to lips that touch, by steps that move the lower face the least.

    Nearer in all directions: lips that lie above each other with one before the other are not closed.
    """
    part = np.eye(len(own.metric))
    part[:-3, :-3] = own.speech_part
    # What hardly moves the lower face is floored, or the lips would close by coefficients without bounds.
    floor = FLOOR * np.linalg.eigvalsh(own.metric)[-1] * np.eye(len(own.metric))
    moved = part @ np.linalg.solve(part.T @ own.metric @ part + floor, part.T)
    way = [np.asarray(mouth, np.float64)]
    apart = own.lips_base + own.lips @ way[0]
    for _ in range(int(np.linalg.norm(apart, axis=1).mean() / STEP)):
        apart = own.lips_base + own.lips @ way[-1]
        toward = apart / np.maximum(np.linalg.norm(apart, axis=1, keepdims=True), 1e-9)
        slope = np.einsum("pc,pcd->d", toward, own.lips) / len(apart)
        step = moved @ slope
        way.append(way[-1] - STEP * step / max(float(slope @ step), 1e-12))
    return np.stack(way)


def _judged(
    subject: Head, mouths: Float[np.ndarray, "N D"], upper: Float[np.ndarray, " E"]
) -> tuple[np.ndarray, np.ndarray]:
    """Which mouths count as closed, and in which the upper lip would lie below the lower one."""
    import torch

    pose = np.zeros((len(mouths), 5, 3))
    pose[:, 2] = mouths[:, -3:]
    head = subject.landmark_subset()
    device = head.device
    given = [torch.as_tensor(value, dtype=torch.float32, device=device) for value in (mouths[:, :-3] + upper, pose)]
    with torch.no_grad():
        points = head.landmark_positions(head(expression=given[0], pose=given[1])).double().cpu().numpy()
    above, below = np.array(INNER_LIP_PAIRS).T
    height = (points[:, above, 1] - points[:, below, 1]).mean(axis=1)
    return landmark_opening(points) <= REST_OPENING, height < 0
