"""The rasteriser and the fused loss on head-like scenes, against plain torch in the same rounds.

    python tests/benchmarks/bm_rasterize.py [--json FILE] [--rounds 5] [--quick] [--device cuda]

The baseline is the tiled torch rasteriser that machines without the native library use, keeping all it needs for its
backward pass, on one thread. It is slow: all scenes take about a quarter of an hour. `--counts 15000 --sizes 512`
measures one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import tyro
from _measure import Options, Row, Variant, compare, isas, prepare, report, torch_l1_dssim
from torch import Tensor

from avatar.render import _cpu
from avatar.render._speed import HeadScene, head_scene
from avatar.render._tiled import rasterize_tiled
from avatar.render.losses import fused_l1_dssim, l1_dssim

Render = Callable[[list[Tensor]], Tensor]


@dataclass(frozen=True)
class RasterizeOptions(Options):
    """What to run.

    Attributes:
        counts: Numbers of Gaussians.
        sizes: Image sizes, pixels.
        threads: Numbers of threads of the native library.
    """

    counts: tuple[int, ...] = (10_000, 15_000, 30_000, 50_000, 100_000)
    sizes: tuple[int, ...] = (256, 512)
    threads: tuple[int, ...] = (1, 2)


def native_render(scene: HeadScene, *, threads: int, isa: str) -> Render:
    """The operator itself, which lets the caller choose the instruction set."""
    settings = (scene.size, scene.size, 0.01, 0.3, 0.999, threads, isa)
    cameras = (scene.viewmat[None], scene.K[None], torch.zeros(1, 3))
    return lambda gaussians: _cpu.render(*[t[None] for t in gaussians], *cameras, *settings)[0][0]


def torch_render(scene: HeadScene) -> Render:
    """Plain torch, tile by tile."""
    settings = (scene.viewmat, scene.K, scene.size, scene.size)
    return lambda gaussians: rasterize_tiled(*gaussians, *settings, recompute=False)[0]


def measure_rasterizer(count: int, size: int, options: RasterizeOptions) -> list[Row]:
    """Forward, and forward with backward, of every instruction set and number of threads."""
    scene = head_scene(count, size, device=options.device)
    leaves = [tensor.clone().requires_grad_() for tensor in scene.gaussians]
    v_image = torch.randn(size, size, 3, generator=torch.Generator().manual_seed(1)).to(options.device)

    def forward(render: Render) -> Callable[[], object]:
        return torch.no_grad()(lambda: render(leaves))

    def forward_backward(render: Render) -> Callable[[], object]:
        def run() -> None:
            for leaf in leaves:
                leaf.grad = None
            render(leaves).backward(v_image)

        return run

    if options.device == "cuda":
        renders: list[tuple[str, int, Render]] = [("gsplat", 1, lambda gaussians: scene.render(gaussians))]
    else:
        renders = [(isa, n, native_render(scene, threads=n, isa=isa)) for isa in isas() for n in options.threads]
    rows = []
    for op, make in (("forward", forward), ("forward+backward", forward_backward)):
        variants = [Variant(isa, threads, make(render)) for isa, threads, render in renders]
        baseline = Variant("torch", 1, make(torch_render(scene)))
        rows += compare(op, count, size, baseline=baseline, variants=variants, options=options)
    return rows


def measure_loss(size: int, options: RasterizeOptions) -> list[Row]:
    """Value and gradient of L1 + DSSIM."""
    g = torch.Generator().manual_seed(2)
    image, target = (torch.rand(size, size, 3, generator=g).to(options.device) for _ in range(2))
    image.requires_grad_()

    def with_gradient(loss: Callable[[], Tensor]) -> Callable[[], object]:
        def run() -> None:
            image.grad = None
            loss().backward()

        return run

    if options.device == "cuda":
        variants = [Variant("l1_dssim", 1, with_gradient(lambda: l1_dssim(image, target)))]
    else:
        variants = [
            Variant(isa, n, with_gradient(lambda isa=isa, n=n: fused_l1_dssim(image, target, 0.2, n, isa)[0]))
            for isa in isas()
            for n in options.threads
        ]
    baseline = Variant("torch", 1, with_gradient(lambda: torch_l1_dssim(image, target)))
    return compare("loss", 0, size, baseline=baseline, variants=variants, options=options)


def main(options: RasterizeOptions) -> None:
    """Measures every scene and the loss."""
    prepare(options)
    rows: list[Row] = []
    for size in options.sizes[:1] if options.quick else options.sizes:
        for count in options.counts[:1] if options.quick else options.counts:
            rows += measure_rasterizer(count, size, options)
        rows += measure_loss(size, options)
    report("rasteriser and loss, against plain torch", rows, options)


if __name__ == "__main__":
    main(tyro.cli(RasterizeOptions))
