"""Joints, skinning weights and pose correctives of the open head."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from avatar.heads.build.identity import rigid_fit
from avatar.heads.build.makehuman import BaseMesh, MakeHuman
from avatar.heads.build.meshes import neighbour_mean, row_count
from avatar.heads.build.surface import Surface
from avatar.heads.layout import JOINTS, POSE_FEATURES

if TYPE_CHECKING:
    from jaxtyping import Float

LOOKS = ("Up", "Down", "In", "Out")
# Features of a joint's R - I that are odd in the angle about x and about y: (row 1, col 2), (2, 1) and (0, 2), (2, 0).
X_MINUS, X_PLUS, Y_PLUS, Y_MINUS = 5, 7, 2, 6


@dataclass(frozen=True)
class Rig:
    """What poses the head.

    Attributes:
        J_regressor: (5, V) joints as affine functions of the vertices.
        weights: (V, 5) skinning weights.
        posedirs: (V, 3, 36) correctives, linear in R - I of the last four joints.
        jaw_open_angle: Jaw rotation at jawOpen = 1, radians.
        eye_look_angles: (4,) eye rotation at eyeLookUp, Down, In, Out = 1, radians.
    """

    J_regressor: Float[np.ndarray, "5 V"]
    weights: Float[np.ndarray, "V 5"]
    posedirs: Float[np.ndarray, "V 3 36"]
    jaw_open_angle: float
    eye_look_angles: Float[np.ndarray, " 4"]


def build_rig(
    data: MakeHuman, surface: Surface, mean: Float[np.ndarray, "V 3"], reference: Float[np.ndarray, "N 3"]
) -> Rig:
    """The rig of the mean head (V, 3); `reference` (N, 3) is the base mesh the surface was laid out on."""
    opened = surface.displacements(data.action("jawOpen"))
    teeth = surface.slice("teeth_lower")
    turn, shift = rigid_fit(mean[teeth], mean[teeth] + opened[teeth])
    angle = float(np.arctan2(turn[2, 1], turn[1, 1]))
    cosine, sine = np.cos(angle), np.sin(angle)
    turn = np.array([[1, 0, 0], [0, cosine, -sine], [0, sine, cosine]])
    # The axis is where a point of the sagittal plane stays: (I - R) c = t.
    shift = (mean[teeth] + opened[teeth]).mean(0) - turn @ mean[teeth].mean(0)
    jaw = np.r_[0, np.linalg.solve((np.eye(3) - turn)[1:, 1:], shift[1:])]
    regressor = _regressor(data.base, surface, mean, reference, jaw)
    jaw = regressor[2] @ mean
    weights = _weights(data, surface, mean, opened, jaw, turn)
    posedirs = np.zeros((len(mean), 3, POSE_FEATURES))
    corrective = unposed(mean, opened, pivot=jaw, turn=turn, share=weights[:, 2])
    # The lower teeth, the skull's and the eyes stay exactly rigid.
    for part in ("teeth_lower", "teeth_upper", "eye_l", "eye_r"):
        corrective[surface.slice(part)] = 0
    odd(posedirs, 9, X_PLUS, X_MINUS, corrective / sine)
    angles = [_follow(data, surface, reference, posedirs, side) for side in ("Left", "Right")]
    return Rig(regressor, weights, posedirs, angle, np.mean(angles, axis=0))


def odd(posedirs: np.ndarray, joint: int, plus: int, minus: int, per_sine: np.ndarray) -> None:
    """Adds a displacement per sine of the joint's angle, split over the two features that are odd in it."""
    posedirs[:, :, joint + plus] += per_sine / 2
    posedirs[:, :, joint + minus] -= per_sine / 2


def _regressor(
    base: BaseMesh, surface: Surface, mean: np.ndarray, reference: np.ndarray, jaw: np.ndarray
) -> Float[np.ndarray, "5 V"]:
    """Each joint as an affine combination (weights summing to one) of vertices around it."""
    skin = mean[surface.slice("skin")]
    drift = (skin - surface.positions(reference)[surface.slice("skin")]).mean(axis=0)
    low = reference[base.ids("joint-neck")].mean(axis=0) + drift
    high = reference[base.ids("joint-head")].mean(axis=0) + drift
    regressor = np.zeros((len(JOINTS), len(mean)))
    for row, centre in enumerate((low - [0, 0.01, 0], (low + high) / 2)):
        ring = np.abs(skin[:, 1] - centre[1]) < 0.012
        ring &= np.linalg.norm(skin[:, [0, 2]] - centre[[0, 2]], axis=1) < 0.09
        regressor[row, np.flatnonzero(ring)] = affine_weights(skin[ring], centre)
    teeth = np.arange(*surface.parts["teeth_lower"])[::7]
    offset = np.abs(skin - jaw - [0, 0.01, 0])
    hinge = (offset[:, 1] < 0.02) & (offset[:, 2] < 0.02) & (offset[:, 0] > 0.055) & (offset[:, 0] < 0.078)
    around = np.concatenate([teeth, np.flatnonzero(hinge)])
    regressor[2, around] = affine_weights(mean[around], jaw)
    for row, (part, eye) in enumerate(zip(("eye_l", "eye_r"), surface.eyes, strict=True), start=3):
        # The ball's directions are known, so the weights give its centre for every identity, not for this one only.
        spread = np.concatenate([eye.directions * (1 - eye.rigid), eye.directions * eye.rigid], axis=1)
        spread = spread[:, np.abs(spread).max(axis=0) > 0]
        system = np.concatenate([spread, np.ones((len(spread), 1))], axis=1).T
        goal = np.r_[np.zeros(spread.shape[1]), 1]
        regressor[row, surface.slice(part)] = np.linalg.lstsq(system, goal, rcond=None)[0]
    return regressor


def affine_weights(points: Float[np.ndarray, "n 3"], centre: Float[np.ndarray, " 3"]) -> Float[np.ndarray, " n"]:
    """Smallest weights with sum one whose mean is `centre`."""
    system = np.vstack([points.T, np.ones(len(points))])
    return np.linalg.lstsq(system, np.r_[centre, 1], rcond=None)[0]


def _weights(
    data: MakeHuman, surface: Surface, mean: np.ndarray, opened: np.ndarray, jaw: np.ndarray, turn: np.ndarray
) -> Float[np.ndarray, "V 5"]:
    """Skinning weights: the neck from MakeHuman's rig, the jaw from how far jawOpen follows its rotation."""
    weights = np.zeros((len(mean), len(JOINTS)))
    outer = row_count(surface.rows)
    bones = {"neck01": 0.3, "neck02": 0.6, "neck03": 0.9, "head*": 1.0}
    weights[:outer, 1] = np.clip(surface.rows @ data.bone_weight(bones), 0, 1)
    for part in ("teeth_upper", "lashes"):
        weights[surface.slice(part), 1] = 1
    skin = surface.slice("skin")
    arc = (mean - jaw) @ (turn - np.eye(3)).T
    share = np.clip((opened * arc).sum(axis=1) / np.maximum((arc * arc).sum(axis=1), 1e-9), 0, 1)
    share = np.where(np.linalg.norm(opened, axis=1) < 3e-4, 0, share)[skin]
    smooth = neighbour_mean(surface.faces[(surface.faces < skin.stop).all(axis=1)], skin.stop)
    for _ in range(3):
        share = 0.5 * share + 0.5 * (smooth @ share)
    weights[skin, 2] = share * weights[skin, 1]
    weights[skin, 1] *= 1 - share
    for part, joint in (("teeth_lower", 2), ("tongue", 2), ("eye_l", 3), ("eye_r", 4)):
        weights[surface.slice(part), 1] = 0
        weights[surface.slice(part), joint] = 1
    weights[:, 0] = 1 - weights[:, 1:].sum(axis=1)
    return weights


def unposed(
    mean: Float[np.ndarray, "V 3"],
    moved: Float[np.ndarray, "V 3"],
    *,
    pivot: Float[np.ndarray, " 3"],
    turn: Float[np.ndarray, "3 3"],
    share: Float[np.ndarray, " V"],
) -> Float[np.ndarray, "V 3"]:
    """The displacement before skinning that a joint's turn about `pivot`, weighted by `share`, carries to `moved`."""
    blended = np.eye(3) + share[:, None, None] * (turn - np.eye(3))
    before = np.linalg.solve(blended, (mean + moved - pivot)[..., None])[..., 0]
    return before + pivot - mean


def _follow(
    data: MakeHuman, surface: Surface, reference: np.ndarray, posedirs: np.ndarray, side: str
) -> Float[np.ndarray, " 4"]:
    """Adds the lids' following of one eye's gaze to `posedirs`; returns the eye's angles at the four looks."""
    index = 0 if side == "Left" else 1
    ids = surface.eyes[index].ids
    angles = {}
    lids = {}
    for look in LOOKS:
        moved = data.action(f"eyeLook{look}{side}")
        turn, _ = rigid_fit(reference[ids], reference[ids] + moved[ids])
        angles[look] = np.array([turn[2, 1] - turn[1, 2], turn[0, 2] - turn[2, 0], turn[1, 0] - turn[0, 1]]) / 2
        lid = surface.displacements(moved)
        lid[surface.parts["eye_l"][0] :] = 0
        lids[look] = lid
    joint = 9 * (2 + index)
    vertical = (lids["Down"] - lids["Up"]) / (angles["Down"][0] - angles["Up"][0])
    sideways = (lids["In"] - lids["Out"]) / (angles["In"][1] - angles["Out"][1])
    odd(posedirs, joint, X_PLUS, X_MINUS, vertical)
    odd(posedirs, joint, Y_PLUS, Y_MINUS, sideways)
    return np.array([np.arcsin(np.linalg.norm(angles[look])) for look in LOOKS])
