"""Perceptual distances: ST-LPIPS, whose network a package carries, and LPIPS where torchvision brings its network."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from avatar.errors import PartError
from avatar.models import fetch

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from jaxtyping import Float
    from torch import Tensor

# What of ImageNet's mean and spread both metrics take out of pictures in [-1, 1].
SHIFT, SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)
LAYERS = 5
# Below this side the network's later layers have nothing to see.
LEAST_SIDE = 64


class PerceptualDistance(nn.Module):
    """A distance of deep features (Zhang et al. 2018): unit-length channels, squared, weighted, averaged over place.

    It follows the pictures to the device on which they are.

    Args:
        layers: From a picture's scaled tensor to its features of five layers; a module, where it has weights.
        weights: (1, C, 1, 1) of each layer.
    """

    _shift: Tensor
    _scale: Tensor

    def __init__(self, layers: Callable[[Tensor], Sequence[Tensor]], weights: Sequence[Tensor]) -> None:
        super().__init__()
        self._layers = layers
        self._names = [f"_weight{index}" for index in range(len(weights))]
        for name, weight in zip(self._names, weights, strict=True):
            self.register_buffer(name, weight.reshape(1, -1, 1, 1))
        for name, values in (("_shift", SHIFT), ("_scale", SCALE)):
            self.register_buffer(name, torch.tensor(values).reshape(1, 3, 1, 1))

    @torch.inference_mode()
    def features(self, image: Float[np.ndarray, "H W 3"]) -> list[Tensor]:
        """Unit-length features of a picture in [0, 1] at five layers, for `between`."""
        return self._embedded(torch.from_numpy(np.ascontiguousarray(image, np.float32)))

    @torch.inference_mode()
    def between(self, one: list[Tensor], other: list[Tensor]) -> float:
        """The distance of two pictures' features."""
        return float(self._apart(one, other))

    def difference(self, image: Float[Tensor, "H W 3"], target: Float[Tensor, "H W 3"]) -> Float[Tensor, ""]:
        """The distance of two pictures in [0, 1] as a loss, whose gradient flows to `image` alone."""
        with torch.no_grad():
            wanted = self._embedded(target)
        return self._apart(self._embedded(image), wanted)

    def forward(self, image: Float[np.ndarray, "H W 3"], other: Float[np.ndarray, "H W 3"]) -> float:
        """The distance of two pictures in [0, 1] of one size, at least `LEAST_SIDE` pixels on either side."""
        return self.between(self.features(image), self.features(other))

    def _embedded(self, image: Float[Tensor, "H W 3"]) -> list[Tensor]:
        if image.device != self._shift.device:
            self.to(image.device)
        scaled = (2 * image.permute(2, 0, 1)[None] - 1 - self._shift) / self._scale
        # The root of what is all zero has no gradient, so the small number is added before it is drawn.
        return [layer / (layer.square().sum(1, keepdim=True) + 1e-10).sqrt() for layer in self._layers(scaled)]

    def _apart(self, one: list[Tensor], other: list[Tensor]) -> Float[Tensor, ""]:
        pairs = zip(one, other, map(self.get_buffer, self._names), strict=True)
        return torch.stack([F.conv2d((a - b).square(), weight).mean() for a, b, weight in pairs]).sum()


def load_st_lpips() -> PerceptualDistance:
    """ST-LPIPS (Ghildyal and Liu 2022, "Shift-tolerant perceptual similarity metric"), its AlexNet variant.

    Raises:
        PartError: The weights are not cached and cannot be fetched.
    """
    stored = torch.load(fetch("stlpips_alex"), map_location="cpu", weights_only=True)
    weights = [stored[f"lin{index}.model.1.weight"] for index in range(LAYERS)]
    return PerceptualDistance(ShiftTolerantAlexNet(stored), weights)


class ShiftTolerantAlexNet(nn.Module):
    """The five layers of ST-LPIPS: an AlexNet that blurs before every other pixel is left out.

    Args:
        stored: Its convolutions, as the package has them.
    """

    CONVOLUTIONS = ("slice1.0", "slice2.5", "slice3.9", "slice4.11", "slice5.13")
    _blur: Tensor

    def __init__(self, stored: Mapping[str, Tensor]) -> None:
        super().__init__()
        for layer, name in enumerate(self.CONVOLUTIONS):
            for part in ("weight", "bias"):
                self.register_buffer(f"{part}{layer}", stored[f"net.{name}.{part}"])
        self.register_buffer("_blur", torch.tensor([1.0, 2.0, 1.0]) / 4)

    def forward(self, picture: Float[Tensor, "1 3 H W"]) -> list[Tensor]:
        """The features of a picture after each convolution."""
        first = F.relu(self._halved(self._convolved(picture, 0, 2)))
        second = F.relu(self._convolved(self._halved(F.max_pool2d(first, 3, 1)), 1, 2))
        third = F.relu(self._convolved(self._halved(F.max_pool2d(second, 3, 1)), 2, 1))
        fourth = F.relu(self._convolved(third, 3, 1))
        return [first, second, third, fourth, F.relu(self._convolved(fourth, 4, 1))]

    def _convolved(self, planes: Tensor, layer: int, padding: int) -> Tensor:
        return F.conv2d(planes, self.get_buffer(f"weight{layer}"), self.get_buffer(f"bias{layer}"), padding=padding)

    def _halved(self, planes: Tensor) -> Tensor:
        """Blurred before every other pixel is left out, which is what makes the metric tolerate shifts."""
        kernel = (self._blur[:, None] * self._blur).expand(planes.shape[1], 1, 3, 3)
        return F.conv2d(F.pad(planes, [2] * 4, mode="reflect"), kernel, stride=2, groups=planes.shape[1])


def load_lpips() -> PerceptualDistance:
    """LPIPS 0.1 (Zhang et al. 2018) on torchvision's AlexNet.

    Raises:
        PartError: torchvision is not installed, its network cannot be downloaded, or the weights cannot be fetched.
    """
    try:
        from torchvision.models import alexnet  # pyright: ignore[reportMissingImports]

        network = alexnet(weights="IMAGENET1K_V1").features.eval().requires_grad_(False)
    except (ImportError, OSError, RuntimeError) as error:
        raise PartError(
            "LPIPS cannot be computed",
            expected="torchvision, and its AlexNet in torch's cache or the internet to fetch it",
            found=str(error),
            fix="pip install torchvision; ST-LPIPS does without",
        ) from error
    stored = torch.load(fetch("lpips_alex"), map_location="cpu", weights_only=True)
    return PerceptualDistance(AlexNet(network), [stored[f"lin{index}.model.1.weight"] for index in range(LAYERS)])


class AlexNet(nn.Module):
    """Five activations of torchvision's AlexNet.

    Args:
        network: Its `features`.
    """

    # After these layers they stand.
    ENDS = (1, 4, 7, 9, 11)

    def __init__(self, network: nn.Sequential) -> None:
        super().__init__()
        self.network = network

    def forward(self, picture: Float[Tensor, "1 3 H W"]) -> list[Tensor]:
        """The activations of a picture."""
        found = []
        for index, layer in enumerate(self.network):
            picture = layer(picture)
            if index in self.ENDS:
                # The layers that follow may work in place.
                found.append(picture.clone())
        return found
