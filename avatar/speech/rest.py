"""How far lips close when nobody speaks: a bound measured on the head itself, whatever a take's openings are."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from avatar.speech.mouth import INNER_LIP_PAIRS, landmark_opening

if TYPE_CHECKING:
    from jaxtyping import Float

    from avatar.heads import Head

# Lips at rest are open by at most this part of the distance of the outer eye corners (`landmark_opening`), a sixth of a
# millimetre below 0.03, up to which a mouth counts as closed in silence. It is met on the head itself.
REST_OPENING = 0.028
# Lips that would come nearer than this, metres of height between the landmarks, are not pushed on into each other.
LEAST_GAP = 2.5e-4
# Of a take, the percentage of its moments with the smallest opening that shows the closed mouth.
CLOSED_SHARE = 10
STEPS = 200


def closing_steps(gap: float) -> Float[np.ndarray, " 201"]:
    """Metres by which lips with a gap are drawn together, from not at all to all of it."""
    return np.linspace(0, max(gap, 0.0), STEPS + 1)


def first_closed(subject: Head, mouths: Float[np.ndarray, "N D"], *, upper: Float[np.ndarray, " E"]) -> int:
    """Which of ever more closed mouths is the first that counts as closed.

    Args:
        subject: The head with the subject's identity in it (`avatar.heads.subject.subject_head`).
        mouths: (N, E + 3) expression and jaw.
        upper: (E,) expression outside speech.

    Returns:
        The first mouth whose opening is at most `REST_OPENING`; where the lips would meet before, the last before they
        do, but the first of all at least.
    """
    import torch

    expression = mouths[:, :-3] + upper
    pose = np.zeros((len(mouths), 5, 3))
    pose[:, 2] = mouths[:, -3:]
    head = subject.landmark_subset()
    device = head.v_template.device
    given = [torch.as_tensor(value, dtype=torch.float32, device=device) for value in (expression, pose)]
    with torch.no_grad():
        vertices = head(expression=given[0], pose=given[1])
        points = head.landmark_positions(vertices).double().cpu().numpy()
    above, below = np.array(INNER_LIP_PAIRS).T
    gap = (points[:, above, 1] - points[:, below, 1]).min(axis=1)
    closed, met = landmark_opening(points) <= REST_OPENING, gap < LEAST_GAP
    enough = int(closed.argmax()) if closed.any() else len(mouths) - 1
    return min(enough, max(int(met.argmax()) - 1, 0)) if met.any() else enough
