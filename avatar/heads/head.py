"""The parametric head as a module: coefficients in, vertices out."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import nn

from avatar.errors import InputError
from avatar.heads.layout import HeadLayout, read_head
from avatar.heads.lbs import blend, lbs
from avatar.heads.library import head_path

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from jaxtyping import Float, Int
    from torch import Tensor


class LandmarkEmbedding(NamedTuple):
    """Landmarks pinned to a head's triangles: (L,) faces, (L, 3) barycentric weights, (L,) sigma in metres."""

    faces: Int[Tensor, " L"]
    barycentric: Float[Tensor, "L 3"]
    sigma: Float[Tensor, " L"]


class Head(nn.Module):
    """A head model's bases as buffers (float32 unless moved) and the forward pass over them.

    Attributes:
        id: Name and version of the model.
        hash: Content hash of the model's bases; a `Motion` stores it.
        faces: (F, 3) triangles.
        uv: (F, 3, 2) texture coordinates of the triangles' corners.
        parts: Vertex range [start, stop) of every part; empty for a subset.
        regions: (V,) weights in [0, 1] of painted regions, by name.
        arkit_names: The A ARKit actions in the expression basis.
        arkit_to_psi: (E, A); ``expression = arkit_to_psi @ weights``.
        psi_to_arkit: (A, E) its least-squares inverse.
        jaw_open_angle: Jaw rotation about +x at jawOpen = 1, radians.
        eye_look_angles: Eye rotation at eyeLookUp, Down, In and Out = 1, radians.
        iris_angle: Half-angle of the iris from the eyeball's centre, radians.
        vertex_ids: (V,) the whole model's vertices this head holds.
    """

    v_template: Tensor
    shapedirs: Tensor
    exprdirs: Tensor
    posedirs: Tensor
    J_regressor: Tensor
    weights: Tensor
    eyelid_dirs: Tensor
    faces: Tensor
    uv: Tensor
    arkit_to_psi: Tensor
    psi_to_arkit: Tensor
    J_template: Tensor
    J_shapedirs: Tensor
    vertex_ids: Tensor

    def __init__(self, layout: HeadLayout) -> None:
        super().__init__()
        self.id, self.hash = layout.id, layout.hash
        self.licence, self.source = layout.licence, layout.source
        self.parts, self.arkit_names = dict(layout.parts), layout.arkit_names
        self.jaw_open_angle, self.iris_angle = layout.jaw_open_angle, layout.iris_angle
        self.eye_look_angles = tuple(float(angle) for angle in layout.eye_look_angles)
        for name in ("v_template", "shapedirs", "exprdirs", "posedirs", "J_regressor", "weights", "uv", "arkit_to_psi"):
            self.register_buffer(name, torch.tensor(getattr(layout, name), dtype=torch.float32))
        # Worked out once, because live playback asks in every frame.
        self.register_buffer("psi_to_arkit", torch.linalg.pinv(self.arkit_to_psi), persistent=False)
        self.register_buffer("eyelid_dirs", torch.tensor(layout.eyelids, dtype=torch.float32))
        # Half-precision storage leaves weights that sum to 1 within 1e-3 only, which would shrink a translated head.
        self.weights /= self.weights.sum(dim=1, keepdim=True)
        self.register_buffer("faces", torch.tensor(layout.f, dtype=torch.long))
        self.register_buffer("vertex_ids", torch.arange(len(layout.v_template)))
        # Joints depend on the identity alone; as functions of betas they stay exact for any subset of the vertices.
        regressor = torch.tensor(layout.J_regressor, dtype=torch.float64)
        joints = regressor @ torch.tensor(layout.v_template, dtype=torch.float64)
        directions = torch.einsum("jv,vck->jck", regressor, torch.tensor(layout.shapedirs, dtype=torch.float64))
        self.register_buffer("J_template", joints.float())
        self.register_buffer("J_shapedirs", directions.float())
        self._region_names = tuple(layout.regions)
        for name, region in layout.regions.items():
            self.register_buffer(f"region_{name}", torch.tensor(region, dtype=torch.float32))
        for name, embedding in (("lmk478", layout.lmk478), ("lmk68", layout.lmk68)):
            stored = (None,) * 3 if embedding is None else (embedding.faces, embedding.barycentric, embedding.sigma)
            for part, value in zip(LandmarkEmbedding._fields, stored, strict=True):
                self.register_buffer(f"{name}_{part}", None if value is None else torch.tensor(value))

    def forward(
        self,
        *,
        betas: Float[Tensor, "B s"] | None = None,
        expression: Float[Tensor, "B E"] | None = None,
        pose: Float[Tensor, "B 5 3"] | None = None,
        eyelids: Float[Tensor, "B 2"] | None = None,
        transl: Float[Tensor, "B 3"] | None = None,
    ) -> Float[Tensor, "B V 3"]:
        """Vertices of B heads; what is left out is zero, and a batch of one is shared by all.

        Args:
            betas: (B, s) identity in standard deviations, any s up to the model's S.
            expression: (B, E) expression coefficients.
            pose: (B, 5, 3) axis-angle of root, neck, jaw, left eye and right eye, radians.
            eyelids: (B, 2) closure of the left and the right lid, 0 to 1.
            transl: (B, 3) translation, metres.

        Returns:
            (B, V, 3) vertices, metres.

        Raises:
            InputError: An argument has the wrong shape, or the batches do not fit.
        """
        self._check(betas=betas, expression=expression, pose=pose, eyelids=eyelids, transl=transl)
        shaped, joints = self.v_template[None], self.J_template[None]
        if betas is not None:
            shaped = shaped + blend(self.shapedirs, betas)
            joints = joints + blend(self.J_shapedirs, betas)
        offsets = None
        if expression is not None:
            offsets = blend(self.exprdirs, expression)
        if eyelids is not None:
            closing = blend(self.eyelid_dirs, eyelids)
            offsets = closing if offsets is None else offsets + closing
        if pose is None:
            vertices = shaped if offsets is None else shaped + offsets
        else:
            vertices = lbs(shaped, joints, pose=pose, posedirs=self.posedirs, weights=self.weights, offsets=offsets)
        return vertices if transl is None else vertices + transl[:, None]

    def joints(self, betas: Float[Tensor, "B s"] | None = None) -> Float[Tensor, "B 5 3"]:
        """Rest positions of root, neck, jaw, left eye and right eye, metres."""
        rest = self.J_template[None]
        return rest if betas is None else rest + blend(self.J_shapedirs, betas)

    @property
    def device(self) -> torch.device:
        """Where its buffers lie; what is worked out with a head is made there."""
        return self.v_template.device

    def on(self, device: torch.device | str) -> Head:
        """This head on a device: itself where it lies there, else a copy, so that the one at hand stays where it is."""
        return self if self.device == torch.device(device) else self._copy().to(device)

    @property
    def regions(self) -> dict[str, Float[Tensor, " V"]]:
        """Weights in [0, 1] of the painted regions, by name."""
        return {name: getattr(self, f"region_{name}") for name in self._region_names}

    @property
    def landmarks(self) -> LandmarkEmbedding:
        """The 478 landmarks on this head; raises InputError where the model or the subset has none."""
        return self._embedding("lmk478")

    @property
    def landmarks68(self) -> LandmarkEmbedding:
        """Points 17 to 67 of iBUG-68 on this head; raises InputError where the model or the subset has none."""
        return self._embedding("lmk68")

    def landmark_positions(self, vertices: Float[Tensor, "B V 3"]) -> Float[Tensor, "B 478 3"]:
        """The 478 landmarks of posed vertices, metres."""
        faces, barycentric, _ = self.landmarks
        corners = vertices[:, self.faces[faces]]
        return (corners * barycentric.to(vertices.dtype)[..., None]).sum(dim=-2)

    def subset(self, vertex_ids: Int[Tensor, " n"] | Sequence[int]) -> Head:
        """A head of some vertices only; joints stay exact, faces and landmarks whose corners are missing are dropped.

        Args:
            vertex_ids: (n,) distinct vertices of this head, in the order wanted.
        """
        ids = torch.as_tensor(vertex_ids, dtype=torch.long, device=self.faces.device)
        if ids.ndim != 1 or len(ids.unique()) != len(ids):
            raise InputError("The head's subset cannot be taken", expected="distinct vertex indices of shape (n,)")
        part = self._copy()
        part.parts = {}
        names = ("v_template", "shapedirs", "exprdirs", "posedirs", "weights", "eyelid_dirs", "vertex_ids")
        for name in (*names, *(f"region_{region}" for region in self._region_names)):
            setattr(part, name, getattr(self, name)[ids].contiguous())
        # The regressor needs all vertices; `joints` answers for a subset.
        part.J_regressor = self.J_regressor.new_zeros(5, 0)
        position = torch.full((len(self.v_template),), -1, device=ids.device)
        position[ids] = torch.arange(len(ids), device=ids.device)
        local = position[self.faces]
        kept = (local >= 0).all(dim=1)
        part.faces, part.uv = local[kept], self.uv[kept]
        renumbered = torch.where(kept, kept.cumsum(0) - 1, -1)
        for name in ("lmk478", "lmk68"):
            faces = getattr(self, f"{name}_faces")
            if faces is None:
                continue
            complete = bool(kept[faces].all())
            setattr(part, f"{name}_faces", renumbered[faces] if complete else None)
        return part

    def landmark_subset(self) -> Head:
        """The head restricted to the vertices that carry the 478 landmarks: all that a landmark fit needs."""
        return self.subset(self.faces[self.landmarks.faces].unique())

    def with_identity(self, betas: Float[Tensor, " s"], offsets: Float[Tensor, "V 3"] | None = None) -> Head:
        """This head with one identity baked into its template and joints, and no identity directions left.

        Args:
            betas: (s,) identity in standard deviations.
            offsets: (V, 3) what the identity directions do not reach, in the neutral pose, metres. The joints stay.

        Raises:
            InputError: The offsets are not one for each vertex.
        """
        part = self._copy()
        part.v_template = self.v_template + blend(self.shapedirs, betas[None])[0]
        if offsets is not None:
            if offsets.shape != self.v_template.shape:
                raise InputError(
                    "The vertex offsets do not fit the head model",
                    expected=f"shape {tuple(self.v_template.shape)}",
                    found=f"shape {tuple(offsets.shape)}",
                )
            part.v_template = part.v_template + offsets
        part.J_template = self.joints(betas[None])[0]
        part.shapedirs, part.J_shapedirs = self.shapedirs[..., :0], self.J_shapedirs[..., :0]
        return part

    def _copy(self) -> Head:
        """A head that shares this one's buffers."""
        part = Head.__new__(Head)
        nn.Module.__init__(part)
        names = set(self._buffers)
        part.__dict__.update({key: value for key, value in self.__dict__.items() if key not in part.__dict__})
        for name in names:
            part.register_buffer(name, self._buffers[name])
        return part

    def _embedding(self, name: str) -> LandmarkEmbedding:
        faces = getattr(self, f"{name}_faces")
        if faces is None:
            raise InputError(
                f"The head {self.id} has no {name} landmarks here",
                expected="a model with a landmark embedding, and all its corners in the subset",
            )
        return LandmarkEmbedding(faces, getattr(self, f"{name}_barycentric"), getattr(self, f"{name}_sigma"))

    def _check(self, **given: Tensor | None) -> None:
        ends = {
            "betas": (self.shapedirs.shape[-1],),
            "expression": (self.exprdirs.shape[-1],),
            "pose": (5, 3),
            "eyelids": (2,),
            "transl": (3,),
        }
        batches = {name: len(value) for name, value in given.items() if value is not None and value.ndim}
        for name, value in given.items():
            if value is None:
                continue
            fits = value.ndim == len(ends[name]) + 1 and (
                value.shape[1] <= ends[name][0] if name in {"betas", "expression"} else value.shape[1:] == ends[name]
            )
            if not fits:
                raise InputError(
                    f"The head's {name} cannot be used",
                    expected=f"a batch of {'up to ' if name in {'betas', 'expression'} else ''}{ends[name]} numbers",
                    found=f"shape {tuple(value.shape)}",
                )
        if len(set(batches.values()) - {1}) > 1:
            raise InputError("The head's arguments do not fit", expected="one batch size, or 1", found=str(batches))


def load_head(name_or_path: str | Path = "open") -> Head:
    """Loads a head model: the shipped one (``open``) or an imported one by name, or an npz in the head layout by path.

    Raises:
        InputError: There is no such model.
        FormatError: The file is not in the head layout.
    """
    return Head(read_head(head_path(name_or_path)))
