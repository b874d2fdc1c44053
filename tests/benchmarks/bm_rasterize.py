"""The CPU rasteriser, the fused loss and a training step, against plain torch in the same run.

    python tests/benchmarks/bm_rasterize.py [--json OUT] [--quick]

Times are the best of many repetitions, in milliseconds, because a shared machine only ever adds to them; compare the
ratios of one run and not the times of two.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
import tyro
from rich.console import Console
from rich.table import Table
from torch import Tensor

from avatar.render import _cpu, _native, rasterize
from avatar.render._reference import project
from avatar.render.losses import fused_l1_dssim, l1_dssim, ssim_map
from avatar.render.optim import FusedAdam


@dataclass(frozen=True)
class Options:
    """What to run.

    Attributes:
        json: Write the measurements there.
        quick: Small scenes and few repetitions.
    """

    json: Path | None = None
    quick: bool = False


@dataclass(frozen=True)
class Measurement:
    """One time and its ratio to plain torch on the same work (0 where torch was not run)."""

    what: str
    isa: str
    threads: int
    milliseconds: float
    speedup: float


def head_scene(count: int, size: int, *, seed: int = 0) -> tuple[list[Tensor], Tensor, Tensor]:
    """Gaussians of 3 to 8 pixels (three sigma) on a head-sized ellipsoid a metre away that fills 84 % of the image."""
    g = torch.Generator().manual_seed(seed)
    direction = torch.nn.functional.normalize(torch.randn(count, 3, generator=g), dim=-1)
    means = direction * torch.tensor([0.085, 0.115, 0.1]) + torch.randn(count, 3, generator=g) * 0.002
    focal = 0.42 * size / 0.115
    sigma = (3 + 5 * torch.rand(count, 1, generator=g)) / 3 / focal
    scales = sigma * torch.exp(-torch.randn(count, 3, generator=g).abs() * torch.tensor([0.0, 0.5, 1.0]))
    quats = torch.randn(count, 4, generator=g)
    opacities = 0.15 + 0.83 * torch.rand(count, generator=g)
    colors = torch.rand(count, 3, generator=g)
    angle = torch.tensor(0.3)
    viewmat = torch.eye(4)
    viewmat[0, 0] = viewmat[2, 2] = angle.cos()
    viewmat[0, 2], viewmat[2, 0], viewmat[2, 3] = angle.sin(), -angle.sin(), 1.0
    K = torch.tensor([[focal, 0, size / 2], [0, focal, size / 2], [0, 0, 1]])
    return [means, quats, scales, opacities, colors], viewmat, K


def rasterize_tiled(scene: list[Tensor], viewmat: Tensor, K: Tensor, size: int, *, tile: int = 16) -> Tensor:
    """What one writes first in torch: a global sort, then for each tile one dense batch of pixels and Gaussians."""
    means, quats, scales, opacities, colors = scene
    centers, covariance, depth = project(means, quats, scales, viewmat, K, size, size, eps2d=0.3)
    conic = torch.linalg.inv(covariance)
    reach = torch.sqrt(2 * torch.log(255 * opacities.detach()))[:, None]
    extent = reach * covariance.detach().diagonal(dim1=-2, dim2=-1).sqrt()
    order = torch.argsort(depth.detach())
    low, high = (centers - extent).detach()[order], (centers + extent).detach()[order]
    tiles = []
    for y in range(0, size, tile):
        for x in range(0, size, tile):
            near = (high[:, 0] > x) & (low[:, 0] < x + tile) & (high[:, 1] > y) & (low[:, 1] < y + tile)
            index = order[near]
            columns, rows = torch.meshgrid(torch.arange(tile) + x + 0.5, torch.arange(tile) + y + 0.5, indexing="xy")
            dx = centers[index, 0, None] - columns.reshape(1, -1)
            dy = centers[index, 1, None] - rows.reshape(1, -1)
            c = conic[index]
            power = 0.5 * (c[:, 0, 0, None] * dx * dx + c[:, 1, 1, None] * dy * dy) + c[:, 0, 1, None] * dx * dy
            alpha = (opacities[index, None] * torch.exp(-power)).clamp(max=0.999)
            alpha = torch.where(alpha >= 1 / 255, alpha, 0.0)
            after = torch.cumprod(1 - alpha, 0)
            before = torch.cat([torch.ones_like(after[:1]), after[:-1]]) if len(index) else after
            weight = torch.where(after > 1e-4, alpha * before, 0.0)
            tiles.append((weight.T @ colors[index]).view(tile, tile, 3))
    across = size // tile
    return torch.stack(tiles).view(across, across, tile, tile, 3).transpose(1, 2).reshape(size, size, 3)


def best_ms(run: Callable[[], object], *, seconds: float, least: int = 3) -> float:
    """The shortest of as many runs as fit into `seconds`, and of no fewer than `least`, after one to warm up."""
    run()
    times: list[float] = []
    end = time.perf_counter() + seconds
    while len(times) < least or time.perf_counter() < end:
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return 1e3 * min(times)


def measure_rasterizer(count: int, size: int, *, seconds: float) -> list[Measurement]:
    """Forward, and forward with backward, of every instruction set on one and two threads."""
    scene, viewmat, K = head_scene(count, size)
    leaves = [t.requires_grad_() for t in scene]
    cameras = (viewmat[None], K[None], torch.zeros(1, 3))
    v_image = torch.randn(1, size, size, 3, generator=torch.Generator().manual_seed(1))

    def forward_backward(render: Callable[[], Tensor]) -> None:
        for leaf in leaves:
            leaf.grad = None
        image = render()
        image.backward(v_image.view(image.shape))

    def plain() -> Tensor:
        return rasterize_tiled(leaves, viewmat, K, size)

    with torch.no_grad():
        torch_forward = best_ms(plain, seconds=0, least=1)
    torch_both = best_ms(lambda: forward_backward(plain), seconds=0, least=1)
    name = f"{count // 1000}k@{size}"
    rows = [
        Measurement(f"{name} forward", "torch", 1, torch_forward, 1.0),
        Measurement(f"{name} forward+backward", "torch", 1, torch_both, 1.0),
    ]
    for isa in _native.available_isas():
        for threads in (1, 2):

            def ours(isa: str = isa, threads: int = threads) -> Tensor:
                gaussians = [t[None] for t in leaves]
                return _cpu.render(*gaussians, *cameras, size, size, 0.01, 0.3, 0.999, threads, isa)[0]

            with torch.no_grad():
                forward = best_ms(ours, seconds=seconds)
            both = best_ms(lambda ours=ours: forward_backward(ours), seconds=seconds)
            rows.append(Measurement(f"{name} forward", isa, threads, forward, torch_forward / forward))
            rows.append(Measurement(f"{name} forward+backward", isa, threads, both, torch_both / both))
    return rows


def torch_loss(image: Tensor, target: Tensor) -> Tensor:
    return 0.8 * (image - target).abs().mean() + 0.2 * (1 - ssim_map(image, target).mean())


def measure_loss(size: int, *, seconds: float) -> list[Measurement]:
    """Value and gradient of L1 + DSSIM."""
    g = torch.Generator().manual_seed(2)
    image, target = torch.rand(size, size, 3, generator=g).requires_grad_(), torch.rand(size, size, 3, generator=g)

    def run(loss: Callable[[], Tensor]) -> None:
        image.grad = None
        loss().backward()

    name = f"loss@{size}"
    plain = best_ms(lambda: run(lambda: torch_loss(image, target)), seconds=seconds)
    rows = [Measurement(name, "torch", 1, plain, 1.0)]
    for isa in _native.available_isas():
        for threads in (1, 2):
            fused = best_ms(
                lambda isa=isa, threads=threads: run(lambda: fused_l1_dssim(image, target, 0.2, threads, isa)[0]),
                seconds=seconds,
            )
            rows.append(Measurement(name, isa, threads, fused, plain / fused))
    return rows


def measure_step(count: int, size: int, *, threads: int, seconds: float) -> list[Measurement]:
    """A training step on one image, as a trainer takes it, and the same with torch's SSIM and torch's Adam."""
    scene, viewmat, K = head_scene(count, size)
    with torch.no_grad():
        target = rasterize(*scene, viewmat, K, size, size).image
    means, quats, scales, opacities, colors = scene

    def make_step(loss: Callable[[Tensor, Tensor], Tensor], optimizer: type, **settings) -> Callable[[], None]:
        params = {
            "means": means.clone(),
            "quats": quats.clone(),
            "log_scales": scales.log(),
            "logits": torch.logit(opacities),
            "colors": colors * 0.9,
        }
        leaves = {name: value.requires_grad_() for name, value in params.items()}
        groups = [{"params": [leaf], "lr": 1e-5} for leaf in leaves.values()]
        optim = optimizer(groups, eps=1e-15, **settings)

        def step() -> None:
            rendering = rasterize(
                leaves["means"],
                leaves["quats"],
                leaves["log_scales"].exp(),
                leaves["logits"].sigmoid(),
                leaves["colors"],
                viewmat,
                K,
                size,
                size,
                threads=threads,
            )
            optim.zero_grad()
            loss(rendering.image, target).backward()
            optim.step()

        return step

    def fused_loss(image: Tensor, target: Tensor) -> Tensor:
        return l1_dssim(image, target, threads=threads)

    plain = best_ms(make_step(torch_loss, torch.optim.Adam), seconds=seconds)
    fused = best_ms(make_step(fused_loss, FusedAdam, threads=threads), seconds=seconds)
    name, isa = f"train step {count // 1000}k@{size}", _native.load_library().isa
    return [
        Measurement(name, "torch loss, Adam", threads, plain, 1.0),
        Measurement(name, isa, threads, fused, plain / fused),
    ]


def main(options: Options) -> None:
    """Measures, prints a table and writes the JSON that was asked for."""
    torch.set_num_threads(1)
    seconds = 0.2 if options.quick else 1.0
    rows: list[Measurement] = []
    for size in (256,) if options.quick else (256, 512):
        for count in (15_000,) if options.quick else (10_000, 15_000, 30_000):
            rows += measure_rasterizer(count, size, seconds=seconds)
        rows += measure_loss(size, seconds=seconds)
        for threads in (1, 2):
            rows += measure_step(15_000, size, threads=threads, seconds=seconds)
    table = Table("what", "by", "threads", "ms", "times torch")
    for row in rows:
        digits = max(0, 2 - int(math.log10(max(row.milliseconds, 1))))
        table.add_row(row.what, row.isa, str(row.threads), f"{row.milliseconds:.{digits}f}", f"{row.speedup:.1f}")
    Console(width=110).print(table)
    if options.json:
        options.json.write_text(json.dumps([asdict(row) for row in rows], indent=1) + "\n")


if __name__ == "__main__":
    main(tyro.cli(Options))
