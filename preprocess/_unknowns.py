"""What the tracker solves for, and how it becomes pixels."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from roma import rotmat_to_rotvec, special_gramschmidt

from avatar.heads.lbs import rotation_matrices
from avatar.motion import Motion

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

    from avatar.heads import Head
    from avatar.preprocess._landmark_model import PointModel


@dataclass(frozen=True)
class Shared:
    """Unknowns of the clip.

    Attributes:
        betas: (S,) identity.
        log_focal: () logarithm of the focal length in pixels.
        offsets: (3, 478) corrections of the landmarks on the head at rest, metres.
        root: (3,) axis-angle of the root (the bust).
        vergence: () inward turn of each eye, radians.
    """

    betas: Float[Tensor, " S"]
    log_focal: Float[Tensor, ""]
    offsets: Float[Tensor, "3 L"]
    root: Float[Tensor, " 3"]
    vergence: Float[Tensor, ""]

    @classmethod
    def of_arrays(cls, arrays: dict[str, np.ndarray], device: torch.device) -> Shared:
        """Those that `to_arrays` gave, on a device."""
        return cls(**{name: torch.from_numpy(value).to(device) for name, value in arrays.items()})

    def to_arrays(self) -> dict[str, np.ndarray]:
        """Their values by name, as a take keeps them."""
        return {name: value.cpu().numpy() for name, value in vars(self).items()}


@dataclass(frozen=True)
class PerFrame:
    """Unknowns of T frames.

    Attributes:
        neck: (T, 3, 2) two columns whose Gram-Schmidt basis is the neck's rotation: continuous, unlike three numbers
            (Zhou et al., "On the Continuity of Rotation Representations in Neural Networks", 2019).
        place: (T, 3) x and y of the anchor, a point between the eyes, in metres, and the logarithm of its scale in
            metres a pixel. Its depth is focal x scale. A turn of the head about the anchor, or another focal length,
            then hardly moves the picture, which an optimiser with one step size for each unknown needs.
        jaw: (T, 3) axis-angle.
        gaze: (T, 2) pitch and yaw of both eyes, radians.
        lids: (T, 2) closure of the left and the right lid.
        actions: (T, A) ARKit weights (negative ones count as 0), or expression coefficients.
    """

    neck: Float[Tensor, "T 3 2"]
    place: Float[Tensor, "T 3"]
    jaw: Float[Tensor, "T 3"]
    gaze: Float[Tensor, "T 2"]
    lids: Float[Tensor, "T 2"]
    actions: Float[Tensor, "T A"]

    def __len__(self) -> int:
        return len(self.place)

    def __getitem__(self, index: slice | Tensor) -> PerFrame:
        return replace(self, **{f.name: getattr(self, f.name)[index] for f in fields(self)})


@dataclass(frozen=True)
class Pinhole:
    """A front camera with the head's reference point: metres to pixels.

    Attributes:
        width: Picture width in pixels.
        height: Picture height in pixels.
        anchor: (3,) the point of the average head at rest that `PerFrame.place` puts, metres.
        pivots: (2, 3) rest positions of the average head's root and neck joints, metres.
        arkit: Whether actions are ARKit weights, which are never negative.
    """

    width: int
    height: int
    anchor: Float[Tensor, " 3"]
    pivots: Float[Tensor, "2 3"]
    arkit: bool

    def rotations(self, shared: Shared, frames: PerFrame) -> Float[Tensor, "T 5 3 3"]:
        """Local rotations of the five joints."""
        count = len(frames)
        neck = special_gramschmidt(frames.neck)
        left, right = eye_poses(shared, frames)
        rest = rotation_matrices(torch.stack([shared.root.expand(count, 3), frames.jaw, left, right], 1))
        return torch.cat([rest[:, :1], neck[:, None], rest[:, 1:]], 1)

    def weights(self, frames: PerFrame) -> Float[Tensor, "T A"]:
        """Coefficients that the model's deformation basis takes."""
        return frames.actions.relu() if self.arkit else frames.actions

    def translation(
        self, shared: Shared, frames: PerFrame, *, rotations: Float[Tensor, "T 5 3 3"]
    ) -> Float[Tensor, "T 3"]:
        """Translation of the head model, metres."""
        x, y, scale = frames.place.unbind(1)
        return torch.stack([x, y, -(shared.log_focal + scale).exp()], 1) - self.turned_anchor(rotations)

    def turned_anchor(self, rotations: Float[Tensor, "T 5 3 3"]) -> Float[Tensor, "T 3"]:
        """The anchor after the turns of root and neck alone, metres."""
        root, neck = self.pivots
        turned = rotations[:, 1] @ (self.anchor - neck) + neck - root
        return (rotations[:, 0] @ turned[..., None])[..., 0] + root

    def points(self, model: PointModel, shared: Shared, frames: PerFrame) -> Float[Tensor, "T 3 P"]:
        """Posed points in the camera's world, metres."""
        with_offsets = shared.offsets if shared.offsets.shape == model.rest.shape else None
        points, joints = model.identity(shared.betas, with_offsets)
        rotations = self.rotations(shared, frames)
        posed = model.pose(points, joints, rotations=rotations, actions=self.weights(frames), lids=frames.lids)
        return posed + self.translation(shared, frames, rotations=rotations)[..., None]

    def project(self, points: Float[Tensor, "T 3 P"], shared: Shared) -> Float[Tensor, "T 2 P"]:
        """Pixels of points, for the camera `avatar.cameras.Camera.front`."""
        x, y, z = points.unbind(1)
        scale = shared.log_focal.exp() / z
        return torch.stack([self.width / 2 - x * scale, self.height / 2 + y * scale], 1)

    def slopes(
        self, points: Float[Tensor, "T 3 P"], shared: Shared, *, moves: Float[Tensor, "T n 3 P"]
    ) -> Float[Tensor, "T n 2 P"]:
        """How the pixels of `points` move when the points move by each of n `moves`, to first order."""
        x, y, z = (row[:, None] for row in points.unbind(1))
        focal = shared.log_focal.exp() / z
        across = focal * (x / z * moves[:, :, 2] - moves[:, :, 0])
        down = focal * (moves[:, :, 1] - y / z * moves[:, :, 2])
        return torch.stack([across, down], 2)

    def pixels(self, model: PointModel, shared: Shared, frames: PerFrame) -> Float[Tensor, "T 2 P"]:
        """Where the model's points appear."""
        return self.project(self.points(model, shared, frames), shared)


def eye_poses(shared: Shared, frames: PerFrame) -> tuple[Float[Tensor, "T 3"], Float[Tensor, "T 3"]]:
    """Axis-angles of the left and the right eye: one gaze, turned inwards by the vergence.

    The subject's left eye lies at +x, so that inwards is a negative turn about +y.
    """
    pitch, yaw = frames.gaze.unbind(1)
    zero = torch.zeros_like(pitch)
    return (
        torch.stack([pitch, yaw - shared.vergence, zero], 1),
        torch.stack([pitch, yaw + shared.vergence, zero], 1),
    )


def frames_of(motion: Motion, shared: Shared, camera: Pinhole, *, head: Head) -> PerFrame:
    """The inverse of `to_motion`; an expression becomes the nearest one that the head model's actions make."""
    joints, transl, expression, eyelids = (
        torch.as_tensor(values, dtype=torch.float32, device=head.device)
        for values in (motion.pose, motion.transl, motion.expression, motion.eyelids)
    )
    rotations = rotation_matrices(joints)
    moved = transl + camera.turned_anchor(rotations)
    return PerFrame(
        neck=rotations[:, 1, :, :2],
        place=torch.cat([moved[:, :2], (-moved[:, 2:]).log() - shared.log_focal], 1),
        jaw=joints[:, 2],
        gaze=joints[:, 3, :2] + torch.stack([torch.zeros_like(shared.vergence), shared.vergence]),
        lids=eyelids,
        actions=(expression @ head.psi_to_arkit.T).relu() if camera.arkit else expression,
    )


def to_motion(
    shared: Shared, frames: PerFrame, camera: Pinhole, *, head: Head, time: Float[np.ndarray, " T"]
) -> Motion:
    """The solution as the motion of a head model."""
    with torch.no_grad():
        left, right = eye_poses(shared, frames)
        weights = camera.weights(frames)
        expression = weights @ head.arkit_to_psi.T if camera.arkit else weights
        rows = {
            "expression": expression,
            "global_orient": shared.root.expand(len(frames), 3),
            "neck_pose": rotmat_to_rotvec(special_gramschmidt(frames.neck)),
            "jaw_pose": frames.jaw,
            "leye_pose": left,
            "reye_pose": right,
            "eyelids": frames.lids.clamp(0, 1),
            "transl": camera.translation(shared, frames, rotations=camera.rotations(shared, frames)),
        }
        arrays = {name: value.detach().cpu().numpy().astype(np.float32) for name, value in rows.items()}
        betas = shared.betas.detach().cpu().numpy().astype(np.float32)
    return Motion(time=np.asarray(time, np.float64), betas=betas, head_id=head.id, head_hash=head.hash, **arrays)
