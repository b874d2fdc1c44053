"""A synthetic person: a head with hair, lashes, glasses and a shirt that move with it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from scipy.spatial.transform import Rotation

from avatar.synthetic.glasses import Glasses, WornGlasses
from avatar.synthetic.noise import noise
from avatar.synthetic.raycast import Glazing, Material, to_linear
from avatar.synthetic.shirt import tailor, under_shirt
from avatar.synthetic.skin import HeadAppearance, smoothstep
from avatar.synthetic.strands import Haircut, grow_hair, pin_lashes

if TYPE_CHECKING:
    from jaxtyping import Float, Int

    from avatar.heads import Head
    from avatar.synthetic.looks import Look


class Subject:
    """One person, made once; `vertices` then dresses every pose of the head.

    Args:
        head: The head model.
        look: The person's colours.
        betas: (S,) identity.
        cut: The haircut; ignored where the look is bald.
        seed: Seed of hair and lashes.
        glasses: The glasses, if the person wears any.

    Attributes:
        faces: (F, 3) faces of everything; the head's own vertices come first, so ground truth stays indexable.
    """

    def __init__(
        self,
        head: Head,
        look: Look,
        *,
        betas: Float[np.ndarray, " S"],
        cut: Haircut | None = None,
        seed: int = 0,
        glasses: Glasses | None = None,
    ) -> None:
        for_lashes, for_hair = np.random.default_rng(seed).spawn(2)
        self.look, self._head_appearance = look, HeadAppearance(head, look)
        template = head.v_template.numpy().astype(np.float64)
        with torch.no_grad():
            rest = head(betas=torch.tensor(np.asarray(betas, np.float32)[None]))[0].numpy().astype(np.float64)
        faces = head.faces.numpy()
        skin = (faces < head.parts["skin"][1]).all(axis=1)
        hidden = under_shirt(template)
        kept = ~(skin & hidden[faces].any(axis=1))
        weights = head.weights.numpy()
        self._scalp = np.flatnonzero((weights[:, 1] > 0.98) & (template[:, 1] > template[:, 1].max() - 0.06))
        self._bust = np.flatnonzero(weights[:, 0] > 0.999)
        self._rest = rest

        ears = head.regions.get("ears")
        eye_height = float(head.joints()[0, 3:, 1].mean())
        self._lashes = None
        if "lashes" in head.parts:
            start, stop = head.parts["lashes"]
            card = ((faces >= start) & (faces < stop)).all(axis=1)
            kept &= ~card
            self._lashes = pin_lashes(template, faces[card], faces[skin], rng=for_lashes)
        self._hair = None
        if not look.bald:
            self._hair = grow_hair(
                rest,
                faces[skin],
                template=template,
                bare=np.zeros(len(rest)) if ears is None else ears.numpy(),
                eye_height=eye_height,
                cut=cut or Haircut(),
                rng=for_hair,
            )
        self._shirt, shirt_faces, self._station = tailor(rest, faces[skin])
        self._glasses = None if glasses is None else WornGlasses(glasses, head, rest)
        frame = np.zeros((0, 3), int) if self._glasses is None else self._glasses.solid
        self._kept = np.flatnonzero(kept)
        blocks: list[tuple[int, np.ndarray]] = [(0, faces[self._kept])]
        offset = len(rest)
        for count, local in (
            (0 if self._lashes is None else len(self._lashes.corners), None),
            (0 if self._hair is None else len(self._hair.vertices), None if self._hair is None else self._hair.faces),
            (len(self._shirt), shirt_faces),
            (0 if self._glasses is None else len(self._glasses.vertices), frame),
        ):
            triangles = np.arange(count).reshape(-1, 3) if local is None else local
            blocks.append((offset, triangles + offset))
            offset += count
        self.faces = np.concatenate([block for _, block in blocks])
        self._ends = np.cumsum([len(block) for _, block in blocks])
        self._starts = [start for start, _ in blocks]

    def vertices(self, posed: Float[np.ndarray, "V 3"]) -> Float[np.ndarray, "N 3"]:
        """Everything's vertices (N, 3) for a posed head (V, 3).

        Hair and glasses ride on the skull, the shirt on the bust.
        """
        self._skull = _rigid(self._rest[self._scalp], posed[self._scalp])
        parts = [posed]
        if self._lashes is not None:
            parts.append(self._lashes.vertices(posed))
        if self._hair is not None:
            rotation, translation = self._skull
            parts.append(self._hair.vertices @ rotation.T + translation)
        rotation, translation = _rigid(self._rest[self._bust], posed[self._bust])
        parts.append(self._shirt @ rotation.T + translation)
        if self._glasses is not None:
            rotation, translation = self._skull
            parts.append(self._glasses.vertices @ rotation.T + translation)
        return np.concatenate(parts)

    def glazing(self, vertices: Float[np.ndarray, "N 3"]) -> Glazing | None:
        """What light passes through: the lenses, and a frame that is clear. None without glasses.

        Args:
            vertices: What `vertices` returned.
        """
        worn = self._glasses
        if worn is None:
            return None
        return Glazing(vertices[len(vertices) - len(worn.vertices) :], worn.clear, worn.pane)

    def appearance(self, prim: Int[np.ndarray, " n"], barycentric: Float[np.ndarray, "n 3"]) -> Material:
        """The material of samples on `faces`; strand directions are those of the last call of `vertices`."""
        count = len(prim)
        material = Material(
            np.zeros((count, 3)), np.zeros(count), np.full(count, 10.0), np.zeros(count), np.zeros((count, 3))
        )
        block = np.searchsorted(self._ends, prim, side="right")
        painters = (self._paint_head, self._paint_lashes, self._paint_hair, self._paint_shirt, self._paint_glasses)
        for index, paint in enumerate(painters):
            chosen = np.flatnonzero(block == index)
            if not len(chosen):
                continue
            found = paint(prim[chosen], barycentric[chosen])
            material.albedo[chosen], material.specular[chosen] = found.albedo, found.specular
            material.gloss[chosen], material.softness[chosen] = found.gloss, found.softness
            if found.tangent is not None and material.tangent is not None:
                material.tangent[chosen] = found.tangent
        return material

    def _paint_head(self, prim: np.ndarray, barycentric: np.ndarray) -> Material:
        return self._head_appearance(self._kept[prim], barycentric)

    def _paint_lashes(self, prim: np.ndarray, barycentric: np.ndarray) -> Material:
        dark = 0.3 * to_linear(np.array(self.look.hair)) + 0.003
        zero = np.zeros(len(prim))
        return Material(np.tile(dark, (len(prim), 1)), zero, zero + 10, zero)

    def _paint_hair(self, prim: np.ndarray, barycentric: np.ndarray) -> Material:
        hair = self._hair
        assert hair is not None
        corners = self.faces[prim] - self._starts[2]
        tint = (hair.tint[corners] * barycentric).sum(axis=1)
        tangent = np.einsum("nk,nkc->nc", barycentric, hair.tangents[corners]) @ self._skull[0].T
        tangent /= np.linalg.norm(tangent, axis=1, keepdims=True)
        albedo = to_linear(np.array(self.look.hair)) * tint[:, None]
        ones = np.ones(len(prim))
        return Material(albedo, 0.10 * np.sqrt(albedo.mean(axis=1)) * tint, 26 * ones, 0.35 * ones, tangent)

    def _paint_shirt(self, prim: np.ndarray, barycentric: np.ndarray) -> Material:
        corners = self.faces[prim] - self._starts[3]
        place = np.einsum("nk,nkc->nc", barycentric, self._shirt[corners])
        station = (self._station[corners] * barycentric).sum(axis=1)
        weave = np.exp(0.10 * noise(place, 0.0016, seed=32) + 0.06 * noise(place, 0.004, seed=33))
        seam = 1 - 0.35 * np.exp(-(((station - 0.165) / 0.008) ** 2))
        rib = 1 + 0.10 * np.sin(np.arctan2(place[:, 2] + 0.06, place[:, 0]) * 150) * smoothstep(0.165, 0.155, station)
        albedo = to_linear(np.array(self.look.shirt)) * (weave * seam * rib)[:, None]
        ones = np.ones(len(prim))
        return Material(albedo, 0.012 * ones, 6 * ones, 0.25 * ones)

    def _paint_glasses(self, prim: np.ndarray, barycentric: np.ndarray) -> Material:
        assert self._glasses is not None
        return self._glasses.paint(len(prim))


def _rigid(source: np.ndarray, target: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rotation (3, 3) and translation (3,) that best move points (n, 3) onto others (Kabsch 1976)."""
    a, b = source.mean(axis=0), target.mean(axis=0)
    rotation = Rotation.align_vectors(target - b, source - a)[0].as_matrix()
    return rotation, b - rotation @ a
