"""The expression basis: ARKit actions as uncentred principal components, with an invertible map to both."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from avatar.heads.build.makehuman import FACE_UNITS, MakeHuman
from avatar.heads.build.rig import Rig
from avatar.heads.build.surface import Surface

if TYPE_CHECKING:
    from jaxtyping import Float

# Actions that joints and lids make instead of the basis.
POSED = ("jawOpen", "eyeBlink", "eyeLook")
DRAWS = 6000
# Parts that no expression may move: the skull's teeth, and the balls that turn about their joints.
SKULL = ("teeth_upper", "eye_l", "eye_r")


def expression_actions(data: MakeHuman) -> list[str]:
    """The actions of the basis, sorted by name."""
    return [name for name in data.names(FACE_UNITS) if not name.startswith(POSED)]


def action_directions(data: MakeHuman, surface: Surface, names: list[str]) -> Float[np.ndarray, "V 3 A"]:
    """Displacements of the head under one unit of every action, metres."""
    directions = np.stack([surface.displacements(data.action(name)) for name in names], axis=-1)
    for part in SKULL:
        directions[surface.slice(part)] = 0
    return directions


def with_open_jaw(
    actions: Float[np.ndarray, "V 3 A"], names: list[str], mean: Float[np.ndarray, "V 3"], rig: Rig
) -> Float[np.ndarray, "V 3 A"]:
    """The actions with mouthClose turned back, so that the jaw's rotation carries it where it was sculpted.

    mouthClose closes the lips over an open jaw and is sculpted on top of jawOpen; skinning would turn it by the jaw's
    angle once more.
    """
    cosine, sine = np.cos(rig.jaw_open_angle), np.sin(rig.jaw_open_angle)
    turn = np.array([[1, 0, 0], [0, cosine, -sine], [0, sine, cosine]])
    blended = np.eye(3) + rig.weights[:, 2, None, None] * (turn - np.eye(3))
    changed = actions.copy()
    index = names.index("mouthClose")
    changed[..., index] = np.linalg.solve(blended, actions[..., index, None])[..., 0]
    return changed


def principal_expressions(
    actions: Float[np.ndarray, "V 3 A"], names: list[str], importance: Float[np.ndarray, " V"], *, seed: int
) -> tuple[Float[np.ndarray, "V 3 A"], Float[np.ndarray, "A A"]]:
    """Uncentred principal components of random faces that the actions make; all components are kept.

    Returns:
        Directions (V, 3, A) of one standard deviation in order of their share, and the (A, A) matrix from action
        weights to coefficients.
    """
    root = np.sqrt(importance / importance.mean())
    rows = (actions * root[:, None, None]).reshape(-1, len(names))
    draws = _random_faces(names, np.random.default_rng(seed))
    spectrum, vectors = np.linalg.eigh(draws.T @ draws / DRAWS)
    spread = (vectors * np.sqrt(spectrum)) @ vectors.T
    values, turn = np.linalg.eigh(spread @ (rows.T @ rows) @ spread)
    turn = turn[:, np.argsort(-values, kind="stable")]
    to_actions = spread @ turn
    to_actions *= np.sign(to_actions[np.abs(to_actions).argmax(axis=0), np.arange(len(names))])
    return actions @ to_actions, np.linalg.inv(to_actions)


def _random_faces(names: list[str], rng: np.random.Generator) -> Float[np.ndarray, "n A"]:
    """Sparse non-negative weights; left and right of an action go together, opposites never do."""
    stems = [_stem(name) for name in names]
    order = sorted(set(stems))
    on = rng.random((DRAWS, len(order))) < 0.22
    strength = np.where(on, rng.beta(1, 2.2, (DRAWS, len(order))), 0)
    weights = strength[:, [order.index(stem) for stem in stems]]
    paired = np.array([stem != name for stem, name in zip(stems, names, strict=True)])
    weights = weights * np.where(paired, np.clip(1 + rng.normal(0, 0.25, weights.shape), 0, 1.4), 1)
    for one, other in (("jawLeft", "jawRight"), ("mouthLeft", "mouthRight")):
        first = rng.random(DRAWS) < 0.5
        weights[first, names.index(one)] = 0
        weights[~first, names.index(other)] = 0
    return weights.clip(0, 1)


def _stem(name: str) -> str:
    if name in {"jawLeft", "jawRight", "mouthLeft", "mouthRight"}:
        return name
    return name.removesuffix("Left").removesuffix("Right")
