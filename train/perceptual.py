"""Perceptual distances: ST-LPIPS, whose network a package carries, and LPIPS where torchvision brings its network."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.nn import functional as F

from avatar.errors import PartError
from avatar.models import fetch

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from jaxtyping import Float
    from torch import Tensor

# What of ImageNet's mean and spread both metrics take out of pictures in [-1, 1].
SHIFT, SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)
LAYERS = 5
# Below this side the network's later layers have nothing to see.
LEAST_SIDE = 64


class PerceptualDistance:
    """A distance of deep features (Zhang et al. 2018): unit-length channels, squared, weighted, averaged over place.

    Args:
        layers: From a picture's scaled tensor to its features of five layers.
        weights: (1, C, 1, 1) of each layer.
    """

    def __init__(self, layers: Callable[[Tensor], Sequence[Tensor]], weights: Sequence[Tensor]) -> None:
        self._layers, self._weights = layers, [weight.reshape(1, -1, 1, 1) for weight in weights]
        self._shift, self._scale = (torch.tensor(values).reshape(1, 3, 1, 1) for values in (SHIFT, SCALE))

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

    def __call__(self, image: Float[np.ndarray, "H W 3"], other: Float[np.ndarray, "H W 3"]) -> float:
        """The distance of two pictures in [0, 1] of one size, at least `LEAST_SIDE` pixels on either side."""
        return self.between(self.features(image), self.features(other))

    def _embedded(self, image: Float[Tensor, "H W 3"]) -> list[Tensor]:
        scaled = (2 * image.permute(2, 0, 1)[None] - 1 - self._shift) / self._scale
        # The root of what is all zero has no gradient, so the small number is added before it is drawn.
        return [layer / (layer.square().sum(1, keepdim=True) + 1e-10).sqrt() for layer in self._layers(scaled)]

    def _apart(self, one: list[Tensor], other: list[Tensor]) -> Float[Tensor, ""]:
        pairs = zip(one, other, self._weights, strict=True)
        return torch.stack([F.conv2d((a - b).square(), weight).mean() for a, b, weight in pairs]).sum()


def load_st_lpips() -> PerceptualDistance:
    """ST-LPIPS (Ghildyal and Liu 2022, "Shift-tolerant perceptual similarity metric"), its AlexNet variant.

    Raises:
        PartError: The weights are not cached and cannot be fetched.
    """
    stored = torch.load(fetch("stlpips_alex"), map_location="cpu", weights_only=True)

    def convolved(planes: Tensor, name: str, padding: int) -> Tensor:
        return F.conv2d(planes, stored[f"net.{name}.weight"], stored[f"net.{name}.bias"], padding=padding)

    def halved(planes: Tensor) -> Tensor:
        """Blurred before every other pixel is left out, which is what makes the metric tolerate shifts."""
        blur = torch.tensor([1.0, 2.0, 1.0]) / 4
        kernel = (blur[:, None] * blur).expand(planes.shape[1], 1, 3, 3)
        return F.conv2d(F.pad(planes, [2] * 4, mode="reflect"), kernel, stride=2, groups=planes.shape[1])

    def layers(picture: Tensor) -> list[Tensor]:
        first = F.relu(halved(convolved(picture, "slice1.0", 2)))
        second = F.relu(convolved(halved(F.max_pool2d(first, 3, 1)), "slice2.5", 2))
        third = F.relu(convolved(halved(F.max_pool2d(second, 3, 1)), "slice3.9", 1))
        fourth = F.relu(convolved(third, "slice4.11", 1))
        return [first, second, third, fourth, F.relu(convolved(fourth, "slice5.13", 1))]

    return PerceptualDistance(layers, [stored[f"lin{index}.model.1.weight"] for index in range(LAYERS)])


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
    # The layers of AlexNet's `features` after which its five activations stand.
    ends = (1, 4, 7, 9, 11)

    def layers(picture: Tensor) -> list[Tensor]:
        found = []
        for index, layer in enumerate(network):
            picture = layer(picture)
            if index in ends:
                # The layers that follow may work in place.
                found.append(picture.clone())
        return found

    return PerceptualDistance(layers, [stored[f"lin{index}.model.1.weight"] for index in range(LAYERS)])
