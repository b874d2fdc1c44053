"""The avatar itself: Gaussians on the triangles of the head, with linear residuals driven by the motion."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch
from torch import nn

from avatar.errors import InputError
from avatar.fields.condition import LIMIT, motion_features
from avatar.fields.rig import RiggedGaussians, place_gaussians, triangle_frames
from avatar.heads import rotation_matrices

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int
    from torch import Tensor

    from avatar.fields.condition import MotionCondition
    from avatar.fields.learned_condition import LearnedCondition
    from avatar.fields.speech_condition import SpeechCondition
    from avatar.gaussians import Gaussians
    from avatar.heads import Head
    from avatar.motion import Motion

# One unit of a residual: position in metres, log-scale, opacity logit, colour logit.
RESIDUAL_UNITS = torch.tensor([1e-3] * 3 + [0.2] * 3 + [0.5] + [0.3] * 3)
TORSO_POSITION_UNIT = 4e-3

# The last is what no frame shows of skin, scalp and torso.
REGIONS = ("skin", "scalp", "mouth", "eyes", "torso", "unseen")


@dataclass(frozen=True)
class Pose:
    """One moment of a motion as tensors: what moves the mesh and what conditions the residuals.

    Attributes:
        expression: (1, E).
        joints: (1, 5, 3) axis-angle of root, neck, jaw, left eye, right eye, radians.
        eyelids: (1, 2).
        transl: (1, 3) metres.
        torso: (1, 3) metres of the shoulders' own motion.
        condition: (K + D,) standardised components of the motion, then of the sound where the avatar listens to it.
    """

    expression: Float[Tensor, "1 E"]
    joints: Float[Tensor, "1 5 3"]
    eyelids: Float[Tensor, "1 2"]
    transl: Float[Tensor, "1 3"]
    torso: Float[Tensor, "1 3"]
    condition: Float[Tensor, " K+D"]


class Posable(Protocol):
    """What moves a mesh at B moments."""

    @property
    def expression(self) -> Float[Tensor, "B E"]: ...  # noqa: D102
    @property
    def joints(self) -> Float[Tensor, "B 5 3"]: ...  # noqa: D102
    @property
    def eyelids(self) -> Float[Tensor, "B 2"]: ...  # noqa: D102
    @property
    def transl(self) -> Float[Tensor, "B 3"]: ...  # noqa: D102
    @property
    def torso(self) -> Float[Tensor, "B 3"]: ...  # noqa: D102


class GaussianHead(nn.Module):
    """N Gaussians bound to the triangles of a head and of a torso that hangs on the head's root.

    Args:
        head: The parametric head; everything else lies on its device.
        betas: (S,) identity of the subject.
        torso_vertices: (M, 3) the torso's surface at rest, in the head's template space, metres.
        torso_faces: (Q, 3) its triangles; their indices count from the head's last vertex on.
        condition: Standardiser of the motion that drives the residuals.
        triangles: (N,) index of each Gaussian's triangle; the torso's follow the head's.
        barycentric: (N, 3) its anchor within the triangle.
        regions: (N,) index into ``REGIONS``.
        vertex_offsets: (V, 3) the subject's shape beyond the identity coefficients, metres; zero when None.
        sound: Standardiser of the sound that drives further residuals; None for an avatar that moves by motion alone.
    """

    betas: Tensor
    vertex_offsets: Tensor
    torso_vertices: Tensor
    torso_faces: Tensor
    triangles: Tensor
    barycentric: Tensor
    regions: Tensor
    _rest_sizes: Tensor
    _corners: Tensor
    _used_torso: Tensor
    _units: Tensor
    _root: Tensor

    def __init__(
        self,
        head: Head,
        betas: Float[Tensor, " S"],
        torso_vertices: Float[Tensor, "M 3"],
        torso_faces: Int[Tensor, "Q 3"],
        condition: MotionCondition | LearnedCondition,
        *,
        triangles: Int[Tensor, " N"],
        barycentric: Float[Tensor, "N 3"],
        regions: Int[Tensor, " N"],
        vertex_offsets: Float[Tensor, "V 3"] | None = None,
        sound: SpeechCondition | None = None,
    ) -> None:
        super().__init__()
        self.head = head.requires_grad_(False)
        self._subject = head.with_identity(betas, vertex_offsets)
        self.condition: MotionCondition | LearnedCondition = condition
        self.sound = sound
        for name, value in (
            ("betas", betas),
            ("vertex_offsets", torch.zeros_like(head.v_template) if vertex_offsets is None else vertex_offsets),
            ("torso_vertices", torso_vertices),
            ("torso_faces", torso_faces),
            ("triangles", triangles),
            ("barycentric", barycentric),
            ("regions", regions),
        ):
            self.register_buffer(name, value)
        count, components = len(triangles), condition.basis.shape[1] + (len(sound) if sound else 0)
        device = head.device
        self.offsets = nn.Parameter(torch.zeros(count, 3, device=device))
        self.log_scales = nn.Parameter(torch.full((count, 3), -7.0, device=device))
        self.quats = nn.Parameter(torch.tensor([1.0, 0, 0, 0], device=device).repeat(count, 1))
        self.opacity_logits = nn.Parameter(torch.zeros(count, device=device))
        self.color_logits = nn.Parameter(torch.zeros(count, 3, device=device))
        self.residuals = nn.Parameter(torch.zeros(count, 10, components, device=device))
        self._prepare()

    def _prepare(self) -> None:
        """Works out what follows from the buffers: the vertices in use and the triangles' sizes at rest."""
        corners = torch.cat([self.head.faces, self.torso_faces])[self.triangles]
        rest_sizes = triangle_frames(self.rest_vertices[corners]).sizes.clamp_min(1e-5)
        used, renumbered = torch.unique(corners, return_inverse=True)
        of_head = used[used < len(self.head.v_template)]
        self._used_subject = self._subject.subset(of_head)
        units = RESIDUAL_UNITS.to(self.regions.device).repeat(len(self.triangles), 1)
        units[self.regions == REGIONS.index("torso"), :3] = TORSO_POSITION_UNIT
        # They follow the module to another device, and are not stored with it.
        for name, value in (
            ("_rest_sizes", rest_sizes),
            ("_corners", renumbered.int()),
            ("_used_torso", self.torso_vertices[used[len(of_head) :] - len(self.head.v_template)]),
            ("_units", units),
            ("_root", self._subject.joints()[0, 0]),
        ):
            self.register_buffer(name, value, persistent=False)

    def __len__(self) -> int:
        return len(self.triangles)

    def rebind(
        self, triangles: Int[Tensor, " N"], barycentric: Float[Tensor, "N 3"], regions: Int[Tensor, " N"]
    ) -> None:
        """Binds the Gaussians to other triangles, in place; their number stays."""
        for name, value in (("triangles", triangles), ("barycentric", barycentric), ("regions", regions)):
            getattr(self, name).copy_(value)
        self._prepare()

    def subset(self, kept: Bool[Tensor, " N"]) -> GaussianHead:
        """A copy with some of the Gaussians only; with these alone it also costs less to pose."""
        part = GaussianHead(
            self.head,
            self.betas,
            self.torso_vertices,
            self.torso_faces,
            self.condition,
            triangles=self.triangles[kept],
            barycentric=self.barycentric[kept],
            regions=self.regions[kept],
            vertex_offsets=self.vertex_offsets,
            sound=self.sound,
        )
        with torch.no_grad():
            for name, value in part.named_parameters(recurse=False):
                value.copy_(getattr(self, name)[kept])
        return part.requires_grad_(self.offsets.requires_grad)

    def listen(self, sound: SpeechCondition) -> None:
        """Adds residuals that a sound drives, zero at first; only before training."""
        self.sound = sound.to(self.residuals.device)
        more = self.residuals.new_zeros(len(self), 10, len(sound))
        self.residuals = nn.Parameter(torch.cat([self.motion_residuals.detach(), more], 2))

    @property
    def rest_vertices(self) -> Float[Tensor, "V 3"]:
        """The subject's head in its neutral pose, then the torso; metres."""
        return torch.cat([self._subject.v_template, self.torso_vertices])

    @property
    def sunk_torso(self) -> Bool[Tensor, " N"]:
        """Which Gaussians are clothes that no frame shows, beneath their surface."""
        unseen = (self.regions == REGIONS.index("unseen")) & (self.triangles >= len(self.head.faces))
        return unseen & (self.offsets[:, 1] < 0)

    @property
    def motion_residuals(self) -> Float[Tensor, "N 10 K"]:
        """The residuals that the motion drives: all there is in a program without sound."""
        return self.residuals[..., : self.condition.basis.shape[1]]

    def poses(self, motion: Motion) -> list[Pose]:
        """The motion's moments as tensors; raises InputError when it does not fit the head model.

        Sound counts where it was prepared for this very avatar; any other, or none, is silence (zero).
        """
        if motion.head_hash != self.head.hash:
            raise InputError(
                "The motion belongs to another head model",
                expected=f"{self.head.id} ({self.head.hash[:12]})",
                found=f"{motion.head_id} ({motion.head_hash[:12]})",
                fix="use a motion that was tracked or made with this avatar's head",
            )
        components = self.head.exprdirs.shape[-1]
        if motion.expression.shape[1] != components:
            raise InputError(
                "The motion does not fit the head model",
                expected=f"{components} expression coefficients",
                found=str(motion.expression.shape[1]),
                fix="make the motion file again",
            )
        device = self.offsets.device
        conditions = self.condition(torch.as_tensor(motion_features(motion, self.head), device=device)).detach()
        if self.sound is not None:
            own = motion.sound_id == self.sound.id and motion.sound.shape[1] == len(self.sound)
            heard = motion.sound if own else np.zeros((len(motion), len(self.sound)), np.float32)
            heard = torch.as_tensor(heard, dtype=torch.float32, device=device).clamp(-LIMIT, LIMIT)
            conditions = torch.cat([conditions, heard], 1)
        tensors = [
            torch.as_tensor(value, dtype=torch.float32, device=device)
            for value in (motion.expression, motion.pose, motion.eyelids, motion.transl, motion.torso)
        ]
        return [
            Pose(*(value[i : i + 1] for value in tensors), condition=conditions[i])  # type: ignore[arg-type]
            for i in range(len(motion))
        ]

    def vertices(self, pose: Pose) -> Float[Tensor, "V 3"]:
        """The posed head, then the torso, which turns with the root and moves as the shoulders do; metres."""
        return self._posed(pose, self._subject, self.torso_vertices)[0]

    def carriers(self, pose: Pose) -> Float[Tensor, "U 3"]:
        """The posed vertices that ``rigged().corners`` refers to: those of a triangle with a Gaussian on it; metres."""
        return self.batch_carriers(pose)[0]

    def batch_carriers(self, moments: Posable) -> Float[Tensor, "B U 3"]:
        """`carriers` of several moments at once."""
        return self._posed(moments, self._used_subject, self._used_torso)

    def _posed(self, moments: Posable, subject: Head, torso: Float[Tensor, "M 3"]) -> Float[Tensor, "B V 3"]:
        head = subject(
            expression=moments.expression, pose=moments.joints, eyelids=moments.eyelids, transl=moments.transl
        )
        root = rotation_matrices(moments.joints[:, 0])
        shoulders = (torso - self._root) @ root.mT + self._root + (moments.transl + moments.torso)[:, None]
        return torch.cat([head, shoulders], 1)

    def residual(self, condition: Float[Tensor, " K+D"]) -> Float[Tensor, "N 10"]:
        """Residuals of all Gaussians for one condition, in units of ``RESIDUAL_UNITS``."""
        count, channels, components = self.residuals.shape
        return (self.residuals.view(count * channels, components) @ condition).view(count, channels)

    def rigged(self) -> RiggedGaussians:
        """The Gaussians in their triangles' frames, as the fused rasteriser takes them; the tensors are not copied."""
        return RiggedGaussians(
            corners=self._corners,
            barycentric=self.barycentric,
            rest_sizes=self._rest_sizes,
            offsets=self.offsets,
            log_scales=self.log_scales,
            quats=self.quats,
            opacity_logits=self.opacity_logits,
            color_logits=self.color_logits,
            units=self._units,
        )

    def forward(self, pose: Pose, residual: Float[Tensor, "N 10"] | None = None) -> Gaussians:
        """Gaussians in world space at one moment.

        Args:
            pose: The moment.
            residual: Overrides the residuals that the pose's condition asks for.
        """
        residual = self.residual(pose.condition) if residual is None else residual
        return place_gaussians(self.rigged(), self.carriers(pose), residual)
