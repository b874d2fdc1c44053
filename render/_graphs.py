"""CUDA graphs for playback: what moves the Gaussians, recorded once and replayed for each pose."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import TYPE_CHECKING

import torch

from avatar.errors import BackendError, InputError

if TYPE_CHECKING:
    from torch import Tensor

    from avatar.fields.gaussian_head import GaussianHead, Pose
    from avatar.gaussians import Gaussians

# Libraries choose their algorithms and allocate their workspaces at the first calls, which a graph cannot hold.
WARM_UP_CALLS = 3


def deformation(gaussians: GaussianHead) -> GaussianHead | CapturedDeformation:
    """What turns poses into Gaussians for playback: a `CapturedDeformation` on CUDA, else the avatar itself."""
    return CapturedDeformation(gaussians) if gaussians.offsets.is_cuda else gaussians


class CapturedDeformation:
    """Skinning and rig of an avatar as one CUDA graph, captured at the first call.

    They are some hundred small kernels whose launches take longer than their work; a replay is one launch.
    Rasterisation stays outside: gsplat reads the number of intersections back, which a graph cannot do.

    The avatar's tensors are read where they lay at the capture: changes in place are seen, an avatar that was moved or
    given new tensors needs a new capture. There are no gradients.

    Args:
        gaussians: An avatar on a CUDA device.

    Raises:
        BackendError: The avatar is not on a CUDA device.
    """

    def __init__(self, gaussians: GaussianHead) -> None:
        self._device = gaussians.offsets.device
        if self._device.type != "cuda":
            raise BackendError(
                "this avatar's motion cannot be captured as a CUDA graph",
                expected="an avatar on a CUDA device",
                found=f"an avatar on {self._device}",
                fix="call the avatar itself",
            )
        self._gaussians = gaussians
        self._graph: torch.cuda.CUDAGraph | None = None
        self._pose: Pose | None = None
        self._result: Gaussians | None = None

    @torch.no_grad()
    def __call__(self, pose: Pose) -> Gaussians:
        """Gaussians in world space at one moment; the next call overwrites them.

        Args:
            pose: The moment, on any device, with the shapes of the first call's.

        Raises:
            InputError: The pose has other shapes than the first call's.
        """
        with torch.cuda.device(self._device):
            if self._pose is None:
                copies = {name: value.to(self._device, copy=True) for name, value in _tensors(pose).items()}
                self._pose = replace(pose, **copies)
            for name, buffer in _tensors(self._pose).items():
                source = getattr(pose, name)
                if source.shape != buffer.shape:
                    raise InputError(
                        f"the pose's `{name}` does not fit the captured graph",
                        expected=f"shape {tuple(buffer.shape)}",
                        found=f"shape {tuple(source.shape)}",
                        fix="make a new CapturedDeformation for it",
                    )
                buffer.copy_(source, non_blocking=True)
            if self._graph is None or self._result is None:
                self._graph, self._result = self._capture(self._pose)
            self._graph.replay()
            return self._result

    def _capture(self, pose: Pose) -> tuple[torch.cuda.CUDAGraph, Gaussians]:
        """Records the work for the buffers of `pose`; recording does not do it."""
        current, side = torch.cuda.current_stream(), torch.cuda.Stream()
        side.wait_stream(current)
        with torch.cuda.stream(side):
            for _ in range(WARM_UP_CALLS):
                self._gaussians(pose)
        current.wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            result = self._gaussians(pose)
        return graph, result


def _tensors(pose: Pose) -> dict[str, Tensor]:
    return {field.name: getattr(pose, field.name) for field in fields(pose)}
