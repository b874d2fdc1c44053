"""Gaussians bound to a head and torso as another avatar's are."""

from __future__ import annotations

from typing import Any

from avatar.fields.gaussian_head import GaussianHead


def bound_like(other: GaussianHead, **changes: Any) -> GaussianHead:
    """Gaussians with fresh parameters on the triangles of another's; `changes` are of the constructor's arguments."""
    names = ("head", "betas", "torso_vertices", "torso_faces", "condition", "triangles", "barycentric", "regions")
    return GaussianHead(**{name: getattr(other, name) for name in names} | changes)
