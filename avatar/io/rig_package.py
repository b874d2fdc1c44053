"""A rigged avatar for players that are not ours: plain tensors, a JSON that names them, and how to play it.

In the folder, ``rig.safetensors`` holds the splats at rest with their binding and linear components, and the mesh with
skin and bases; ``rig.json`` says what is what; ``track.safetensors`` is a motion where one was asked for; ``README.md``
has the equations.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import save

from avatar.config import write_json
from avatar.fields.condition import JOINT_GAIN, LIMIT, NECK_GAIN
from avatar.fields.gaussian_head import REGIONS
from avatar.fields.rig import STRETCH_RANGE
from avatar.heads.layout import JOINTS, PARENTS

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

    from avatar.fields.gaussian_head import GaussianHead
    from avatar.heads import Head
    from avatar.motion import Motion

FORMAT, VERSION = "headsplat-rig", 1
HALF = ("expression_basis", "pose_basis", "eyelid_basis", "components")


@dataclass(frozen=True)
class RigManifest:
    """What ``rig.json`` says.

    Attributes:
        generator: What wrote it.
        head_id: The head model.
        head_licence: Licence of the head model's data, which the mesh and the bases are.
        head_source: Where that comes from.
        consent: The consent statement of the person shown, where one was given.
        gaussians: N.
        vertices: Of the head, then of the torso.
        tensors: Shape and meaning of each tensor, by name.
        arkit_names: The A actions of ``arkit_to_expression``, in its columns' order.
        arkit_joints: Turns of the joints at action = 1, axis-angle in radians, by action.
        joints: Names of the joints.
        parents: The parent of each joint; -1 for the root.
        regions: Names of the Gaussians' regions.
        condition_limit: The condition is held within plus and minus this.
        stretch_range: A triangle's stretch is held within this.
        axes: The axes.
        units: The units.
        track: Whether ``track.safetensors`` is there.
        format: What this is.
        version: Of this layout.
    """

    generator: str
    head_id: str
    head_licence: str
    head_source: str
    consent: str | None
    gaussians: int
    vertices: tuple[int, int]
    tensors: dict[str, dict[str, Any]]
    arkit_names: tuple[str, ...]
    arkit_joints: dict[str, dict[str, tuple[float, float, float]]]
    track: bool
    joints: tuple[str, ...] = JOINTS
    parents: tuple[int, ...] = PARENTS
    regions: tuple[str, ...] = REGIONS
    condition_limit: float = LIMIT
    stretch_range: tuple[float, float] = STRETCH_RANGE
    axes: str = "right-handed, +y up, +z out of the face, +x to the subject's left"
    units: str = "metres, radians, seconds; quaternions wxyz; colours sRGB, blended as they are"
    format: str = FORMAT
    version: int = VERSION


MEANINGS = {
    "triangles": "index into faces: the triangle each Gaussian rides on",
    "barycentric": "its anchor within the triangle",
    "rest_sizes": "size of its triangle at rest, metres",
    "offsets": "centre from the anchor in the triangle's frame, metres at rest",
    "log_scales": "logarithms of the standard deviations, metres at rest",
    "quats": "rotation in the triangle's frame, wxyz, to be normalised",
    "opacity_logits": "logit of the opacity",
    "color_logits": "logits of the sRGB colour",
    "regions": "index into the names of regions",
    "components": "added for each component of the condition: position, log-scales, opacity logit, colour logits",
    "component_units": "units of those ten numbers",
    "condition_gain": "from the inputs (expression, jaw, left eye, lids, root, neck) to the condition",
    "condition_bias": "added to that",
    "rest": "vertices at rest: the head's, then the torso's, metres",
    "faces": "triangles of both, counter-clockwise from outside",
    "uv": "texture coordinates of the head's triangles, v upwards",
    "weights": "skinning weights of the head's vertices",
    "rest_joints": "rest positions of the joints, metres",
    "expression_basis": "displacement of the head's vertices for one unit of each expression coefficient, metres",
    "pose_basis": "correctives, linear in R - I (row by row) of neck, jaw, left eye, right eye, metres",
    "eyelid_basis": "displacement for the left and the right lid closed, metres",
    "arkit_to_expression": "expression coefficients of one unit of each ARKit action",
}


def rig_tensors(gaussians: GaussianHead, subject: Head) -> dict[str, Tensor]:
    """All tensors of a rig, by the names of `MEANINGS`.

    Args:
        gaussians: The avatar.
        subject: Its head with the identity baked in.
    """
    rigged = gaussians.rigged()
    condition, parts = gaussians.condition, [subject.exprdirs.shape[-1], 3, 3, 2, 3, 3]
    # The gains and the change to ARKit weights are folded into one matrix over what a player has at hand.
    basis = condition.basis.double()
    to_arkit = subject.psi_to_arkit.double()
    rows = list(basis.split([len(basis) - sum(parts[1:]), *parts[1:]]))
    rows[0] = to_arkit.T @ rows[0] if to_arkit.numel() else rows[0]
    gains = (1.0, JOINT_GAIN, JOINT_GAIN, 1.0, NECK_GAIN, NECK_GAIN)
    tensors = {
        "triangles": gaussians.triangles.int(),
        "barycentric": rigged.barycentric,
        "rest_sizes": rigged.rest_sizes,
        "offsets": rigged.offsets,
        "log_scales": rigged.log_scales,
        "quats": rigged.quats,
        "opacity_logits": rigged.opacity_logits,
        "color_logits": rigged.color_logits,
        "regions": gaussians.regions.to(torch.uint8),
        "components": gaussians.motion_residuals.contiguous(),
        "component_units": rigged.units,
        "condition_gain": torch.cat([gain * row for gain, row in zip(gains, rows, strict=True)]).float(),
        "condition_bias": -(condition.mean.double() @ basis).float(),
        "rest": torch.cat([subject.v_template, gaussians.torso_vertices]),
        "faces": torch.cat([subject.faces, gaussians.torso_faces]).int(),
        "uv": subject.uv,
        "weights": subject.weights,
        "rest_joints": subject.joints()[0],
        "expression_basis": subject.exprdirs,
        "pose_basis": subject.posedirs,
        "eyelid_basis": subject.eyelid_dirs,
        "arkit_to_expression": subject.arkit_to_psi,
    }
    return {
        name: (value.half() if name in HALF else value).detach().cpu().contiguous() for name, value in tensors.items()
    }


def track_tensors(motion: Motion) -> dict[str, Tensor]:
    """A motion as a player needs it."""
    tensors = {
        "time": torch.as_tensor(motion.time - motion.time[0], dtype=torch.float64),
        "expression": torch.as_tensor(motion.expression),
        "pose": torch.as_tensor(motion.pose),
        "eyelids": torch.as_tensor(motion.eyelids),
        "transl": torch.as_tensor(motion.transl),
        "torso": torch.as_tensor(motion.torso),
    }
    return {name: value if name == "time" else value.float().contiguous() for name, value in tensors.items()}


def write_rig_package(
    folder: Path,
    gaussians: GaussianHead,
    subject: Head,
    *,
    motion: Motion | None,
    consent: str | None,
    generator: str,
) -> None:
    """Writes the package into a new folder.

    Args:
        folder: To be made.
        gaussians: The avatar.
        subject: Its head with the identity baked in.
        motion: A motion to take along.
        consent: The consent statement of the person shown.
        generator: What writes it.
    """
    folder.mkdir()
    tensors = rig_tensors(gaussians, subject)
    (folder / "rig.safetensors").write_bytes(save(tensors))
    if motion is not None:
        (folder / "track.safetensors").write_bytes(save(track_tensors(motion)))
    manifest = RigManifest(
        generator=generator,
        head_id=subject.id,
        head_licence=subject.licence,
        head_source=subject.source,
        consent=consent,
        gaussians=len(gaussians),
        vertices=(len(subject.v_template), len(gaussians.torso_vertices)),
        tensors={name: {"shape": list(value.shape), "meaning": MEANINGS[name]} for name, value in tensors.items()},
        arkit_names=subject.arkit_names,
        arkit_joints=arkit_joints(subject),
        track=motion is not None,
    )
    write_json(folder / "rig.json", manifest)
    (folder / "README.md").write_text(README)


def arkit_joints(head: Head) -> dict[str, dict[str, tuple[float, float, float]]]:
    """How the actions that are no expressions turn the joints; lids close by eyeBlink itself."""
    up, down, inwards, outwards = head.eye_look_angles
    turns: dict[str, dict[str, tuple[float, float, float]]] = {"jawOpen": {"jaw": (head.jaw_open_angle, 0.0, 0.0)}}
    # The subject's left eye lies at +x and turns about -y to look at the nose.
    for side, joint, inner in (("Left", "eye_l", -1.0), ("Right", "eye_r", 1.0)):
        turns[f"eyeLookUp{side}"] = {joint: (-up, 0.0, 0.0)}
        turns[f"eyeLookDown{side}"] = {joint: (down, 0.0, 0.0)}
        turns[f"eyeLookIn{side}"] = {joint: (0.0, inner * inwards, 0.0)}
        turns[f"eyeLookOut{side}"] = {joint: (0.0, -inner * outwards, 0.0)}
    return turns


README = """\
# How to play this avatar

`rig.json` names every tensor of `rig.safetensors` and gives the head model's licence. Right-handed, metres, +y up, +z
out of the face; quaternions wxyz. A moment is: expression `e` (E), axis-angle turns of root, neck, jaw, left eye, right
eye (radians), lids `l` (2, left and right, 0 open to 1 closed), translation `t` and the shoulders' own translation `s`
(metres, zero is fine).

**From ARKit's 52 weights `w`:** `e = arkit_to_expression @ w[arkit_names]`; the joints turn by the sum of
`arkit_joints[action] * w[action]`; `l = (eyeBlinkLeft, eyeBlinkRight)`. What neither names has no effect.

**1. Mesh.** With H head vertices, R_j the rotation matrix of joint j's turn (Rodrigues):

    shaped = rest[:H] + expression_basis @ e + eyelid_basis @ l + pose_basis @ flat(R_j - I for neck, jaw, eyes)
    G_j = G_parent(j) composed with (x -> R_j (x - rest_joints[j]) + rest_joints[j])
    head = sum over j of weights[:, j] * G_j(shaped) + t
    torso = R_root (rest[H:] - rest_joints[0]) + rest_joints[0] + t + s

**2. Condition.** `x = [e, jaw turn, left eye's turn, l, root's turn, neck's turn]`;
`c = clamp(x @ condition_gain + condition_bias, -condition_limit, condition_limit)`.

**3. Splats, in their triangles' frames.** `d = (components @ c) * component_units`; offsets += d[:3], log_scales +=
d[3:6], opacity_logits += d[6], color_logits += d[7:].

**4. Splats in the world.** With a, b, c the corners of the splat's triangle:

    u = normalize(b - a);  n = normalize(u x (c - a));  v = u x n;  F = columns (u, n, v)
    size = (|b - a| + |v . (c - a)|) / 2;  k = clamp(size / rest_sizes, stretch_range)
    mean = barycentric . (a, b, c) + k F offset;  rotation = F * normalize(quat);  scales = k exp(log_scales)
    opacity = sigmoid(opacity_logits);  colour = sigmoid(color_logits), sRGB

Draw as any 3D Gaussian splats: EWA projection, 0.3 square pixels added to the covariances, sorted by depth, colours
blended as they are. `track.safetensors`, where it is there, is a motion: time (T) in seconds, expression, pose
(T, 5, 3), eyelids, transl, torso.
"""
