"""Glasses: a frame and two lenses that sit on a subject's own nose and ears."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from avatar.synthetic.looks import Colour
from avatar.synthetic.raycast import Material, Pane, Scene, to_linear

if TYPE_CHECKING:
    from jaxtyping import Float, Int

    from avatar.heads import Head

# In units of half the distance between the eyes: where a lens ends beside the nose, and where its middle is.
_NASAL, _MIDDLE = 0.30, 1.08
# Metres: the lens's middle below the eye's, the frame before the skin and the lens before the cornea at least, the
# radius of a lens's front, and how far the temple goes down behind the ear.
_LOW, _CLEAR, _VERTEX, _CURVE, _HOOK = 0.003, 0.0015, 0.010, 0.12, 0.03
# The front bends back towards the ears (1/m, of the distance from the middle squared) and its top leans forward.
_WRAP, _LEAN = 1.3, np.tan(np.radians(8))
_ROUND, _SIDES, _RINGS = 64, 10, 6


@dataclass(frozen=True)
class Glasses:
    """What a pair of glasses looks like; lengths in metres.

    Attributes:
        height: Height of a lens over its width.
        squareness: Exponent of the lens's outline, a superellipse: 2 is round, 5 nearly a rectangle.
        rim: Thickness of the rims, seen from the front.
        depth: Thickness of the rims from front to back.
        colour: The frame's, sRGB.
        metal: How much of a metal the frame is, 0 to 1.
        clearness: Share of the light that passes through the frame.
        tint: Share of the light that passes through the lenses, linear RGB.
        mirror: Share of the light from in front that the lenses reflect: 0.04 for plain glass, 0.01 for coated.
    """

    height: float = 0.80
    squareness: float = 3.0
    rim: float = 0.003
    depth: float = 0.003
    colour: Colour = (0.12, 0.10, 0.10)
    metal: float = 0.0
    clearness: float = 0.0
    tint: Colour = (0.92, 0.94, 0.93)
    mirror: float = 0.02


def random_glasses(seed: int) -> Glasses:
    """The glasses of a seed: dark and thick, thin and of metal, or clear, in turn; of any outline."""
    rng = np.random.default_rng((seed, 0x61A5))
    kind = seed % 3
    rim = float(rng.uniform(*((0.0026, 0.0044), (0.0013, 0.0019), (0.0026, 0.0038))[kind]))
    shade = float(rng.uniform(*((0.05, 0.18), (0.45, 0.75), (0.75, 0.92))[kind]))
    warmth = float(rng.uniform(0, 0.25))
    return Glasses(
        height=float(rng.uniform(0.70, 0.95)),
        squareness=float(rng.choice([2.0, 2.6, 3.4, 4.6])),
        rim=rim,
        depth=max(0.0016, float(rng.uniform(0.8, 1.1)) * rim),
        colour=(shade, shade * (1 - 0.5 * warmth), shade * (1 - warmth)),
        metal=float(kind == 1),
        clearness=0.5 * (kind == 2),
        tint=(float(rng.uniform(0.86, 0.97)), float(rng.uniform(0.88, 0.97)), float(rng.uniform(0.86, 0.97))),
        mirror=float(rng.uniform(0.01, 0.045)),
    )


class WornGlasses:
    """Glasses as they sit on one head at rest.

    The rims stand before brows and cheeks, the bridge over the nose, and the temples go back to the ears.

    Args:
        glasses: What they look like.
        head: The head model; it needs the eyes' parts and the ears' region.
        rest: (V, 3) the subject at rest.

    Attributes:
        vertices: (G, 3) metres, head axes.
        lenses: (L, 3) faces of the lenses.
        solid: (F, 3) faces of a frame that no light passes through.
        clear: (P, 3) faces that light passes through: the lenses, then a clear frame.
    """

    def __init__(self, glasses: Glasses, head: Head, rest: Float[np.ndarray, "V 3"]) -> None:
        self.glasses = glasses
        self._eyes = np.stack([rest[slice(*head.parts[name])] for name in ("eye_l", "eye_r")])
        start, stop = head.parts["skin"]
        faces = head.faces.numpy()
        skin = faces[((faces >= start) & (faces < stop)).all(axis=1)]
        self._ears = rest[head.regions["ears"].numpy() > 0.5]
        self._skin = Scene(rest, skin)
        self._bare = Scene(rest, skin[~(head.regions["ears"].numpy() > 0.2)[skin].any(axis=1)])
        middle = self._eyes.mean(axis=(0, 1))
        self._centre, self._half = middle[:2], float(np.ptp(self._eyes.mean(axis=1)[:, 0])) / 2
        self._width = (_MIDDLE - _NASAL) * self._half
        self._forward = self._clearance()
        self._points: list[np.ndarray] = []
        self._faces: list[np.ndarray] = []
        for side in (1, -1):
            self._rim(side)
            self._temple(side)
        self._bridge()
        frame = np.concatenate(self._faces)
        self._faces = []
        for side in (1, -1):
            self._lens(side)
        self.lenses = np.concatenate(self._faces)
        self.vertices = np.concatenate(self._points)
        through = bool(glasses.clearness)
        self.solid = frame[: 0 if through else None]
        self.clear = np.concatenate([self.lenses, frame]) if through else self.lenses

    def paint(self, count: int) -> Material:
        """The material of so many samples of the frame."""
        look, ones = self.glasses, np.ones(count)
        albedo = np.tile(to_linear(np.array(look.colour)) * (1 - 0.5 * look.metal), (count, 1))
        return Material(albedo, (0.10 + 0.45 * look.metal) * ones, (60 + 30 * look.metal) * ones, 0 * ones)

    def pane(self, prim: Int[np.ndarray, " n"]) -> Pane:
        """How samples on `clear` let light through."""
        look, lens = self.glasses, prim < len(self.lenses)
        material = self.paint(len(prim))
        material.albedo[lens], material.specular[lens] = 0, 0
        through_frame = look.clearness * to_linear(np.array(look.colour)) ** 0.3
        passed = np.where(lens[:, None], np.array(look.tint), through_frame)
        return Pane(material, passed, np.where(lens, look.mirror, 0.04))

    def _outline(self, side: int, share: float = 1.0) -> Float[np.ndarray, "n 2"]:
        """Points around a lens, x and y, or around a smaller lens within it."""
        angle = 2 * np.pi * np.arange(_ROUND) / _ROUND
        circle = np.stack([np.cos(angle), np.sin(angle)], axis=1)
        shape = np.sign(circle) * np.abs(circle) ** (2 / self.glasses.squareness)
        middle = self._centre + np.array([side * _MIDDLE * self._half, -_LOW])
        return middle + share * self._width * shape * [1.0, self.glasses.height]

    def _bent(self, flat: Float[np.ndarray, "n 2"]) -> Float[np.ndarray, "n 3"]:
        """Places on the front of the glasses above places of the plane."""
        away = flat - self._centre
        return np.column_stack([flat, self._forward - _WRAP * away[:, 0] ** 2 + _LEAN * away[:, 1]])

    def _before_skin(self, flat: Float[np.ndarray, "n 2"]) -> Float[np.ndarray, " n"]:
        """How far forward the skin reaches at places of the plane; -inf beside the head."""
        origins = np.column_stack([flat, np.full(len(flat), 1.0)])
        prim, weights = self._skin.intersect(origins, np.tile([0.0, 0.0, -1.0], (len(flat), 1)))
        depth = np.einsum("nk,nk->n", weights, self._skin.vertices[self._skin.faces[prim], 2])
        return np.where(prim >= 0, depth, -np.inf)

    def _clearance(self) -> float:
        """How far forward the middle of the front is: as near as brows, cheeks, nose and corneas allow."""
        self._forward = 0.0
        corneas = self._eyes.reshape(-1, 3)
        needed = [(corneas[:, 2] + _VERTEX - self._bent(corneas[:, :2])[:, 2]).max()]
        for side in (1, -1):
            rim = self._outline(side)
            gap = _CLEAR + self.glasses.depth / 2
            needed.append((self._before_skin(rim) + gap - self._bent(rim)[:, 2]).max())
        return float(max(needed))

    def _rim(self, side: int) -> None:
        middle = self._bent(self._outline(side))
        # Across the rim: away from the lens's centre in the front's plane, at right angles to the rim.
        along = np.roll(middle, -1, axis=0) - np.roll(middle, 1, axis=0)
        outward = _unit(np.cross(along, [0.0, 0.0, 1.0]))
        self._tube(
            middle, outward, np.tile([0.0, 0.0, 1.0], (_ROUND, 1)), self.glasses.rim, self.glasses.depth, closed=True
        )

    def _bridge(self) -> None:
        """From rim to rim, over the nose."""
        reach = _NASAL * self._half
        across = np.linspace(-1, 1, 17)
        top = 0.35 * self._width * self.glasses.height
        flat = self._centre + np.column_stack([reach * across, top + 0.12 * self._width * (1 - across**2)])
        path = self._bent(flat)
        gap = _CLEAR + self.glasses.depth / 2
        path[:, 2] = np.maximum(path[:, 2], self._before_skin(flat) + gap)
        thick = max(self.glasses.rim, 0.0018)
        self._tube(
            path, np.tile([0.0, 1.0, 0.0], (17, 1)), np.tile([0.0, 0.0, 1.0], (17, 1)), thick, self.glasses.depth
        )

    def _temple(self, side: int) -> None:
        """From the rim's upper outer part straight to where the ear joins the head, and down behind it."""
        outline = self._bent(self._outline(side))
        upper = outline[outline[:, 1] <= self._centre[1] - _LOW + 0.55 * self._width * self.glasses.height]
        hinge = upper[np.argmax(side * upper[:, 0] + 0.2 * upper[:, 1])]
        ear = self._ears[self._ears[:, 0] * side > 0]
        front, back, top = ear[:, 2].max(), ear[:, 2].min(), ear[:, 1].max() - 0.006
        turn = np.array([0.0, top, 0.6 * back + 0.4 * front])
        steps = np.linspace(0, 1, 25)
        path = hinge + steps[:, None] * (turn - hinge)
        # Beside the ear the head is as broad as before it.
        place = np.column_stack([path[:, 1], np.maximum(path[:, 2], front + 0.004)])
        broad = self._beside_skin(place, side) + _CLEAR + 0.001
        lead = hinge[0] * side + 0.003 * np.minimum(steps / 0.05, 1)
        path[:, 0] = side * np.maximum(
            np.maximum(lead + steps * (broad[-1] - lead), broad), side * path[:, 0] * (steps == 0)
        )
        fall = np.linspace(0, 1, 7)[1:]
        hook = path[-1] + np.column_stack([-0.002 * side * fall, -_HOOK * fall**1.5, 0.6 * (back - path[-1, 2]) * fall])
        path = np.concatenate([path, hook])
        along = _unit(np.gradient(path, axis=0))
        sideways = np.tile([float(side), 0.0, 0.0], (len(path), 1))
        tall = max(1.3 * self.glasses.rim, 0.0018)
        self._tube(path, _unit(np.cross(along, sideways)), sideways, tall, max(0.5 * self.glasses.depth, 0.0014))

    def _beside_skin(self, place: Float[np.ndarray, "n 2"], side: int) -> Float[np.ndarray, " n"]:
        """Half the head's breadth without ears at places of height and depth, metres; 0 where it is not."""
        origins = np.column_stack([np.full(len(place), float(side)), place])
        prim, weights = self._bare.intersect(origins, np.tile([-float(side), 0.0, 0.0], (len(place), 1)))
        breadth = np.einsum("nk,nk->n", weights, self._bare.vertices[self._bare.faces[prim], 0])
        return np.where(prim >= 0, np.maximum(side * breadth, 0), 0)

    def _lens(self, side: int) -> None:
        middle = self._bent(self._outline(side, 0.0)[:1])
        rings = [middle, *(self._bent(self._outline(side, ring / _RINGS)) for ring in range(1, _RINGS + 1))]
        points = np.concatenate(rings)
        rim = np.square(rings[-1] - middle).sum(axis=1).max()
        points[:, 2] += (rim - np.square(points - middle).sum(axis=1)) / (2 * _CURVE)
        around = np.arange(_ROUND)
        following = (around + 1) % _ROUND
        blocks = [np.column_stack([np.zeros(_ROUND, int), 1 + around, 1 + following])]
        for ring in range(_RINGS - 1):
            inner, outer = 1 + ring * _ROUND, 1 + (ring + 1) * _ROUND
            blocks.append(np.column_stack([inner + around, outer + around, outer + following]))
            blocks.append(np.column_stack([inner + around, outer + following, inner + following]))
        self._add(points, np.concatenate(blocks))

    def _tube(
        self,
        path: Float[np.ndarray, "n 3"],
        first: Float[np.ndarray, "n 3"],
        second: Float[np.ndarray, "n 3"],
        breadth: float,
        depth: float,
        *,
        closed: bool = False,
    ) -> None:
        """Adds a bar of elliptic section along a path: so broad along the first axis, so deep along the second."""
        angle = 2 * np.pi * np.arange(_SIDES) / _SIDES
        section = (
            breadth / 2 * np.cos(angle)[:, None] * first[:, None] + depth / 2 * np.sin(angle)[:, None] * second[:, None]
        )
        points = (path[:, None] + section).reshape(-1, 3)
        count = len(path) if closed else len(path) - 1
        here, there = np.arange(count)[:, None] * _SIDES, ((np.arange(count) + 1) % len(path))[:, None] * _SIDES
        around, following = np.arange(_SIDES), (np.arange(_SIDES) + 1) % _SIDES
        corners = [here + around, there + around, there + following, here + following]
        a, b, c, d = (corner.ravel() for corner in corners)
        self._add(points, np.concatenate([np.column_stack([a, b, c]), np.column_stack([a, c, d])]))

    def _add(self, points: np.ndarray, faces: Int[np.ndarray, "F 3"]) -> None:
        self._faces.append(faces + sum(map(len, self._points)))
        self._points.append(points)


def _unit(values: np.ndarray) -> np.ndarray:
    return values / np.maximum(np.linalg.norm(values, axis=-1, keepdims=True), 1e-12)
