"""The avatar as splats that the browser draws."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch

from avatar.render._reference import rotation_matrices

if TYPE_CHECKING:
    import viser
    from jaxtyping import Float

    from avatar.gaussians import Gaussians

NODE = "/avatar"
# The browser gets covariances in half precision, in which a square millimetre in square metres is all but zero.
ENLARGED = 100.0


class SplatArrays(NamedTuple):
    """Gaussians as the browser takes them, lengths times `ENLARGED`."""

    centers: Float[np.ndarray, "N 3"]
    covariances: Float[np.ndarray, "N 3 3"]
    rgbs: Float[np.ndarray, "N 3"]
    opacities: Float[np.ndarray, "N 1"]


def splat_arrays(world: Gaussians) -> SplatArrays:
    """World-space Gaussians as centres, covariances, colours and opacities."""
    with torch.no_grad():
        spread = ENLARGED * rotation_matrices(world.quats) * world.scales[:, None, :]
        covariances = spread @ spread.mT
        tensors = (ENLARGED * world.means, covariances, world.colors.clamp(0, 1), world.opacities[:, None])
        return SplatArrays(*(tensor.cpu().numpy() for tensor in tensors))


class Splats:
    """The avatar's node in the browser's scene.

    Args:
        server: The viewer's server.
    """

    def __init__(self, server: viser.ViserServer) -> None:
        self._server = server
        self._handle: viser.GaussianSplatHandle | None = None

    def show(self, world: Gaussians) -> None:
        """Replaces all Gaussians at once."""
        arrays = splat_arrays(world)
        if self._handle is None:
            self._handle = self._server.scene.add_gaussian_splats(NODE, *arrays, scale=1 / ENLARGED)
        else:
            self._handle.set_gaussians(*arrays)

    def hide(self) -> None:
        """Takes the node out of the scene."""
        if self._handle is not None:
            self._handle.remove()
            self._handle = None
