"""The rasteriser in plain torch, tile by tile: for machines without the native library, and for any float type.

It is the reference applied to each tile's own Gaussians. Its memory is bounded however many Gaussians there are: a tile
keeps nothing for the backward pass but which Gaussians it saw, and is computed again there.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.autograd.function import once_differentiable

from avatar.render._reference import MIN_ALPHA, Splats, blend, make_splats, pixel_centers

TILE = 16
# Pairs of a pixel and a Gaussian that are blended at once: about 200 MB with what their backward pass needs.
MAX_PAIRS = 1 << 22
# A splat is listed in tiles this much further out than where its alpha falls under 1/255, so that rounding drops none.
MARGIN_PIXELS = 0.01


def rasterize_tiled(
    means: Float[Tensor, "N 3"],
    quats: Float[Tensor, "N 4"],
    scales: Float[Tensor, "N 3"],
    opacities: Float[Tensor, " N"],
    colors: Float[Tensor, "N K"],
    viewmat: Float[Tensor, "4 4"],
    K: Float[Tensor, "3 3"],
    width: int,
    height: int,
    *,
    background: Float[Tensor, " K"] | None = None,
    near: float = 0.01,
    eps2d: float = 0.3,
    alpha_max: float = 0.999,
    recompute: bool = True,
) -> tuple[Float[Tensor, "H W K"], Float[Tensor, "H W 1"]]:
    """Renders one camera as `rasterize_reference` does, with the arguments of `avatar.render.rasterize`.

    `recompute` False keeps what the backward pass needs, about 50 bytes for each pair of a Gaussian and a pixel of a
    tile that it touches, which is faster where there is room for it.
    """
    splats = make_splats(means, quats, scales, opacities, colors, viewmat, K, width, height, near=near, eps2d=eps2d)
    across, down = -(-width // TILE), -(-height // TILE)
    with torch.no_grad():
        listed, counts = _tile_lists(splats, width, height)
    # One gather for all tiles: its backward pass is one sum, and not one as long as all Gaussians for every tile.
    values = (splats.centers, torch.linalg.inv(splats.covariances), splats.opacities, splats.colors)
    of_tiles = zip(*(torch.split(value[listed], counts) for value in values), strict=True)
    pixels = pixel_centers(across * TILE, down * TILE, means).view(down, TILE, across, TILE, 2)
    pixels = pixels.transpose(1, 2).reshape(across * down, TILE * TILE, 2)

    blend_tile = _RecomputedBlend.apply if recompute else _plain_blend
    parts = []
    for tile, splats_of_tile in enumerate(of_tiles):
        chunk = max(1, min(TILE * TILE, MAX_PAIRS // max(counts[tile], 1)))
        parts += [blend_tile(alpha_max, some, *splats_of_tile) for some in torch.split(pixels[tile], chunk)]
    tiles = torch.cat(parts).view(down, across, TILE, TILE, -1).transpose(1, 2)
    both = tiles.reshape(down * TILE, across * TILE, -1)[:height, :width]
    image, alpha = both[..., :-1], both[..., -1:]
    return image if background is None else image + (1 - alpha) * background, alpha


def _plain_blend(alpha_max: float, pixels: Tensor, *splats: Tensor) -> Float[Tensor, "P K+1"]:
    centers, conics, opacities, colors = splats
    return torch.cat(blend(pixels, centers, conics, opacities, colors, alpha_max=alpha_max), -1)


class _RecomputedBlend(torch.autograd.Function):
    """The blend of some pixels, which keeps its inputs alone and blends again in the backward pass."""

    @staticmethod
    def forward(ctx, alpha_max, pixels, *splats):
        ctx.alpha_max = alpha_max
        ctx.save_for_backward(pixels, *splats)
        return _plain_blend(alpha_max, pixels, *splats)

    @staticmethod
    @once_differentiable
    def backward(ctx, v_blended):
        pixels, *splats = ctx.saved_tensors
        leaves = [splat.detach().requires_grad_() for splat in splats]
        with torch.enable_grad():
            blended = _plain_blend(ctx.alpha_max, pixels, *leaves)
        return None, None, *torch.autograd.grad(blended, leaves, v_blended)


def _tile_lists(splats: Splats, width: int, height: int) -> tuple[Int[Tensor, " L"], list[int]]:
    """The splats that each tile may show, nearest first, one tile after the other; and how many each has."""
    across, down = -(-width // TILE), -(-height // TILE)
    # An ellipse's bounding box: alpha reaches 1/255 at this many standard deviations along each image axis.
    reach = torch.sqrt(2 * torch.log(splats.opacities / MIN_ALPHA))[:, None]
    extent = reach * splats.covariances.diagonal(dim1=-2, dim2=-1).sqrt() + MARGIN_PIXELS
    tiles = torch.tensor([across, down], device=extent.device)
    low = ((splats.centers - extent) / TILE).floor().clamp(min=-1e6, max=1e6).long().clamp(min=0)
    high = ((splats.centers + extent) / TILE).floor().clamp(min=-1e6, max=1e6).long() + 1
    spans = (torch.minimum(high, tiles) - low).clamp(min=0)

    pairs = spans.prod(-1)
    splat = torch.repeat_interleave(torch.arange(len(pairs), device=pairs.device), pairs)
    within = torch.arange(len(splat), device=pairs.device) - torch.repeat_interleave(pairs.cumsum(0) - pairs, pairs)
    columns = spans[splat, 0]
    tile = (low[splat, 1] + within // columns) * across + low[splat, 0] + within % columns
    # The order by depth within each tile survives because the sort is stable.
    order = torch.argsort(tile, stable=True)
    return splat[order], torch.bincount(tile, minlength=across * down).tolist()
