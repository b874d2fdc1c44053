"""A bust's shape: a front and a back that meet along the shoulders, around the arms and below, open at the neck."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy.spatial import KDTree

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int

    from avatar.heads import Head

CELL = 8e-3
# The throat is measured in rings this high, from so far below the root's joint to this share of the way to the neck's,
# and so near the middle; what moves with the jaw is no neck.
RING, FEWEST, LEVELS, MIDDLE, JAW_SHARE = 0.012, 8, 6, 0.02, 0.05
BELOW_ROOT, ABOVE_ROOT = 0.03, 0.2
# Clothes lie so far outside the neck, and farther in front of it: metres.
CLEARANCE, CLOTH = 4e-3, 0.01
# The front goes out to the chest, and falls off around the neck and to the sides.
CHEST_SLOPE, CHEST_DEPTH, NECK_FADE, CURVATURE = 0.25, 0.04, 0.09, 0.5
# The back swells by so much within this distance below the shoulders.
BACK_DEPTH, BACK_FADE = 0.055, 0.04
# Front to back along the top of the shoulders: beside the collar, and from so far outside it on.
RIM, SHOULDER_RIM, RIM_RUN = 0.01, 0.055, 0.06
# Half the breadth of a body's shoulders; the least that is added to what is seen; how far an arm falls away at the end.
HALF_BREADTH, LEAST_ADDED, ARM_FALL = 0.21, 0.045, 0.07
SLOPES, SLOPE_RUN = (0.15, 0.8), 0.04
# The collar at the nape stands so much higher than beside the neck; it begins within so many necks of the middle.
NAPE_RISE, COLLAR_REACH = 8e-3, (0.75, 2.0)
# How much lower than in the line of sight the back begins; nobody is filmed from nearer than this: metres.
SUNK, SHORTEST_DISTANCE = 4e-3, 0.2
STRIP, BULGE, LEAST_RIM = 4, 0.02, 6.2e-3
# Nothing is drawn in so narrow a band above the lower edge, metres.
HEM = 0.012
# Beyond the shoulders nothing hides what stands out, so that only this share of the way to their edge counts as room.
SHOULDER_SHARE = 0.7
# By how much a disc may stand out of the rounding around it, the radii that are tried, of which every disc may have the
# first, since a ridge would stay bare (metres); and the number of directions.
STANDS_OUT, REACHES, WAYS = 3e-3, np.arange(8, 45, 3) * 1e-3, 8


@dataclass(frozen=True)
class Neck:
    """A neck between chin and chest: a column around x = 0, half an ellipse in front and half of one behind; metres.

    Attributes:
        heights: (H,) increasing y at which it is measured.
        front: (H,) z of its foremost line there.
        back: (H,) z of the nape there.
        height: y of the middle between the joints of neck and root.
        center: z of its axis.
        width: Half its breadth.
    """

    heights: Float[np.ndarray, " H"]
    front: Float[np.ndarray, " H"]
    back: Float[np.ndarray, " H"]
    height: float
    center: float
    width: float

    @classmethod
    def of(cls, head: Head, rest: Float[np.ndarray, "V 3"]) -> Neck:
        """The neck of a head model in the subject's shape `rest` (V, 3)."""
        root, neck = head.joints()[0, :2, 1].tolist()
        start, stop = head.parts.get("skin", (0, len(rest)))
        place = rest[start:stop][head.weights[start:stop, 2].cpu().numpy() < JAW_SHARE]
        heights = np.linspace(root - BELOW_ROOT, root + ABOVE_ROOT * (neck - root), LEVELS)
        middle = place[np.abs(place[:, 0]) < MIDDLE]
        around = [middle[_nearest(np.abs(middle[:, 1] - height))] for height in heights]
        upper = place[_nearest(np.abs(place[:, 1] - (root + neck) / 2))]
        front, back = np.array([[ring[:, 2].max(), ring[:, 2].min()] for ring in around]).T
        width = float(np.percentile(np.abs(upper[:, 0]), 98))
        return cls(heights, front, back, (root + neck) / 2, float(front[-1] + back[-1]) / 2, width)

    @property
    def throat(self) -> float:
        """Typical z of its foremost line."""
        return float(np.median(self.front))

    def front_at(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Depth of its surface in front, that of its axis beside it."""
        return self.center + (np.interp(y, self.heights, self.front) - self.center) * self._bow(x)

    def back_at(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Depth of its surface behind, that of its axis beside it."""
        return self.center + (np.interp(y, self.heights, self.back) - self.center) * self._bow(x)

    def _bow(self, x: np.ndarray) -> np.ndarray:
        return np.sqrt(np.maximum(1 - (x / self.width) ** 2, 0))


def _nearest(distance: Float[np.ndarray, " n"]) -> Bool[np.ndarray, " n"]:
    """What lies within ``RING``, or the nearest few where so little does."""
    few = float(np.sort(distance)[min(FEWEST, len(distance)) - 1])
    return distance <= max(RING, few)


@dataclass(frozen=True)
class BustOutline:
    """Heights at which a bust begins and ends; metres.

    Attributes:
        x: (C,) columns from left to right in the picture.
        front: (C,) y of the upper edge in front: collar and shoulders.
        back: (C,) y of the upper edge behind: a little lower, but straight across the nape.
        bottom: y of the lower edge.
        opening: The x between which the neck comes out.
        seen: The x between which the frames show clothes.
    """

    x: Float[np.ndarray, " C"]
    front: Float[np.ndarray, " C"]
    back: Float[np.ndarray, " C"]
    bottom: float
    opening: tuple[float, float]
    seen: tuple[float, float]

    @classmethod
    def of(
        cls,
        x: Float[np.ndarray, " c"],
        top: Float[np.ndarray, " c"],
        bottom: float,
        neck: Neck,
        *,
        eye: Float[np.ndarray, " 3"],
        leaves: tuple[bool, bool],
    ) -> BustOutline:
        """The outline of a whole bust.

        Args:
            x: (c,) increasing columns in which clothes are seen.
            top: (c,) y of their upper edge.
            bottom: y of the lower edge.
            neck: The neck.
            eye: (3,) where the camera stands, metres.
            leaves: Whether the shoulder goes on beyond the first and the last column, out of the picture.
        """
        seen = float(x[0]), float(x[-1])
        if leaves[0]:
            added, height = _continued(-x, top, bottom)
            x, top = np.concatenate([-added[::-1], x]), np.concatenate([height[::-1], top])
        if leaves[1]:
            added, height = _continued(x[::-1], top[::-1], bottom)
            x, top = np.concatenate([x, added]), np.concatenate([top, height])
        columns = np.linspace(x[0], x[-1], 2 * round((x[-1] - x[0]) / CELL / 2) + 1)
        front = np.interp(columns, x, top)
        near, far = (part * neck.width for part in COLLAR_REACH)
        sides = [(-columns >= near) & (-columns <= far), (columns >= near) & (columns <= far)]
        left, right = (int(np.flatnonzero(side)[front[side].argmax()]) for side in sides)
        share = ((columns - columns[left]) / (columns[right] - columns[left])).clip(0, 1)
        straight = front[left] + share * (front[right] - front[left]) + NAPE_RISE * np.sin(np.pi * share)
        between = (columns > columns[left]) & (columns < columns[right])
        opening = float(columns[left]), float(columns[right])
        # What was seen is where the front ends: what lies behind that must not look out above it.
        steepness = (eye[1] - front) / np.maximum(eye[2] - front_depth(columns, front, neck), SHORTEST_DISTANCE)
        sunk = np.maximum(steepness, 0) * rim_width(columns, opening) + SUNK
        back = np.where(between, np.maximum(front, straight), front) - sunk
        return cls(columns, front, np.maximum(back, bottom + CELL / 2), bottom, opening, seen)

    def front_at(self, x: np.ndarray) -> np.ndarray:
        """The upper edge in front at some x."""
        return np.interp(x, self.x, self.front)

    def back_at(self, x: np.ndarray) -> np.ndarray:
        """The upper edge behind at some x."""
        return np.interp(x, self.x, self.back)


class BustSurface(NamedTuple):
    """A closed surface but for the collar.

    Attributes:
        vertices: (M, 3) metres.
        faces: (Q, 3) counter-clockwise from outside.
        front: (Q,) whether a triangle belongs to the front.
        room: (Q,) from the middle of a triangle to where its side of the bust ends, metres; zero at the lower edge.
    """

    vertices: Float[np.ndarray, "M 3"]
    faces: Int[np.ndarray, "Q 3"]
    front: Bool[np.ndarray, " Q"]
    room: Float[np.ndarray, " Q"]


def front_depth(x: np.ndarray, y: np.ndarray, neck: Neck) -> np.ndarray:
    """Depth of clothes in front at (x, y), metres.

    They start at the front of the neck's base, wrap around the neck, swell to the chest and fall off to the sides.
    """
    below, aside = np.maximum(neck.height - y, 0), np.abs(x)
    chest = np.minimum(CHEST_SLOPE * below, CHEST_DEPTH)
    forward = neck.throat + CLOTH
    wrap = (forward - neck.center) * np.exp(-below / NECK_FADE) * np.minimum(aside / neck.width, 1) ** 2
    clothes = forward + chest - wrap - CURVATURE * aside**2
    return np.where(aside < neck.width, np.maximum(clothes, neck.front_at(x, y) + CLEARANCE), clothes)


def rim_width(x: np.ndarray, opening: tuple[float, float]) -> np.ndarray:
    """From front to back along the top of the shoulders, metres: narrow beside the collar."""
    run = (np.maximum(np.maximum(opening[0] - x, x - opening[1]), 0) / RIM_RUN).clip(0, 1)
    return RIM + (SHOULDER_RIM - RIM) * run * run * (3 - 2 * run)


def back_depth(x: np.ndarray, y: np.ndarray, outline: BustOutline, neck: Neck) -> np.ndarray:
    """Depth of clothes behind at (x, y), metres: around the nape at the collar, then out to the shoulder blades."""
    top = outline.back_at(x)
    left, right = outline.opening
    outside = (x < left) | (x > right)
    start = np.where(
        outside,
        front_depth(x, outline.front_at(x), neck) - rim_width(x, outline.opening),
        neck.back_at(x, top) - CLEARANCE,
    )
    both = np.array([left, right])
    ends = front_depth(both, outline.front_at(both), neck) - RIM
    # Between the ends of the collar's opening the neck may be narrower than the opening is.
    level = np.interp(x, both, ends)
    start = np.where(outside, start, np.minimum(start, level))
    return start - BACK_DEPTH * (1 - np.exp(-np.maximum(top - y, 0) / BACK_FADE))


def bust_surface(outline: BustOutline, neck: Neck) -> BustSurface:
    """Front and back as grids of the same columns, and a strip that joins them everywhere but at the collar."""
    columns = len(outline.x)
    rows = 1 + max(2, round((float(outline.back.max()) - outline.bottom) / CELL))
    down = np.linspace(0, 1, rows)[:, None]
    x = np.tile(outline.x, (rows, 1))
    y_front = outline.front + down * (outline.bottom - outline.front)
    y_back = outline.back + down * (outline.bottom - outline.back)
    front = np.stack([x, y_front, front_depth(x, y_front, neck)], -1).reshape(-1, 3)
    back = np.stack([x, y_back, back_depth(x, y_back, outline, neck)], -1).reshape(-1, 3)
    number = np.arange(rows * columns).reshape(rows, columns)
    faces_front, faces_back = quads(number), quads(number)[:, ::-1] + rows * columns
    left, right = (int(np.abs(outline.x - end).argmin()) for end in outline.opening)
    # Once around, from one end of the collar to the other: shoulder, arm, lower edge, arm, shoulder.
    around = np.concatenate(
        [
            number[0, left::-1],
            number[1:, 0],
            number[-1, 1:],
            number[-2::-1, -1],
            number[0, -2 : right - columns - 1 : -1],
        ]
    )
    strip, faces_strip, room_strip = _joined(front, back, around, outline)
    vertices = np.concatenate([front, back, strip])
    faces = np.concatenate([faces_front, faces_back, faces_strip])
    upper = np.concatenate([around, number[0, left : right + 1]])
    upper = upper[upper < (rows - 1) * columns]
    room = [
        _room(part, upper, vertices[part_faces].mean(1), outline)
        for part, part_faces in zip((front, back), (faces_front, faces_back), strict=True)
    ]
    room = np.minimum(np.concatenate([*room, room_strip]), disc_reach(vertices[faces]))
    return BustSurface(vertices, faces, np.arange(len(faces)) < len(faces_front), room)


def disc_reach(corners: Float[np.ndarray, "Q 3 3"]) -> Float[np.ndarray, " Q"]:
    """How far a disc on the middle of each triangle reaches in its plane before it stands out of the surface, metres.

    What is outside is told by the triangle whose middle is nearest.
    """
    middle = corners.mean(1)
    normal = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    normal /= np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-12)
    along = corners[:, 1] - corners[:, 0]
    along /= np.maximum(np.linalg.norm(along, axis=1, keepdims=True), 1e-12)
    across = np.cross(normal, along)
    tree, reach = KDTree(middle), np.full(len(middle), REACHES[0])
    within = np.ones(len(middle), bool)
    turns = np.linspace(0, 2 * np.pi, WAYS, endpoint=False)[:, None, None]
    for radius in REACHES:
        rim = middle + radius * (np.cos(turns) * along + np.sin(turns) * across)
        nearest = tree.query(rim)[1]
        within &= (((rim - middle[nearest]) * normal[nearest]).sum(-1) < STANDS_OUT).all(0)
        reach[within] = radius
    return reach


def _room(
    side: Float[np.ndarray, "n 3"], upper: Int[np.ndarray, " k"], places: Float[np.ndarray, "q 3"], outline: BustOutline
) -> Float[np.ndarray, " q"]:
    """How far places on front or back are from its `upper` edge, seen from the front; less at the shoulders."""
    away = KDTree(side[upper, :2]).query(places[:, :2])[0]
    beside = (places[:, 0] < outline.opening[0]) | (places[:, 0] > outline.opening[1])
    return np.where(places[:, 1] < outline.bottom + HEM, 0.0, np.where(beside, SHOULDER_SHARE, 1.0) * away)


def _continued(
    x: Float[np.ndarray, " c"], top: Float[np.ndarray, " c"], bottom: float
) -> tuple[Float[np.ndarray, " n"], Float[np.ndarray, " n"]]:
    """A shoulder's columns and heights beyond the outermost column, which comes first and has the largest x."""
    near = x > x[0] - SLOPE_RUN
    slope = float(np.polyfit(x[near], top[near], 1)[0]) if near.sum() > 1 else -SLOPES[0]
    slope = np.clip(-slope, *SLOPES)
    length = max(HALF_BREADTH - x[0], LEAST_ADDED)
    along = np.linspace(0, length, 2 + round(length / CELL))[1:]
    # A quarter of an ellipse: the shoulder turns into an arm that hangs.
    height = top[0] - slope * along - ARM_FALL * (1 - np.sqrt(np.maximum(1 - (along / length) ** 2, 0)))
    return x[0] + along, np.maximum(height, bottom + CELL)


def quads(number: Int[np.ndarray, "R C"]) -> Int[np.ndarray, "Q 3"]:
    """Two triangles for every cell of a grid of vertex numbers, counter-clockwise seen from +z."""
    a, b, c, d = (part.reshape(-1) for part in (number[:-1, :-1], number[1:, :-1], number[:-1, 1:], number[1:, 1:]))
    return np.stack([np.stack([a, b, c], 1), np.stack([c, b, d], 1)], 1).reshape(-1, 3)


def _joined(
    front: Float[np.ndarray, "n 3"], back: Float[np.ndarray, "n 3"], around: Int[np.ndarray, " k"], outline: BustOutline
) -> tuple[Float[np.ndarray, "m 3"], Int[np.ndarray, "q 3"], Float[np.ndarray, " q"]]:
    """Vertices, triangles and their room between front and back, rounded outwards where nothing was seen."""
    start, end = front[around], back[around]
    share = np.arange(1, STRIP)[:, None, None] / STRIP
    bulge = BULGE * np.sin(np.pi * share) * np.sign(start[:, :1])
    hanging = ((start[:, :1] < outline.seen[0]) | (start[:, :1] > outline.seen[1])) * 1.0
    between = (1 - share) * start + share * end + bulge * hanging * np.array([1.0, 0, 0])
    first = 2 * len(front)
    inner = first + np.arange((STRIP - 1) * len(around)).reshape(STRIP - 1, -1)
    number = np.concatenate([around[None], inner, around[None] + len(front)])
    faces = quads(number)
    part, place = np.divmod(np.arange(len(faces)), 2 * (len(around) - 1))
    width = np.linalg.norm(end - start, axis=1)[place // 2]
    part = (part + 0.5) / STRIP
    room = width * np.minimum(part, 1 - part)
    # A rim is closed along its middle, however narrow.
    return between.reshape(-1, 3), faces, np.where(np.abs(part - 0.5) < 1 / STRIP, np.maximum(room, LEAST_RIM), room)
