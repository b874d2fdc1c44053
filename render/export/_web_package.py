"""The web player's package: an avatar as one block of small integers and the JSON that says what they mean.

Everything is laid out as structure of arrays, little-endian. docs/web.md describes it field by field.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from avatar.errors import InputError
from avatar.fields.condition import JOINT_GAIN, LIMIT, NECK_GAIN
from avatar.fields.gaussian_head import RESIDUAL_UNITS
from avatar.fields.rig import STRETCH_RANGE
from avatar.heads.layout import PARENTS
from avatar.render.export._web_track import is_spanned

if TYPE_CHECKING:
    from jaxtyping import Float, Int

    from avatar.fields.gaussian_head import GaussianHead

SCHEMA = 1
ALIGNMENT = 16
LARGEST_INDEX = 65535
OFFSET_STEP = 1e-5
# Four bits hold -7 to 7 steps. A finer step costs bytes and shows nothing; the few residuals beyond are cut.
RESIDUAL_LEVELS = 7
RESIDUAL_STEP = 0.06
RESIDUAL_QUANTILE = 0.995
# What a corrective's last components add is far below a pixel.
CORRECTIVE_TOLERANCE = 5e-6
HIGHEST_OPACITY_LOGIT = 8.0


@dataclass
class Block:
    """Arrays one after another in one file, each at a multiple of 16 bytes, and where each lies.

    Attributes:
        arrays: By name: byte offset, type and shape.
    """

    arrays: dict[str, dict[str, Any]] = field(default_factory=dict)
    _parts: list[bytes] = field(default_factory=list)
    _size: int = 0

    def add(self, name: str, values: np.ndarray) -> None:
        """Appends an array under a name."""
        stored = np.ascontiguousarray(values)
        stored = stored.astype(stored.dtype.newbyteorder("<"))
        kind = {"u": "u", "i": "i", "f": "f"}[stored.dtype.kind] + str(8 * stored.dtype.itemsize)
        self.arrays[name] = {"offset": self._size, "type": kind, "shape": list(stored.shape)}
        padded = stored.tobytes() + bytes(-stored.nbytes % ALIGNMENT)
        self._parts.append(padded)
        self._size += len(padded)

    def add_scaled(self, name: str, values: Float[np.ndarray, "*n C"], kind: type[np.unsignedinteger]) -> None:
        """Appends values as integers over each last dimension's range, and that range as ``{name}_range`` (2, C)."""
        low, high = values.reshape(-1, values.shape[-1]).min(0), values.reshape(-1, values.shape[-1]).max(0)
        levels = np.iinfo(kind).max
        scaled = (values - low) / np.maximum(high - low, 1e-12) * levels
        self.add(name, np.rint(scaled).astype(kind))
        self.add(f"{name}_range", np.stack([low, high]).astype(np.float32))

    def tobytes(self) -> bytes:
        """The file's content."""
        return b"".join(self._parts)


def pack_gaussians(head: GaussianHead) -> tuple[dict[str, Any], bytes]:
    """What the player needs to deform and draw an avatar: the entries of ``avatar.json`` and the bytes they refer to.

    Only vertices and triangles that carry a Gaussian are kept. Gaussians are ordered by triangle, and so are the
    triangles, so that a count for each triangle says which Gaussians it carries.

    Raises:
        InputError: The head model has more vertices or triangles in use than 16 bits count.
    """
    block = Block()
    order = torch.argsort(head.triangles, stable=True)
    corners = head.rigged().corners.numpy()[order.numpy()]
    _, first, counts = np.unique(head.triangles.numpy(), return_index=True, return_counts=True)
    faces = corners[np.searchsorted(head.triangles[order].numpy(), head.triangles.numpy()[first])]
    vertices = int(corners.max()) + 1
    if max(vertices, len(faces), int(counts.max())) > LARGEST_INDEX:
        raise InputError(
            "The avatar is too large for the web player",
            expected=f"at most {LARGEST_INDEX} vertices and triangles with Gaussians",
            found=f"{vertices} vertices, {len(faces)} triangles",
            fix="choose another --format, or a head model with fewer vertices",
        )
    block.add("faces", faces.astype(np.uint16))
    block.add("face_counts", counts.astype(np.uint16))
    rig = _add_rig(block, head)
    _add_splats(block, head, order.numpy())
    _add_residuals(block, head, order.numpy())
    entries = {
        "gaussians": len(head),
        "components": head.motion_residuals.shape[2],
        "limit": LIMIT,
        "gains": {"joint": JOINT_GAIN, "neck": NECK_GAIN},
        "stretch": list(STRETCH_RANGE),
        **rig,
        "arrays": block.arrays,
    }
    return entries, block.tobytes()


def _add_rig(block: Block, head: GaussianHead) -> dict[str, Any]:
    """The mesh at rest and what moves it."""
    model, subject, torso = head.head, head._used_subject, head._used_torso
    block.add_scaled("vertices", torch.cat([subject.v_template, torso]).numpy(), np.uint16)
    block.add("weights", np.rint(subject.weights.numpy() * 255).astype(np.uint8))
    block.add("joints", subject.joints()[0].numpy())
    # Where the basis is spanned by ARKit's actions, these move fewer vertices each than the basis' own directions.
    spanned = is_spanned(model)
    directions = subject.exprdirs @ model.arkit_to_psi if spanned else subject.exprdirs
    if not spanned and model.arkit_to_psi.numel():
        block.add("actions_to_directions", model.arkit_to_psi.numpy())
        block.add("directions_to_features", model.psi_to_arkit.numpy())
    correctives, from_pose = _low_rank(subject.posedirs.numpy())
    block.add("pose_to_correctives", from_pose)
    moves = np.concatenate([directions.numpy(), subject.eyelid_dirs.numpy(), correctives], axis=2)
    _add_sparse(block, moves)
    block.add("condition_mean", head.condition.mean.numpy())
    block.add("condition_basis", head.condition.basis.numpy())
    return {
        "parents": list(PARENTS),
        "head_vertices": len(subject.v_template),
        "actions": list(model.arkit_names),
        "directions": directions.shape[2],
        "correctives": correctives.shape[2],
        "jaw_open_angle": model.jaw_open_angle,
        "eye_look_angles": list(model.eye_look_angles),
        "head": {"id": model.id, "licence": model.licence, "source": model.source},
    }


def _low_rank(posedirs: Float[np.ndarray, "V 3 36"]) -> tuple[Float[np.ndarray, "V 3 R"], Float[np.ndarray, "R 36"]]:
    """Few directions and the map from pose features to them, which together make the same correctives."""
    left, strength, right = np.linalg.svd(posedirs.reshape(-1, posedirs.shape[2]), full_matrices=False)
    reach = np.abs(left * strength).max(0, initial=0)
    kept = np.flatnonzero(reach > CORRECTIVE_TOLERANCE)
    directions = (left * strength)[:, kept].reshape(*posedirs.shape[:2], len(kept))
    return directions.astype(np.float32), right[kept].astype(np.float32)


def _add_sparse(block: Block, moves: Float[np.ndarray, "V 3 D"]) -> None:
    """Displacements as bytes over each direction's largest, without the vertices that a direction does not move."""
    scales = np.maximum(np.abs(moves).max((0, 1)), 1e-9) / 127
    rounded = np.rint(moves / scales).astype(np.int8)
    moved = (rounded != 0).any(1)
    block.add("move_counts", moved.sum(0).astype(np.uint16))
    block.add("move_vertices", np.concatenate([np.flatnonzero(column) for column in moved.T]).astype(np.uint16))
    block.add("moves", np.concatenate([rounded[column, :, d] for d, column in enumerate(moved.T)]))
    block.add("move_scales", scales.astype(np.float32))


def _add_splats(block: Block, head: GaussianHead, order: Int[np.ndarray, " N"]) -> None:
    """Where each Gaussian sits in its triangle, and its looks; a plane for each channel."""
    with torch.no_grad():
        quats = torch.nn.functional.normalize(head.quats, dim=-1).numpy()[order]
        opacities = head.opacity_logits.clamp(max=HIGHEST_OPACITY_LOGIT).numpy()[order, None]
        colors = head.color_logits.sigmoid().numpy()[order]
        log_scales, offsets = head.log_scales.numpy()[order], head.offsets.numpy()[order]
    block.add("barycentric", np.rint(head.barycentric.numpy()[order, :2].T * 255).astype(np.uint8))
    block.add("offsets", np.rint(offsets.T / OFFSET_STEP).clip(-32767, 32767).astype(np.int16))
    block.add("offset_step", np.array([OFFSET_STEP], np.float32))
    block.add("quats", np.rint(quats.T * 127).astype(np.int8))
    block.add_scaled("log_scales", log_scales, np.uint8)
    block.add_scaled("opacity_logits", opacities, np.uint8)
    block.add("colors", np.rint(colors.T * 255).astype(np.uint8))


def _add_residuals(block: Block, head: GaussianHead, order: Int[np.ndarray, " N"]) -> None:
    """Residuals as four bits each, two Gaussians a byte; a step for each kind of unit, component and channel."""
    values = head.motion_residuals.numpy()[order].transpose(2, 1, 0)
    units, kinds = np.unique(head._units.numpy()[order], axis=0, return_inverse=True)
    kinds = kinds.reshape(-1)
    steps = np.stack([_residual_steps(values[..., kinds == kind], unit) for kind, unit in enumerate(units)])
    levels = np.rint(values / steps[kinds].transpose(1, 2, 0)).clip(-RESIDUAL_LEVELS, RESIDUAL_LEVELS).astype(np.int8)
    even = np.pad(levels, ((0, 0), (0, 0), (0, levels.shape[2] % 2))) + 8
    block.add("residuals", (even[..., ::2] | even[..., 1::2] << 4).astype(np.uint8))
    block.add("residual_steps", steps.astype(np.float32))
    block.add("units", units.astype(np.float32))
    block.add("unit_kinds", kinds.astype(np.uint8))


def _residual_steps(values: Float[np.ndarray, "K 10 n"], unit: Float[np.ndarray, " 10"]) -> Float[np.ndarray, "K 10"]:
    """The step of each component and channel: as fine as the range allows, but not finer than the eye sees."""
    reach = np.quantile(np.abs(values), RESIDUAL_QUANTILE, axis=2) / RESIDUAL_LEVELS
    finest = RESIDUAL_STEP * RESIDUAL_UNITS.numpy() / unit
    return np.maximum(reach, finest)
