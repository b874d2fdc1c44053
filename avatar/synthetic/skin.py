"""Procedural skin, lips, brows, eyes, teeth and tongue of a parametric head.

Every colour is a function of the place on the template head, so that it sticks to the moving surface without any
texture. Regions a head paints (`Head.regions`: lips, eyelids, ears, inside_mouth) are used where it has them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.spatial import KDTree

from avatar.synthetic.looks import LOOKS, Look
from avatar.synthetic.noise import fractal, noise
from avatar.synthetic.raycast import Material, to_linear

__all__ = ["LOOKS", "HeadAppearance", "Look", "hair_cover", "smoothstep"]

if TYPE_CHECKING:
    from jaxtyping import Float, Int

    from avatar.heads import Head

# Height of the hairline above the eyes over z, both in metres: nape, behind the ear, above it, sideburn, temple.
_SIDE_HAIRLINE = (
    (-0.16, -0.10, -0.060, -0.022, -0.012, 0.012, 0.022, 0.05),
    (-0.085, -0.085, -0.045, 0.0, -0.025, -0.022, 0.045, 0.066),
)


class HeadAppearance:
    """Gives the material of samples on a head; called with face indices (n,) and barycentric weights (n, 3).

    Args:
        head: The head whose faces the samples lie on.
        look: The person's colours.
    """

    def __init__(self, head: Head, look: Look) -> None:
        self.look = look
        self.faces = head.faces.numpy()
        self.template = head.v_template.numpy().astype(np.float64)
        self.eyes = head.joints()[0, 3:].numpy().astype(np.float64)
        self.iris_angle = head.iris_angle or np.radians(22.5)
        self.ranges = dict(head.parts)
        self.regions = {name: weight.numpy() for name, weight in head.regions.items()}
        self.part = np.zeros(len(self.faces), np.int64)
        self.names = list(self.ranges)
        for index, (start, stop) in enumerate(self.ranges.values()):
            self.part[(self.faces[:, 0] >= start) & (self.faces[:, 0] < stop)] = index
        self._upper_lashes = self._lash_roots()

    def __call__(self, prim: Int[np.ndarray, " n"], barycentric: Float[np.ndarray, "n 3"]) -> Material:
        """The material at the samples."""
        corners = self.faces[prim]
        place = np.einsum("nk,nkc->nc", barycentric, self.template[corners])
        material = _plain(len(prim))
        part = self.part[prim]
        for index, name in enumerate(self.names):
            chosen = np.flatnonzero(part == index)
            if not len(chosen):
                continue
            if name == "skin":
                regions = {
                    key: (weight[corners[chosen]] * barycentric[chosen]).sum(axis=1)
                    for key, weight in self.regions.items()
                }
                found = self._skin(place[chosen], regions)
            elif name.startswith("eye"):
                found = self._eye(place[chosen], self.eyes[0 if name == "eye_l" else 1])
            elif name.startswith("teeth"):
                found = self._teeth(place[chosen], name)
            else:
                found = self._tongue(place[chosen]) if name == "tongue" else self._lashes(len(chosen))
            for target, value in zip(_arrays(material), _arrays(found), strict=True):
                target[chosen] = value
        return material

    def _skin(self, p: np.ndarray, regions: dict[str, np.ndarray]) -> Material:
        look, out = self.look, _plain(len(p))
        x, up, z = np.abs(p[:, 0]), p[:, 1] - self.eyes[:, 1].mean(), p[:, 2]
        zero = np.zeros(len(p))
        lips = smoothstep(0.25, 0.7, regions.get("lips", zero))
        ears, lids = regions.get("ears", zero), regions.get("eyelids", zero)
        mouth = smoothstep(0.3, 0.8, regions.get("inside_mouth", zero))

        albedo = np.tile(to_linear(np.array(look.skin)), (len(p), 1))
        mottle = 0.045 * fractal(p, 0.030) + 0.035 * noise(p, 0.0035, seed=1) + 0.02 * noise(p, 0.0014, seed=2)
        albedo *= np.exp(mottle)[:, None]
        front = smoothstep(0.0, 0.03, z)
        cheeks = _bump(x, 0.040, 0.020) * _bump(up, -0.040, 0.018) * front
        nose = _bump(x, 0.0, 0.014) * _bump(up, -0.038, 0.012) * smoothstep(0.05, 0.07, z)
        chin = _bump(up, -0.112, 0.012) * front
        red = 0.75 * cheeks + 0.8 * nose + 0.8 * ears + 0.5 * chin + 0.25 * fractal(p, 0.018, seed=3)
        albedo *= 1 - np.clip(look.redness * red, -0.4, 1.2)[:, None] * np.array([0.03, 0.24, 0.22])
        # The skin around the eyes is thin and darker, and the fold above the lid darker still.
        albedo *= 1 - (0.16 + 0.10 * look.redness) * lids[:, None] * np.array([0.7, 1.0, 0.95])
        socket = _bump(x, 0.030, 0.018) * _bump(up, -0.014, 0.008) * front
        albedo *= 1 - 0.14 * socket[:, None] * np.array([0.8, 1.0, 0.8])
        spots = smoothstep(1.5, 2.3, noise(p, 0.0032, seed=5) + 0.4 * noise(p, 0.03, seed=6))
        albedo *= 1 - look.freckles * 0.35 * (spots * front)[:, None] * np.array([0.6, 0.9, 1.0])
        beard = smoothstep(-0.048, -0.058, up) * smoothstep(-0.135, -0.115, up)
        beard = beard * smoothstep(-0.02, 0.02, z + 0.3 * (up + 0.06))
        beard = beard * (0.75 + 0.25 * np.clip(noise(p, 0.0012, seed=7), -1, 1)) * look.stubble
        albedo = _mix(albedo, 0.35 * albedo + 0.3 * to_linear(np.array(look.hair)), 0.55 * beard)

        lines = 0.10 * noise(p, (0.0016, 0.02, 0.008), seed=8) + 0.05 * noise(p, 0.004, seed=9)
        lip_colour = to_linear(np.array(look.lips)) * np.exp(lines)[:, None]
        albedo = _mix(albedo, lip_colour, 0.9 * lips)
        albedo = _mix(albedo, np.array([0.13, 0.028, 0.026]), mouth)
        albedo = _mix(albedo, to_linear(np.array(look.hair)) * 0.8, self._brows(p, x, up, z))
        if not look.bald:
            scalp = hair_cover(p, self.eyes[:, 1].mean()) * (1 - smoothstep(0.2, 0.5, ears))
            albedo = _mix(albedo, to_linear(np.array(look.hair)) * 0.55, 0.92 * scalp)

        albedo *= 1 - 0.75 * self._lash_line(p, up, z)[:, None]
        oily = 0.5 + 0.5 * np.maximum(_bump(x, 0, 0.03) * smoothstep(0.035, 0.07, z), cheeks * 0.6)
        grain = np.exp(0.35 * noise(p, 0.0022, seed=10))
        out.albedo[:] = albedo
        out.specular[:] = 0.055 * oily * grain * (1 - mouth) + 0.10 * lips + 0.12 * mouth
        out.gloss[:] = 16 + 22 * lips + 20 * mouth
        out.softness[:] = 1.0
        return out

    def _brows(self, p: np.ndarray, x: np.ndarray, up: np.ndarray, z: np.ndarray) -> np.ndarray:
        """Coverage (n,) by brow hair: strokes that lie up and outwards along an arch over each eye."""
        along = (x - 0.0125) / 0.043
        bounded = np.clip(along, 0, 1)
        arch = 0.0185 + 0.0075 * np.sin(bounded * 2.1) - 0.0050 * bounded**3
        width = 0.0044 * self.look.brow_weight * (1 - 0.6 * bounded**1.5) + 0.0006
        offset = (up - arch) / width
        lean = np.interp(along, [0, 0.3, 0.7, 1.0], [1.2, 0.6, 0.1, -0.3]) * np.where(offset < 0, 1.0, 0.8)
        # Strands are stretched noise, in coordinates turned along the direction of growth.
        across, length = np.cos(lean) * up - np.sin(lean) * x, np.sin(lean) * up + np.cos(lean) * x
        strands = noise(np.stack([length, across, z * 0.1], axis=1), (0.010, 0.0013, 0.02), seed=11)
        body = np.exp(-(np.abs(offset) ** 2.6)) * smoothstep(-0.05, 0.26, along) * smoothstep(1.08, 0.82, along)
        density = smoothstep(0.05, 0.75, body * (0.98 + 0.24 * strands))
        return 0.9 * density * smoothstep(0.0, 0.03, z)

    def _lash_roots(self) -> KDTree | None:
        """Points along the upper lids' edges: where the lash cards come nearest to the eyeball."""
        if "lashes" not in self.ranges:
            return None
        triangles = self.template[self.faces[self.part == self.names.index("lashes")]]
        u, v = (axis.ravel() for axis in np.meshgrid(*[np.linspace(0, 1, 9)] * 2))
        inside = u + v <= 1
        weights = np.stack([1 - u - v, u, v], axis=1)[inside]
        points = np.einsum("sk,fkc->fsc", weights, triangles).reshape(-1, 3)
        points = points[points[:, 1] > self.eyes[:, 1].mean() - 0.002]
        radius = np.linalg.norm(points - self.eyes[np.where(points[:, 0] > 0, 0, 1)], axis=1)
        return KDTree(points[radius < np.quantile(radius, 0.25)])

    def _lash_line(self, p: np.ndarray, up: np.ndarray, z: np.ndarray) -> np.ndarray:
        """Darkness (n,) of the upper lid's edge, where lashes too thin for the picture grow."""
        dark = np.zeros(len(p))
        near = np.flatnonzero((up > -0.010) & (up < 0.012) & (z > 0.03))
        if self._upper_lashes is not None and len(near):
            dark[near] = smoothstep(0.0016, 0.0005, self._upper_lashes.query(p[near])[0])
        return dark

    def _eye(self, p: np.ndarray, centre: np.ndarray) -> Material:
        out = _plain(len(p))
        ray = p - centre
        polar = np.arctan2(np.hypot(ray[:, 0], ray[:, 1]), ray[:, 2]) / self.iris_angle
        turn = np.arctan2(ray[:, 1], ray[:, 0])
        circle = np.stack([np.cos(turn), np.sin(turn), 0.35 * polar], axis=1)
        white = to_linear(np.array([0.86, 0.83, 0.81])) * (1 - 0.10 * np.clip(polar - 1.2, 0, 2))[:, None]
        veins = smoothstep(1.2, 2.4, noise(p, 0.0020, seed=12)) * smoothstep(1.4, 2.4, polar)
        white = white * (1 - veins[:, None] * np.array([0.03, 0.16, 0.16]))
        fibres = np.exp(0.30 * noise(circle, (0.16, 0.16, 0.8), seed=13) + 0.15 * noise(circle, 0.5, seed=14))
        ring = 1 - 0.72 * smoothstep(0.74, 1.0, polar)
        glow = 1.0 + 0.5 * _bump(polar, 0.55, 0.18)
        iris = to_linear(np.array(self.look.iris)) * (fibres * ring * glow)[:, None]
        albedo = _mix(white, iris, smoothstep(1.05, 0.94, polar))
        out.albedo[:] = _mix(albedo, np.full(3, 0.004), smoothstep(0.42, 0.35, polar))
        out.specular[:] = 0.55
        out.gloss[:] = 320
        out.softness[:] = 0.35
        return out

    def _teeth(self, p: np.ndarray, name: str) -> Material:
        out = _plain(len(p))
        start, stop = self.ranges[name]
        row = self.template[start:stop]
        upper = name.endswith("upper")
        low, high = row[:, 1].min(), row[:, 1].max()
        root = (p[:, 1] - low) / (high - low) if upper else (high - p[:, 1]) / (high - low)
        # Distance along the arch: teeth are about 8.5 mm wide in front of the upper jaw, 5.5 mm in the lower.
        centre = row[:, 2].max() - 0.030
        angle = np.arctan2(p[:, 0], p[:, 2] - centre)
        width = (0.0083 if upper else 0.0057) / 0.030
        phase = angle / width
        gap = np.abs(phase - np.round(phase))
        enamel = to_linear(np.array([0.86, 0.82, 0.74])) * np.exp(0.05 * noise(p, 0.006, seed=15))[:, None]
        albedo = enamel * (1 - 0.5 * smoothstep(0.07, 0.0, gap))[:, None]
        line = 0.62 - 0.07 * np.cos(2 * np.pi * (phase - 0.5))
        gum = np.array([0.42, 0.14, 0.135])
        albedo = _mix(albedo, gum, smoothstep(-0.04, 0.04, root - line))
        light = self._light_inside(p)
        out.albedo[:] = albedo * light
        out.specular[:] = 0.20 * light[:, 0]
        out.gloss[:] = 60
        out.softness[:] = 0.3
        return out

    def _tongue(self, p: np.ndarray) -> Material:
        out = _plain(len(p))
        light = self._light_inside(p)
        out.albedo[:] = np.array([0.38, 0.12, 0.115]) * np.exp(0.12 * noise(p, 0.0018, seed=16))[:, None] * light
        out.specular[:] = 0.10 * light[:, 0]
        out.gloss[:], out.softness[:] = 25, 0.8
        return out

    def _light_inside(self, p: np.ndarray) -> np.ndarray:
        """Share (n, 3) of the light that reaches places inside the mouth: less and redder the deeper they lie."""
        front = self.template[slice(*self.ranges["teeth_upper"]), 2].max() if "teeth_upper" in self.ranges else 0.05
        depth = np.clip((front - 0.010 - p[:, 2]) / 0.016, 0, None)
        return np.exp(-depth[:, None] * np.array([0.9, 1.25, 1.35]))

    def _lashes(self, count: int) -> Material:
        out = _plain(count)
        out.albedo[:] = 0.5 * to_linear(np.array(self.look.hair)) + 0.002
        return out


def hair_cover(place: Float[np.ndarray, "n 3"], eye_height: float, *, width: float = 0.005) -> Float[np.ndarray, " n"]:
    """How much of the scalp (n,) is covered by hair at places on the template head, in metres.

    The hairline runs from the forehead past the temples and in front of the ears to the nape.
    """
    x, up, z = np.abs(place[:, 0]), place[:, 1] - eye_height, place[:, 2]
    forehead = 0.074 - 0.010 * smoothstep(0.020, 0.045, x) + 0.004 * smoothstep(0.0, 0.02, x)
    temple = smoothstep(0.050, 0.064, x)
    line = np.interp(z, *_SIDE_HAIRLINE)
    line = np.where(z < -0.05, line, forehead * (1 - temple) + line * temple)
    line = line + 0.0012 * fractal(place, 0.018, seed=17) + 0.0015 * noise(place, 0.003, seed=18)
    return smoothstep(-width, width, up - line)


def smoothstep(low: float, high: float, value: np.ndarray) -> np.ndarray:
    """Cubic step from 0 at `low` to 1 at `high`; `low` may exceed `high`."""
    t = np.clip((value - low) / (high - low), 0, 1)
    return t * t * (3 - 2 * t)


def _bump(value: np.ndarray, centre: float, width: float) -> np.ndarray:
    return np.exp(-(((value - centre) / width) ** 2))


def _mix(first: np.ndarray, second: np.ndarray, share: np.ndarray) -> np.ndarray:
    return first + (second - first) * share[:, None]


def _plain(count: int) -> Material:
    return Material(np.zeros((count, 3)), np.zeros(count), np.full(count, 10.0), np.zeros(count))


def _arrays(material: Material) -> tuple[np.ndarray, ...]:
    return material.albedo, material.specular, material.gloss, material.softness
