"""A scene like a head, and how fast this machine renders and fits it: the benchmarks and `avatar doctor` share it."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from avatar.render.losses import l1_dssim
from avatar.render.optim import FusedAdam
from avatar.render.rasterization import Backend, rasterize

# Half axes of the ellipsoid that stands for a head, in metres, and the part of the image that its height fills.
HALF_AXES, FILL = (0.085, 0.115, 0.1), 0.84
TYPICAL_COUNT, TYPICAL_SIZE = 15_000, 512
LEARNING_RATE = 1e-5

Loss = Callable[[Tensor, Tensor], Tensor]
MakeOptimizer = Callable[[list[Tensor]], torch.optim.Optimizer]


@dataclass(frozen=True)
class HeadScene:
    """Gaussians and one camera, as `rasterize` takes them.

    Attributes:
        means: Centres, metres.
        quats: Rotations wxyz, of any length.
        scales: Standard deviations, metres (linear).
        opacities: In [0, 1].
        colors: In [0, 1].
        viewmat: World to camera, OpenCV axes.
        K: Intrinsics, pixels.
        size: Width and height of the image, pixels.
    """

    means: Float[Tensor, "N 3"]
    quats: Float[Tensor, "N 4"]
    scales: Float[Tensor, "N 3"]
    opacities: Float[Tensor, " N"]
    colors: Float[Tensor, "N 3"]
    viewmat: Float[Tensor, "4 4"]
    K: Float[Tensor, "3 3"]
    size: int

    @property
    def gaussians(self) -> list[Tensor]:
        """The tensors of the Gaussians, in the order of rasterize's arguments."""
        return [self.means, self.quats, self.scales, self.opacities, self.colors]

    def render(
        self,
        gaussians: Sequence[Tensor] | None = None,
        *,
        backend: Backend | None = None,
        threads: int | None = None,
    ) -> Float[Tensor, "H W 3"]:
        """The image, of other tensors of Gaussians where they are given."""
        means, quats, scales, opacities, colors = self.gaussians if gaussians is None else gaussians
        return rasterize(
            means,
            quats,
            scales,
            opacities,
            colors,
            self.viewmat,
            self.K,
            self.size,
            self.size,
            backend=backend,
            threads=threads,
        )[0]


def head_scene(count: int, size: int, *, seed: int = 0, device: str = "cpu") -> HeadScene:
    """Gaussians of 3 to 8 pixels (three sigma) on a head-sized ellipsoid a metre away; the same for the same seed."""
    g = torch.Generator().manual_seed(seed)
    direction = torch.nn.functional.normalize(torch.randn(count, 3, generator=g), dim=-1)
    means = direction * torch.tensor(HALF_AXES) + torch.randn(count, 3, generator=g) * 0.002
    focal = FILL * size / (2 * HALF_AXES[1])
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
    means, quats, scales, opacities, colors = (t.to(device) for t in (means, quats, scales, opacities, colors))
    return HeadScene(means, quats, scales, opacities, colors, viewmat.to(device), K.to(device), size)


def make_training_step(
    scene: HeadScene,
    *,
    loss: Loss | None = None,
    optimizer: MakeOptimizer | None = None,
    backend: Backend | None = None,
    threads: int | None = None,
) -> Callable[[], None]:
    """A function that takes one step of fitting the scene to its own image, from colours that are a little wrong.

    Args:
        scene: What to fit.
        loss: From image and target to a scalar; `l1_dssim` when None.
        optimizer: Makes the optimiser of a list of leaves; `FusedAdam` when None.
        backend: As for `rasterize`.
        threads: As for `rasterize`.
    """
    loss = loss or (lambda image, target: l1_dssim(image, target, threads=threads))
    optimizer = optimizer or (lambda leaves: FusedAdam(leaves, lr=LEARNING_RATE, threads=threads))
    start = (scene.means, scene.quats, scene.scales.log(), torch.logit(scene.opacities), scene.colors)
    leaves = [tensor.clone().requires_grad_() for tensor in start]

    def render() -> Tensor:
        means, quats, log_scales, logits, colors = leaves
        gaussians = (means, quats, log_scales.exp(), logits.sigmoid(), colors)
        return scene.render(gaussians, backend=backend, threads=threads)

    with torch.no_grad():
        target = render()
        leaves[-1].mul_(0.9)
    steps = optimizer(leaves)

    def step() -> None:
        steps.zero_grad()
        loss(render(), target).backward()
        steps.step()

    return step


def measure_speed(*, seconds: float = 2.0, device: str = "cpu", threads: int | None = None) -> dict[str, float]:
    """Frames rendered and training steps taken in a second, of as many Gaussians and pixels as a typical avatar has.

    Args:
        seconds: Time to spend, half on each; each runs once at the least, however slow the machine is.
        device: "cpu" or "cuda".
        threads: As for `rasterize`.
    """
    scene = head_scene(TYPICAL_COUNT, TYPICAL_SIZE, device=device)

    def frame() -> None:
        with torch.no_grad():
            scene.render(threads=threads)

    step = make_training_step(scene, threads=threads)
    return {
        "gaussians": TYPICAL_COUNT,
        "size": TYPICAL_SIZE,
        "frames_per_second": _rate(frame, seconds / 2, device),
        "training_steps_per_second": _rate(step, seconds / 2, device),
    }


def _rate(run: Callable[[], None], seconds: float, device: str) -> float:
    """Runs a second; the first, which pays for memory, counts only where there is no time for another."""
    finish = torch.cuda.synchronize if device == "cuda" else lambda: None
    begin = time.perf_counter()
    run()
    finish()
    count, start = 0, time.perf_counter()
    if start - begin > seconds:
        return 1 / (start - begin)
    while count == 0 or time.perf_counter() < start + seconds:
        run()
        count += 1
    finish()
    return count / (time.perf_counter() - start)
