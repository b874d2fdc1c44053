"""Terms of the tracker's objective besides reprojection: priors, smoothness in seconds, the silhouette."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np
import torch

from avatar.preprocess import _mesh_regions as regions

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jaxtyping import Bool, Float, Int
    from torch import Tensor

    from avatar.heads import Head
    from avatar.preprocess._unknowns import PerFrame, Pinhole, Shared
    from avatar.preprocess.tracking_config import TrackingConfig, TrackingPriors

REFERENCE_STEP = 1 / 25  # s; the smoothness weights are stated for this frame interval.
SHORTEST_STEP = 1 / 120  # s; faster clips would make the objective too stiff for a first-order optimiser.
MASK_SIDE = 96


@dataclass(frozen=True)
class Smoothness:
    """Second differences over uneven times.

    Attributes:
        rates: (T - 1, 1) reciprocal intervals, in reciprocal reference steps.
        accelerations: (T - 2, 1) reciprocal distances between the intervals' middles, in reciprocal reference steps.
        weight: (T - 2,) share of each moment in the clip's duration, summing to one.
    """

    rates: Float[Tensor, "R 1"]
    accelerations: Float[Tensor, "A 1"]
    weight: Float[Tensor, " A"]

    @classmethod
    def of(cls, time: Float[np.ndarray, " T"], *, device: torch.device | None = None) -> Smoothness:
        """Smoothness for these moments in seconds, of values on a device; the CPU when None."""
        step = torch.from_numpy(np.maximum(np.diff(time), SHORTEST_STEP).astype(np.float32)).to(device)
        middle = (step[1:] + step[:-1]) / 2
        # A gap must not outweigh the rest of the clip: nothing is known about its inside anyway.
        share = middle.clamp(max=2 * REFERENCE_STEP)
        return cls(
            (REFERENCE_STEP / step)[:, None], (REFERENCE_STEP / middle)[:, None], share / share.sum().clamp_min(1e-6)
        )

    def __call__(self, values: Float[Tensor, "T K"]) -> Float[Tensor, " K"]:
        """Mean squared acceleration of each column, per (reference step)^2; zero for fewer than three moments."""
        if len(values) < 3:
            return values.new_zeros(values.shape[1])
        rate = values.diff(dim=0) * self.rates
        return self.weight @ (rate.diff(dim=0) * self.accelerations).square()


def motion_smoothness(
    smoothness: Smoothness,
    frames: PerFrame,
    rotations: Float[Tensor, "T 5 3 3"],
    *,
    config: TrackingConfig,
    translation: Float[Tensor, "T 3"],
) -> Float[Tensor, ""]:
    """Weighted accelerations of everything that moves."""
    weights = config.smoothness
    columns = {
        "rotation": rotations[:, 1].flatten(1),
        "place": translation[:, :2],
        "depth": frames.place[:, 2:],
        "jaw": frames.jaw,
        "gaze": frames.gaze,
        "lids": frames.lids,
        "actions": frames.actions,
    }
    scaled = [value * getattr(weights, name) ** 0.5 for name, value in columns.items()]
    return smoothness(torch.cat(scaled, dim=1)).sum()


def action_weights(head: Head, *, priors: TrackingPriors) -> Float[Tensor, " A"]:
    """Weight of the prior on each ARKit weight, or on each expression coefficient of a head without ARKit map."""
    names = head.arkit_names if head.arkit_to_psi.numel() else [""] * head.exprdirs.shape[2]
    weights = [priors.actions * (priors.mouth_close if name == "mouthClose" else 1) for name in names]
    return torch.tensor(weights, device=head.device)


def frame_priors(
    frames: PerFrame, camera: Pinhole, *, priors: TrackingPriors, action_weight: Float[Tensor, " A"]
) -> Float[Tensor, ""]:
    """What is likely of a single frame, averaged over the frames."""

    def outside(values: Tensor) -> Tensor:
        return ((-values).relu().square() + (values - 1).relu().square()).sum(1).mean()

    total = priors.bounds * outside(frames.lids) + priors.gaze * frames.gaze.square().sum(1).mean()
    total = total + priors.jaw_closing * (-frames.jaw[:, 0]).relu().square().mean()
    total = total + priors.jaw_sideways * frames.jaw[:, 1:].square().sum(1).mean()
    if camera.arkit:
        return total + priors.bounds * outside(frames.actions) + (frames.actions.relu() @ action_weight).mean()
    return total + (frames.actions.square() @ action_weight).mean()


def shared_priors(
    shared: Shared, rest: Float[Tensor, "3 L"], *, config: TrackingConfig, focal: float, iris: float
) -> Float[Tensor, ""]:
    """What is likely of a person and a camera.

    Args:
        shared: The shared unknowns.
        rest: (3, 478) this person's landmarks at rest, offsets included, metres.
        config: Weights.
        focal: Median of the focal length's prior, pixels.
        iris: Diameter that the landmarks of an average iris have on the model, metres.
    """
    priors = config.priors
    total = priors.betas * shared.betas.square().sum() + priors.rotation * shared.root.square().sum()
    total = total + priors.offsets * shared.offsets.square().sum(0).mean()
    total = total + priors.iris * (iris_diameters(rest) / iris - 1).square().sum()
    total = total + priors.gaze * 10 * (shared.vergence - 0.03).square()
    strangeness = (shared.log_focal - float(np.log(focal))) / config.distance_spread
    return total + config.focal_weight * strangeness.square()


def iris_diameters(points: Float[Tensor, "3 L"]) -> Float[Tensor, " 2"]:
    """Mean diameters of the right and the left iris ring, in the unit of the points."""
    sides = []
    for _, first, second, third, fourth in (regions.RIGHT_IRIS, regions.LEFT_IRIS):
        across = (points[:, first] - points[:, third]).norm() + (points[:, second] - points[:, fourth]).norm()
        sides.append(across / 2)
    return torch.stack(sides)


def with_gaps(landmarks: Float[Tensor, "*batch 478"]) -> Float[Tensor, "*batch L"]:
    """The landmarks, then the gaps between the lids and between the lips, as differences of landmarks.

    A detector moves both lids of a closing eye to the line between its corners, whereas an upper lid comes down to a
    lower one that stays. Where they are is then a compromise; how far they are apart is not (the eye closure loss of
    Feng et al., "Learning an Animatable Detailed 3D Face Model from In-The-Wild Images", 2021).
    """
    pairs = _gap_pairs(landmarks.device)
    return torch.cat([landmarks, landmarks[..., pairs[:, 0]] - landmarks[..., pairs[:, 1]]], -1)


def trust(weight: Float[Tensor, " T"], hidden: Bool[Tensor, "T 478"] | None) -> Float[Tensor, "T L"]:
    """How far each frame's landmarks are believed, then its gaps: as the frame is, and not at all where hidden."""
    pairs = _gap_pairs(weight.device)
    if hidden is None:
        return weight[:, None].expand(-1, regions.COUNT + len(pairs))
    return weight[:, None] * ~torch.cat([hidden, hidden[:, pairs].any(-1)], 1)


@functools.cache
def _gap_pairs(device: torch.device) -> Int[Tensor, "G 2"]:
    """The landmarks on either side of each gap, kept where they are looked up in every step."""
    return torch.from_numpy(np.concatenate([regions.LID_PAIRS, regions.LIP_PAIRS])).to(device)


def landmark_weights(head: Head, *, config: TrackingConfig) -> Float[Tensor, " L"]:
    """Weight of each landmark: what it matters, times how surely it lies where the embedding says; then of each gap."""
    weight = torch.ones(regions.COUNT)
    for region in ("lips", "eyes", "iris", "oval"):
        weight[list(regions.REGIONS[region])] = getattr(config, f"weight_{region}")
    sigma = head.landmarks.sigma.detach().cpu().float()
    weight = weight * (sigma.median() / sigma.clamp_min(1e-6)).clamp(0.5, 1.5)
    lids, lips = torch.ones(len(regions.LID_PAIRS)), torch.ones(len(regions.LIP_PAIRS))
    return torch.cat([weight, config.weight_lid_gaps * lids, config.weight_lip_gaps * lips]).to(head.device)


def outside_distances(masks: Sequence[Float[np.ndarray, "H W"]]) -> Float[Tensor, "T 1 m m"]:
    """Distance of each place of the picture from the person, in picture widths; zero on the person."""
    maps = []
    for mask in masks:
        small = cv2.resize(mask.astype(np.float32), (MASK_SIDE, MASK_SIDE), interpolation=cv2.INTER_AREA)
        free = (small < 0.5).astype(np.uint8)
        # Without a person in the mask nothing is known, and an unbounded distance would be worse than none.
        known = free.min() == 0
        maps.append(cv2.distanceTransform(free, cv2.DIST_L2, 5) / MASK_SIDE if known else np.zeros_like(small))
    return torch.from_numpy(np.stack(maps).astype(np.float32))[:, None]


def silhouette_excess(
    distances: Float[Tensor, "T 1 m m"], pixels: Float[Tensor, "T 2 P"], *, width: int, height: int
) -> Float[Tensor, ""]:
    """Mean distance by which points leave the person mask, in picture widths; one-sided: hair may stand out."""
    scale = pixels.new_tensor([2 / width, 2 / height])
    grid = (pixels.transpose(1, 2) * scale - 1)[:, None]
    sampled = torch.nn.functional.grid_sample(distances, grid, padding_mode="border", align_corners=False)
    return sampled.mean()


def skull_vertices(head: Head, *, count: int = 160) -> list[int]:
    """Vertices spread over the skin of the skull, the ears and the upper neck: what a person mask must cover.

    Farthest-point sampling among the skin vertices that follow the neck joint.
    """
    head = head.on("cpu")
    start, stop = head.parts.get("skin", (0, len(head.v_template)))
    rigid = head.weights[start:stop, 1:].sum(1) > 0.9
    ids = (torch.nonzero(rigid)[:, 0] + start).tolist()
    points = head.v_template[ids]
    chosen = [0]
    nearest = (points - points[0]).norm(dim=1)
    while len(chosen) < min(count, len(ids)):
        chosen.append(int(nearest.argmax()))
        nearest = torch.minimum(nearest, (points - points[chosen[-1]]).norm(dim=1))
    return [ids[index] for index in chosen]
