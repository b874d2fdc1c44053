"""The head model reduced to a few surface points, so that a whole clip is posed in one small matrix product."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch

from avatar.heads.lbs import joint_transforms
from avatar.preprocess.landmark_habits import JAW_ENTRIES, LandmarkHabits

if TYPE_CHECKING:
    from jaxtyping import Float, Int
    from torch import Tensor

    from avatar.heads import Head

JOINTS = 5
# Entries of the rotation matrices of neck, jaw and eyes.
POSE_FEATURES = 9 * (JOINTS - 1)


@dataclass(frozen=True)
class PointModel:
    """P surface points of a head as functions of its coefficients; coordinates come before points in memory.

    Attributes:
        rest: (3, P) metres.
        shape: (3, P, S) identity basis.
        deform: (D, 3 P) basis of ARKit weights (or expression), then two lids, then 36 pose features.
        weights: (5, P) skinning weights.
        joints: (5, 3) rest joints: root, neck, jaw, left eye, right eye.
        joint_shape: (5, 3, S) their dependence on identity.
    """

    rest: Float[Tensor, "3 P"]
    shape: Float[Tensor, "3 P S"]
    deform: Float[Tensor, "D PP"]
    weights: Float[Tensor, "5 P"]
    joints: Float[Tensor, "5 3"]
    joint_shape: Float[Tensor, "5 3 S"]

    @classmethod
    def on_faces(
        cls, head: Head, faces: Int[Tensor, " P"], *, barycentric: Float[Tensor, "P 3"], components: int
    ) -> PointModel:
        """Points inside triangles.

        The bases are interpolated within the triangle before skinning, which differs from skinning first only where
        the skinning weights vary inside one triangle (second order, hundredths of a millimetre).

        Args:
            head: The head model.
            faces: (P,) triangle of each point.
            barycentric: (P, 3) place in it.
            components: Number of identity coefficients to keep.
        """
        return cls._mixed(head, head.faces[faces], mix=barycentric, components=components)

    @classmethod
    def on_vertices(cls, head: Head, vertex_ids: Int[Tensor, " P"], *, components: int) -> PointModel:
        """Some of the head's vertices."""
        mix = head.v_template.new_ones(len(vertex_ids), 1)
        return cls._mixed(head, vertex_ids[:, None], mix=mix, components=components)

    @classmethod
    def _mixed(
        cls, head: Head, corners: Int[Tensor, "P C"], *, mix: Float[Tensor, "P C"], components: int
    ) -> PointModel:
        def at(values: Tensor) -> Tensor:
            return (values[corners] * mix.to(values).reshape(*mix.shape, *[1] * (values.dim() - 1))).sum(1)

        actions = at(head.exprdirs)
        if head.arkit_to_psi.numel():
            actions = actions @ head.arkit_to_psi
        deform = torch.cat([actions, at(head.eyelid_dirs), at(head.posedirs)], dim=2)
        return cls(
            rest=at(head.v_template).T.contiguous(),
            shape=at(head.shapedirs)[..., :components].transpose(0, 1).contiguous(),
            deform=deform.permute(2, 1, 0).reshape(deform.shape[2], -1).contiguous(),
            weights=at(head.weights).T.contiguous(),
            joints=head.J_template,
            joint_shape=head.J_shapedirs[..., :components],
        )

    @classmethod
    def landmarks(cls, head: Head, *, components: int) -> PointModel:
        """The 478 face-mesh landmarks of the head's embedding."""
        embedding = head.landmarks
        return cls.on_faces(head, embedding.faces, barycentric=embedding.barycentric, components=components)

    def detected(self, habits: LandmarkHabits) -> PointModel:
        """The landmarks as a detector of these habits sees them."""
        neck = len(self.deform) - POSE_FEATURES
        deform = self.deform.clone()
        for rows, moved in (
            ([neck + entry for entry in range(9)], habits.neck),
            ([neck + 9 + entry for entry in JAW_ENTRIES], habits.jaw),
        ):
            deform[rows] += torch.from_numpy(moved.reshape(len(moved), -1)).to(deform)
        return replace(self, rest=self.rest + torch.from_numpy(habits.constant[0]).to(self.rest), deform=deform)

    def identity(
        self, betas: Float[Tensor, " S"], offsets: Float[Tensor, "3 P"] | None = None
    ) -> tuple[Float[Tensor, "3 P"], Float[Tensor, "5 3"]]:
        """Rest points and joints of a person."""
        points = self.rest + self.shape @ betas
        return (points if offsets is None else points + offsets), self.joints + self.joint_shape @ betas

    def pose(
        self,
        points: Float[Tensor, "3 P"],
        joints: Float[Tensor, "5 3"],
        *,
        rotations: Float[Tensor, "T 5 3 3"],
        actions: Float[Tensor, "T A"],
        lids: Float[Tensor, "T 2"],
    ) -> Float[Tensor, "T 3 P"]:
        """Linear blend skinning of T poses at once, without translation (Loper et al., SMPL, 2015, eq. 2-5)."""
        count = len(rotations)
        feature = (rotations[:, 1:] - torch.eye(3, dtype=rotations.dtype, device=rotations.device)).reshape(count, -1)
        rest = (points.reshape(1, -1) + torch.cat([actions, lids, feature], dim=1) @ self.deform).view(count, 3, -1)
        across, up, out, shift = self.blended(joints, rotations).unbind(2)
        x, y, z = rest.split(1, dim=1)
        return torch.addcmul(torch.addcmul(torch.addcmul(shift, across, x), up, y), out, z)

    def blended(self, joints: Float[Tensor, "5 3"], rotations: Float[Tensor, "T 5 3 3"]) -> Float[Tensor, "T 3 4 P"]:
        """The affine map that skinning applies to each point: three columns and the shift."""
        count = len(rotations)
        turns, shifts = joint_transforms(rotations, joints.expand(count, -1, -1))
        affine = torch.cat([turns, shifts[..., None]], dim=3).reshape(count, JOINTS, 12).transpose(1, 2)
        return (affine @ self.weights).view(count, 3, 4, -1)
