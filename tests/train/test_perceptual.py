"""Perceptual distances against values of their authors' own packages."""

import sys
from types import ModuleType, SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from torch import nn

from avatar.errors import PartError
from avatar.models import fetch
from avatar.train import perceptual
from avatar.train.perceptual import PerceptualDistance, load_lpips, load_st_lpips


def fetched(name: str) -> None:
    try:
        fetch(name)
    except PartError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def st_lpips() -> PerceptualDistance:
    fetched("stlpips_alex")
    return load_st_lpips()


@pytest.fixture(scope="module")
def pair() -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(0)
    one = generator.random((96, 80, 3), np.float32)
    return one, (one * 0.7 + 0.3 * generator.random(one.shape, np.float32)).astype(np.float32)


def alexnet(weights: str) -> SimpleNamespace:
    """AlexNet's layers as torchvision lays them out, with weights that anyone can compute."""
    assert weights == "IMAGENET1K_V1"
    sizes = [(3, 64, 11, 4, 2), (64, 192, 5, 1, 2), (192, 384, 3, 1, 1), (384, 256, 3, 1, 1), (256, 256, 3, 1, 1)]
    layers: list[nn.Module] = []
    for index, size in enumerate(sizes):
        layers += [nn.Conv2d(*size), nn.ReLU(inplace=True)]
        if index in (0, 1, 4):
            layers.append(nn.MaxPool2d(3, 2))
    features = nn.Sequential(*layers)
    with torch.no_grad():
        for values in features.parameters():
            wave = torch.sin(torch.arange(values.numel(), dtype=torch.float64) * 12.9898 + values.ndim)
            spread = 2 / np.sqrt(max(values[0].numel(), 1))
            values.copy_((wave.mul(43758.5453).frac() * spread).reshape(values.shape))
    return SimpleNamespace(features=features)


def test_st_lpips_is_that_of_its_package(st_lpips: PerceptualDistance, pair: tuple[np.ndarray, np.ndarray]) -> None:
    """The value is what stlpips-pytorch 0.0.2 gives (net alex, variant shift_tolerant)."""
    assert st_lpips(*pair) == pytest.approx(0.008084163, rel=1e-4)
    assert st_lpips(pair[0], pair[0]) == 0


def test_st_lpips_grows_with_blur_and_bears_a_shift(st_lpips: PerceptualDistance) -> None:
    generator = np.random.default_rng(1)
    picture = cv2.GaussianBlur(generator.random((128, 128, 3), np.float32), (0, 0), 1.5)
    picture = (picture - picture.min()) / np.ptp(picture)
    blurred = [st_lpips(picture, cv2.GaussianBlur(picture, (0, 0), sigma)) for sigma in (1, 2, 4)]
    shifted = st_lpips(picture[:, :-1], picture[:, 1:])
    assert 0 < blurred[0] < blurred[1] < blurred[2] and shifted < blurred[1]


def test_lpips_is_that_of_its_package_on_the_same_network(
    pair: tuple[np.ndarray, np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The value is what lpips 0.1.4 gives (net alex) on this network."""
    fetched("lpips_alex")
    models = ModuleType("torchvision.models")
    models.alexnet = alexnet  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "torchvision", ModuleType("torchvision"))
    monkeypatch.setitem(sys.modules, "torchvision.models", models)
    assert load_lpips()(*pair) == pytest.approx(0.014626788, rel=1e-4)


def test_lpips_without_torchvision_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torchvision.models", None)
    with pytest.raises(PartError, match="pip install torchvision; ST-LPIPS does without"):
        perceptual.load_lpips()
