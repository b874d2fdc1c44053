"""A configuration that fits the tiny take in a second or two, and the avatar it gives."""

from dataclasses import dataclass

import pytest

from avatar.fields.gaussian_head import GaussianHead
from avatar.heads import Head
from avatar.io.take import Take
from avatar.train.config import TrainConfig
from avatar.train.fitting import fit_avatar

# A tenth of the Gaussians and of the steps of the real presets: larger steps make up for some of it.
TINY = TrainConfig(
    gaussians=2000,
    torso_gaussians=300,
    components=4,
    steps=120,
    residual_start=40,
    lr_offsets=2e-4,
    lr_log_scales=2e-2,
    lr_colors=4e-2,
    # No test of training needs the network of deep features.
    feature_weight=0.0,
    close_pinholes=False,
    checkpoint_every=50,
)


@dataclass(frozen=True)
class Fit:
    """A fitted head and the steps its progress was reported for."""

    gaussians: GaussianHead
    progress: list[tuple[int, int]]


@pytest.fixture(scope="session")
def tiny_config() -> TrainConfig:
    return TINY


@pytest.fixture(scope="session")
def tiny_fit(tiny_take: Take, open_head: Head) -> Fit:
    steps: list[tuple[int, int]] = []
    gaussians = fit_avatar(tiny_take, open_head, TINY, progress=lambda *row: steps.append(row), threads=1)
    return Fit(gaussians, steps)
