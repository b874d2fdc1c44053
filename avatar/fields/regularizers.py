"""What keeps the Gaussians near their triangles, small, and calm (Qian et al., "GaussianAvatars", section 3.4)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from avatar.fields.gaussian_head import REGIONS

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

    from avatar.fields.gaussian_head import GaussianHead

# Distance from the surface that costs nothing, metres: hair stands off the scalp, teeth do not off the jaw.
FREE_DISTANCE = {"skin": 6e-3, "scalp": 2e-2, "mouth": 3e-3, "eyes": 2e-3, "torso": 1e-2, "unseen": 4e-3}
FREE_SCALE = {"skin": 4e-3, "scalp": 5e-3, "mouth": 3e-3, "eyes": 3e-3, "torso": 8e-3, "unseen": 8e-3}
FREE_LOG_ASPECT = 2.5
DISTANCE_WEIGHT, SCALE_WEIGHT, ASPECT_WEIGHT, RESIDUAL_WEIGHT = 3.0, 10.0, 0.05, 2e-3
# A surface seen at a grazing angle only must not wear thin: it would be a hole from the side.
OPACITY_WEIGHT = 0.02
# What no frame shows keeps what it started with, against the little that shimmers through or peeps out behind an edge.
KEPT = {"color_logits": 0.05, "log_scales": 0.05, "quats": 0.05}


def region_limits(regions: Tensor, limits: dict[str, float]) -> Float[Tensor, " N"]:
    """The limit of each Gaussian's region."""
    return torch.tensor([limits[name] for name in REGIONS], device=regions.device)[regions]


class Regularizer:
    """Penalty on a head's Gaussians as it finds them; metres become of order one by the weights."""

    def __init__(self, head: GaussianHead) -> None:
        self._barycentric = head.barycentric.clone()
        self.distance = region_limits(head.regions, FREE_DISTANCE)
        # What starts larger than that, because nothing tells more of it, may stay so.
        start = head.log_scales.detach().exp().amax(1)
        self.scale = torch.maximum(region_limits(head.regions, FREE_SCALE), start)
        self.unseen = (head.regions == REGIONS.index("unseen"))[:, None].float()
        self.start = {name: getattr(head, name).detach().clone() for name in KEPT}

    def follow(self, head: GaussianHead) -> None:
        """Judges the Gaussians that have moved since the start by the region they are in now."""
        moved = (head.barycentric != self._barycentric).any(1)
        self.distance = region_limits(head.regions, FREE_DISTANCE)
        self.scale = torch.where(moved, region_limits(head.regions, FREE_SCALE), self.scale)

    def __call__(self, head: GaussianHead, residual: Float[Tensor, "N 10"]) -> Float[Tensor, ""]:
        """The penalty; `residual` is what the head adds at the current moment, in residual units."""
        return torch.stack(list(self.terms(head, residual).values())).sum()

    def terms(self, head: GaussianHead, residual: Float[Tensor, "N 10"]) -> dict[str, Float[Tensor, ""]]:
        """The penalty's weighted summands by name."""
        far = torch.relu(head.offsets.norm(dim=1) - self.distance).mean()
        large = torch.relu(head.log_scales.exp() - self.scale[:, None]).mean()
        thin = torch.relu(head.log_scales.amax(1) - head.log_scales.amin(1) - FREE_LOG_ASPECT).mean()
        terms = {
            "distance": DISTANCE_WEIGHT * far,
            "scale": SCALE_WEIGHT * large,
            "aspect": ASPECT_WEIGHT * thin,
            "opacity": OPACITY_WEIGHT * (1 - head.opacity_logits.sigmoid()).mean(),
            "residual": RESIDUAL_WEIGHT * residual.square().mean(),
        }
        for name, weight in KEPT.items():
            away = (getattr(head, name) - self.start[name]).square()
            terms[f"unseen {name}"] = (weight * self.unseen * away).mean()
        return terms
