"""The head without its shoulders."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from avatar.fields.gaussian_head import GaussianHead

CHIN = 152
# Below the chin the neck fades between these, metres, and with it what of a collar was taken for skin.
FADE = (0.015, 0.065)


def head_alone(gaussians: GaussianHead) -> GaussianHead:
    """The avatar's head with a neck that fades out; the clothes and what hangs on them are left out."""
    head = gaussians.head
    rest = head(betas=gaussians.betas[None]) + gaussians.vertex_offsets
    chin = head.landmark_positions(rest)[0, CHIN, 1] if head.lmk478_faces is not None else rest[0, :, 1].median()
    # The torso's triangles are numbered after the head's.
    above = gaussians.triangles < len(head.faces)
    corners = rest[0, head.faces[gaussians.triangles.clamp(max=len(head.faces) - 1)]]
    height = (corners * gaussians.barycentric[..., None]).sum(1)[:, 1] - chin
    strength = ((height + FADE[1]) / (FADE[1] - FADE[0])).clamp(0, 1)
    kept = above & (strength > 0.01)
    part = gaussians.subset(kept)
    with torch.no_grad():
        faded = part.opacity_logits.sigmoid() * strength[kept]
        part.opacity_logits.copy_(torch.logit(faded.clamp(1e-5, 1 - 1e-5)))
    return part
