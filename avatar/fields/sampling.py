"""Where the Gaussians start: points sampled on the triangles of head and torso."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from scipy.spatial import KDTree

from avatar.fields.condition import MotionCondition, motion_features
from avatar.fields.gaussian_head import REGIONS, GaussianHead
from avatar.fields.survey import require_shown, survey
from avatar.fields.torso import EMPTY, torso_surface
from avatar.fields.underlay import spread_evenly, underlay

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int

    from avatar.fields.survey import Survey
    from avatar.fields.torso import Torso
    from avatar.heads import Head
    from avatar.io.take import Take
    from avatar.motion import Motion

BACK_DENSITY, HIDDEN_DENSITY, UNSEEN_DENSITY, LASH_DENSITY = 0.3, 0.15, 0.25, 0.3
EYE_DENSITY, MOUTH_PARTS_DENSITY, LID_DENSITY = 1.5, 0.5, 2.0
# The cavity behind lips and teeth is coarse, and where no frame shows it this much of the brightness of what is seen.
CAVITY_DENSITY, CAVITY_SHADE = 0.5, 0.2
NAPE_FACING, NAPE_HEIGHT = 0.15, 0.05
# How far the neck goes on beneath the collar, metres, and how dense it is there.
TUCK, TUCKED_DENSITY = 0.03, 0.2
RIM_SHARE = 0.15
LIP_BOX = np.array([0.042, 0.035, 0.05])
EYE_BOX = np.array([0.022, 0.018])
# Landmarks of the 478-point mesh: the lips' outer ring, the irises, the middle of the forehead, the ears' front.
LIPS = [61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291, 409, 270, 269, 267, 0, 37, 39, 40, 185]
IRISES = (468, 473)
FOREHEAD, EARS = 10, (234, 454)
EAR_HEIGHT = 0.03
NEIGHBOURS, FRONTAL, STRANDS = 12, 0.3, 0.5
MIRROR = np.array([-1, 1, 1])
INITIAL_OVERLAP, UNSEEN_OVERLAP = 0.75, 1.2
SCALE_RANGE = (3e-4, 4e-3)
# So deep beneath the surface that no disc of that size peeps out behind the outline of a skull.
UNSEEN_SCALE_RANGE, UNSEEN_THICKNESS, UNSEEN_DEPTH = (1e-3, 6e-3), 5e-4, 2.5e-3
INITIAL_OPACITY, UNSEEN_OPACITY = 0.5, 0.95
TORSO_SCALE_RANGE, UNSEEN_TORSO_RANGE = (1e-3, 8e-3), (1e-3, 2e-2)
# The outline of the clothes wavers: beside the neck what nobody filmed lies so far beneath it that it never looks out.
UNSEEN_TORSO_DEPTH = 10e-3
# In front the pattern of the clothes goes on, behind they are plain.
UNSEEN_FRONT_DENSITY, UNSEEN_BACK_DENSITY, DENSEST_UNSEEN = 0.25, 0.08, 0.5
COLLAR_DENSITY, UNSEEN_PATTERN_DENSITY = 3.0, 0.6
# Where there is little room, so many deviations over the distance to the next one leave no gaps.
ROOM_IN_DEVIATIONS, LEAST_ROOM, CLOSED_OVERLAP = 1.4, 6e-3, 0.85
FLATNESS = 0.35


@dataclass(frozen=True)
class Sampling:
    """How many Gaussians there are, and where.

    Attributes:
        gaussians: Number of Gaussians on the head.
        torso_gaussians: Number of Gaussians on the torso below the collar.
        components: Number of linear residual components driven by the motion.
        mouth_density: How many times denser than elsewhere the mouth region is sampled.
        seed: Seed of the sampling.
        closed: Whether what no frame shows is closed with a guess, for views from the side.
    """

    gaussians: int = 15000
    torso_gaussians: int = 3000
    components: int = 16
    mouth_density: float = 3.0
    seed: int = 0
    closed: bool = True


def landmark_points(head: Head, vertices: Float[np.ndarray, "V 3"]) -> Float[np.ndarray, "478 3"]:
    """The 478 landmarks on a mesh of the head's topology."""
    corners = vertices[head.faces.cpu().numpy()[head.landmarks.faces.cpu().numpy()]]
    return (corners * head.landmarks.barycentric.cpu().numpy()[..., None]).sum(1)


def triangle_parts(head: Head) -> dict[str, np.ndarray]:
    """For each named part of the head, which triangles (F,) belong to it."""
    first = head.faces.cpu().numpy()[:, 0]
    return {name: (first >= start) & (first < stop) for name, (start, stop) in head.parts.items()}


def inside_mouth(head: Head) -> Bool[np.ndarray, " F"]:
    """Which triangles line the cavity behind the lips; none of a head model that has no such lining."""
    lining = head.regions.get("inside_mouth")
    if lining is None:
        return np.zeros(len(head.faces), bool)
    return lining.cpu().numpy()[head.faces.cpu().numpy()].min(1) > 0


def ears(head: Head) -> Bool[np.ndarray, " F"]:
    """Which triangles are an ear's; none of a head model that does not tell."""
    ears = head.regions.get("ears")
    if ears is None:
        return np.zeros(len(head.faces), bool)
    # A painted mask leaves traces of itself elsewhere, such as on the crown.
    return ears.cpu().numpy()[head.faces.cpu().numpy()].max(1) > 0.5


def densities(
    head: Head, seen: Survey, mouth_density: float, torso: Torso = EMPTY
) -> tuple[Float[np.ndarray, " F"], Int[np.ndarray, " F"]]:
    """Sampling weight (an area, square metres) and region of every triangle of the head.

    Args:
        head: The head model.
        seen: The survey of its triangles.
        mouth_density: How many times denser than elsewhere the mouth region is sampled.
        torso: The clothes; within their collar the neck goes on.

    Raises:
        InputError: The take shows no bare skin.
    """
    parts, marks = triangle_parts(head), landmark_points(head, seen.rest)
    center, weight = seen.centroids, seen.areas.copy()
    region = np.full(len(weight), REGIONS.index("skin"))
    skin = parts["skin"]
    worn = seen.labels[:, 2] > seen.labels[:, 1]
    bare = skin & (seen.labels[:, 1] > seen.labels[:, 2])
    require_shown(bare)
    # Nothing of the bust below the lowest bare skin is kept: the torso stands for it. The nape, which the collar hides
    # or nobody filmed, ends higher, unless there is a collar that it goes down into.
    collar = np.percentile(center[bare, 1], 0.5)
    nape = (seen.facing < NAPE_FACING) & (center[:, 1] < collar + NAPE_HEIGHT)
    within = skin & torso.within_collar(center, depth=TUCK)
    # At the collar's rim a triangle shows in some frames, and is skin like any other.
    rim = worn & (seen.labels[:, 1] > RIM_SHARE * seen.labels[:, 2])
    tucked = within & ~rim & (worn | nape | (center[:, 1] < collar))
    weight[skin & ~within & (worn | nape | (center[:, 1] < collar))] = 0
    weight[skin & ~bare & torso.bares(center)] = 0
    back = skin & (center[:, 2] < marks[list(EARS), 2].min() - 0.01) & (center[:, 1] > marks[LIPS, 1].min())
    weight[back & (seen.labels.sum(1) == 0)] *= BACK_DENSITY
    weight[(seen.facing < -0.3) & (seen.labels.sum(1) == 0)] *= HIDDEN_DENSITY
    scalp = back | (skin & (center[:, 1] > marks[FOREHEAD, 1] - 0.005))
    region[scalp] = REGIONS.index("scalp")
    # An ear is thinner than what is laid beneath an unseen surface.
    unseen = skin & (center[:, 2] < marks[list(EARS), 2].min()) & ~seen.shown & ~ears(head)
    region[unseen] = REGIONS.index("unseen")
    weight[unseen] = np.where(weight[unseen] > 0, UNSEEN_DENSITY * seen.areas[unseen], 0)
    region[tucked], weight[tucked] = REGIONS.index("unseen"), TUCKED_DENSITY * seen.areas[tucked]
    # Other head models may lack any of the inner parts.
    for name in [name for name in ("eye_l", "eye_r") if name in parts]:
        front = center[:, 2] > np.median(center[parts[name], 2])
        weight[parts[name]] *= np.where(front[parts[name]], EYE_DENSITY, 0.0)
        region[parts[name]] = REGIONS.index("eyes")
    for name in [name for name in ("teeth_upper", "teeth_lower", "tongue") if name in parts]:
        front = center[:, 2] > np.percentile(center[parts[name], 2], 40)
        weight[parts[name]] *= np.where(front[parts[name]], MOUTH_PARTS_DENSITY, 0.0)
        region[parts[name]] = REGIONS.index("mouth")
    cavity = inside_mouth(head)
    region[cavity & skin & (weight > 0)] = REGIONS.index("mouth")
    if "lashes" in parts:
        weight[parts["lashes"]] *= LASH_DENSITY
    lips = (np.abs(center - marks[LIPS].mean(0)) < LIP_BOX).all(1)
    weight[lips] *= np.where(cavity[lips], CAVITY_DENSITY, mouth_density)
    for iris in IRISES:
        near = (np.abs(center[:, :2] - marks[iris, :2]) < EYE_BOX).all(1) & (center[:, 2] > marks[iris, 2] - 0.03)
        weight[near] *= LID_DENSITY
    return weight, region


def initial_head(take: Take, head: Head, motion: Motion, indices: np.ndarray, config: Sampling) -> GaussianHead:
    """Gaussians at rest on the subject's head and clothes, coloured from the frames `indices`; where the head lies."""
    device, head = head.device, head.on("cpu")
    seen = survey(take, head, motion, indices)
    if not config.closed:
        seen = replace(seen, shown=np.ones_like(seen.shown))
    torso = torso_surface(take, head, motion, seen, indices)
    weight, region = densities(head, seen, config.mouth_density, torso)
    generator = np.random.default_rng(config.seed)
    marks = landmark_points(head, seen.rest)
    surface = np.isin(region, (REGIONS.index("skin"), REGIONS.index("scalp"))) & (weight > 0) & config.closed
    openings = {"lips": marks[LIPS], "eyes": marks[list(IRISES)]}
    layer = underlay(seen, surface, ears(head), **openings, budget=config.gaussians, generator=generator)
    drawn = generator.choice(len(weight), config.gaussians - len(layer), p=weight / weight.sum())
    on_head = np.concatenate([drawn, layer.triangles])
    beneath = np.arange(len(on_head)) >= len(drawn)
    regions = np.where(beneath, REGIONS.index("unseen"), region[on_head])
    # Of n points drawn with density w/a on a triangle, each covers the area (total w / n) a / w.
    thinness = (seen.areas / np.maximum(weight, 1e-12))[on_head]
    spread = INITIAL_OVERLAP * np.sqrt(weight.sum() / len(drawn) * thinness)
    # What no frame shows is never closed by training, so it starts without gaps, and thin beneath the outline.
    unseen = regions == REGIONS.index("unseen")
    spread = np.where(
        unseen, (UNSEEN_OVERLAP / INITIAL_OVERLAP * spread).clip(*UNSEEN_SCALE_RANGE), spread.clip(*SCALE_RANGE)
    )
    spread[beneath] = layer.spread
    thickness = np.where(unseen, UNSEEN_THICKNESS, FLATNESS * spread)
    # What a frame seems to tell of the cavity where it cannot be seen is the colour of what is before it.
    cavity = inside_mouth(head) & ~seen.shown
    seen = replace(seen, colors=np.where(cavity[:, None], np.nan, seen.colors))
    color = _filled(seen, region, marks, generator)
    color = np.where(cavity[:, None], CAVITY_SHADE * color, color)[on_head]
    triangles = on_head
    if len(torso.faces):
        added = _on_torso(torso, config.torso_gaussians, generator)
        spread, thickness = np.concatenate([spread, added.spread]), np.concatenate([thickness, added.thickness])
        color = np.concatenate([color, torso.colors[added.triangles]])
        triangles = np.concatenate([triangles, added.triangles + len(head.faces)])
        regions = np.concatenate([regions, added.regions])
        unseen = np.concatenate([unseen, added.regions == REGIONS.index("unseen")])
    features, offsets = motion_features(motion[indices], head), motion.vertex_offsets
    result = GaussianHead(
        head,
        torch.as_tensor(motion.betas, dtype=torch.float32),
        torch.as_tensor(torso.vertices, dtype=torch.float32),
        torch.as_tensor(torso.faces + len(head.v_template), dtype=torch.int64),
        MotionCondition.fit(features, config.components),
        triangles=torch.as_tensor(triangles),
        barycentric=torch.as_tensor(generator.dirichlet([1.5] * 3, len(triangles)), dtype=torch.float32),
        regions=torch.as_tensor(regions),
        vertex_offsets=None if offsets is None else torch.as_tensor(offsets, dtype=torch.float32),
    )
    with torch.no_grad():
        scales = torch.as_tensor(np.stack([spread, thickness, spread], 1), dtype=torch.float32)
        result.log_scales.copy_(scales.log())
        # The second axis of a triangle's frame is its normal.
        depth = np.where(unseen, np.where(triangles < len(head.faces), UNSEEN_DEPTH, UNSEEN_TORSO_DEPTH), 0.0)
        depth[: len(on_head)][beneath] = layer.depth
        depth[len(on_head) :] *= torso.beside_neck[triangles[len(on_head) :] - len(head.faces)]
        result.offsets[:, 1] = torch.as_tensor(-depth, dtype=torch.float32)
        opacity = np.where(unseen, UNSEEN_OPACITY, INITIAL_OPACITY)
        result.opacity_logits.copy_(torch.logit(torch.as_tensor(opacity, dtype=torch.float32)))
        result.color_logits.copy_(torch.logit(torch.as_tensor(color, dtype=torch.float32).clamp(0.03, 0.97)))
    return result.to(device)


class _Spread(NamedTuple):
    """Gaussians of the torso: their triangles (n,), regions (n,), and standard deviations (n,) in metres."""

    triangles: Int[np.ndarray, " n"]
    regions: Int[np.ndarray, " n"]
    spread: Float[np.ndarray, " n"]
    thickness: Float[np.ndarray, " n"]


def _on_torso(torso: Torso, count: int, generator: np.random.Generator) -> _Spread:
    """Gaussians spread evenly over the torso, fewer and larger where no frame shows it."""
    corners = torso.vertices[torso.faces]
    areas = np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1) / 2
    density = np.where(torso.shown, 1.0, np.where(torso.front, UNSEEN_FRONT_DENSITY, UNSEEN_BACK_DENSITY))
    density = np.where(torso.shown & torso.at_collar, COLLAR_DENSITY, density)
    density = np.where(torso.below_collar, np.maximum(density, UNSEEN_PATTERN_DENSITY), density)
    # A Gaussian too large for its place sticks out where the surface ends.
    room = np.where(torso.shown, np.inf, torso.room / ROOM_IN_DEVIATIONS)
    closed = CLOSED_OVERLAP * np.sqrt((areas * density).sum() / count)
    density = np.maximum(density, np.minimum((closed / np.maximum(room, 1e-6)) ** 2, DENSEST_UNSEEN))
    weight = areas * density * (torso.shown | (torso.room > LEAST_ROOM))
    chosen = spread_evenly(weight, count, generator)
    shown = torso.shown[chosen]
    each = np.sqrt(weight.sum() / count / density[chosen])
    spread = np.where(
        shown,
        (INITIAL_OVERLAP * each).clip(*TORSO_SCALE_RANGE),
        (UNSEEN_OVERLAP * each).clip(*UNSEEN_TORSO_RANGE).clip(max=room[chosen]),
    )
    regions = np.where(shown, REGIONS.index("torso"), REGIONS.index("unseen"))
    return _Spread(chosen, regions, spread, np.where(shown, FLATNESS * spread, UNSEEN_THICKNESS))


def _filled(
    seen: Survey, region: Int[np.ndarray, " F"], marks: Float[np.ndarray, "478 3"], generator: np.random.Generator
) -> Float[np.ndarray, "F 3"]:
    """The triangles' colours; one that no frame tells is coloured like the nearest that are told, of its own kind.

    The kind is the region. Of what no frame shows, the skull is like what is seen of it above the ears, since hair
    seldom ends there, and the nape is like the neck. A side that was not seen is like the other: what is told is told
    of both.
    """
    colors, height = seen.colors.copy(), seen.centroids[:, 1]
    unseen = region == REGIONS.index("unseen")
    # What lies behind an ear was read in the ear's colour.
    skin = region == REGIONS.index("skin")
    told = ~np.isnan(colors[:, 0]) & ~unseen
    above_ears, lips = marks[list(EARS), 1].max() + EAR_HEIGHT, marks[LIPS, 1].min()
    # At the outline, hair is mixed with what is behind it.
    of_skull = (region == REGIONS.index("scalp")) & (height > above_ears) & (seen.facing > FRONTAL)
    # What the collar covers in some frames was read in its colour there.
    bare = (seen.labels[:, 1] > 0) & (seen.labels[:, 2] == 0)
    of_neck = skin & (height < lips) & bare
    kinds = [(unseen & (height > lips), of_skull), (unseen & (height <= lips), of_neck)]
    kinds += [(region == kind, region == kind) for kind in np.unique(region[~unseen])]
    for members, like in kinds:
        source = told & like if (told & like).any() else told
        target = ~told & members
        if target.any():
            places = np.concatenate([seen.centroids[source], seen.centroids[source] * MIRROR])
            nearest = KDTree(places).query(seen.centroids[target], k=min(NEIGHBOURS, len(places)))[1]
            told_colors = np.tile(colors[source], (2, 1))
            around = told_colors[nearest].reshape(target.sum(), -1, 3)
            # Hair is not of one colour: each triangle takes half of one neighbour's, half of all.
            one = around[np.arange(len(around)), generator.integers(around.shape[1], size=len(around))]
            share = STRANDS if like is of_skull else 0.0
            colors[target] = share * one + (1 - share) * around.mean(1)
    return colors
