"""Metrics inside a region, against values known beforehand."""

import numpy as np
import pytest

from avatar.train.metrics import mean_metrics, ms_ssim, region_metrics, similarity_maps


@pytest.fixture
def truth() -> np.ndarray:
    return np.random.default_rng(0).random((32, 40, 3)) * 0.8


@pytest.fixture
def region() -> np.ndarray:
    region = np.zeros((32, 40), bool)
    region[8:24, 10:30] = True
    return region


def test_a_picture_equals_itself(truth: np.ndarray, region: np.ndarray) -> None:
    found = region_metrics(truth, truth, region)
    assert tuple(found) == ("psnr", "ssim", "l1")
    assert found["psnr"] == pytest.approx(120) and found["l1"] == 0
    assert found["ssim"] == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("shift", [0.01, 0.1])
def test_a_constant_error_has_a_known_psnr(shift: float, truth: np.ndarray, region: np.ndarray) -> None:
    found = region_metrics(truth + shift, truth, region)
    assert found["psnr"] == pytest.approx(-20 * np.log10(shift), abs=1e-4)
    assert found["l1"] == pytest.approx(shift)
    assert 0 < found["ssim"] < 1


def test_nothing_outside_the_region_counts(truth: np.ndarray, region: np.ndarray) -> None:
    image = truth + 0.05 * region[..., None]
    spoiled = np.where(region[..., None], image, np.random.default_rng(1).random(truth.shape))
    assert region_metrics(spoiled, truth, region) == region_metrics(image, truth, region)


def test_every_pixel_inside_the_region_counts(truth: np.ndarray, region: np.ndarray) -> None:
    image = truth.copy()
    image[8, 10] += 0.2
    found = region_metrics(image, truth, region)
    assert found["l1"] == pytest.approx(0.2 / region.sum())
    assert found["ssim"] < 0.9999


def test_ssim_is_that_of_its_definition(truth: np.ndarray) -> None:
    """Wang et al. 2004, equation 13, with an 11-pixel Gaussian window of sigma 1.5, at one pixel."""
    image = np.clip(truth + np.random.default_rng(2).normal(size=truth.shape) * 0.1, 0, 1)
    region = np.zeros(truth.shape[:2], bool)
    region[16, 20] = True
    # The metric looks at the truth outside the region, so that only this pixel differs.
    mixed = np.where(region[..., None], image, truth)
    ramp = np.exp(-(np.arange(-5, 6) ** 2) / (2 * 1.5**2))
    window = np.outer(ramp, ramp) / ramp.sum() ** 2
    values = []
    for channel in range(3):
        x, y = (p[11:22, 15:26, channel] for p in (mixed, truth))
        mx, my = (window * x).sum(), (window * y).sum()
        vx, vy = (window * x**2).sum() - mx**2, (window * y**2).sum() - my**2
        covariance = (window * x * y).sum() - mx * my
        c1, c2 = 0.01**2, 0.03**2
        values.append((2 * mx * my + c1) * (2 * covariance + c2) / ((mx**2 + my**2 + c1) * (vx + vy + c2)))
    assert region_metrics(image, truth, region)["ssim"] == pytest.approx(np.mean(values), abs=1e-4)


def test_ssim_and_psnr_are_those_of_scikit_image(truth: np.ndarray, region: np.ndarray) -> None:
    metrics = pytest.importorskip("skimage.metrics")
    image = np.clip(truth + np.random.default_rng(3).normal(size=truth.shape) * 0.1, 0, 1)
    composite = np.where(region[..., None], image, truth)
    options = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
    _, expected = metrics.structural_similarity(composite, truth, channel_axis=2, data_range=1, full=True, **options)
    found = region_metrics(image, truth, region)
    assert found["ssim"] == pytest.approx(expected[region].mean(), abs=1e-5)
    psnr = metrics.peak_signal_noise_ratio(truth[region], image[region], data_range=1)
    assert found["psnr"] == pytest.approx(psnr, abs=1e-4)


def test_the_maps_make_the_ssim_that_training_uses(truth: np.ndarray) -> None:
    import torch

    from avatar.render.losses import ssim_map

    image = truth[:, ::-1]
    expected = ssim_map(*(torch.as_tensor(x.copy(), dtype=torch.float32) for x in (image, truth))).numpy()
    assert np.prod(similarity_maps(image, truth), axis=0) == pytest.approx(expected, abs=2e-5)


def test_ms_ssim_of_the_whole_picture_is_that_of_pytorch_msssim() -> None:
    library = pytest.importorskip("pytorch_msssim")
    import torch

    generator = np.random.default_rng(4)
    truth = generator.random((176, 181, 3)).astype(np.float32)
    image = np.clip(0.8 * truth + 0.2 * generator.random(truth.shape), 0, 1).astype(np.float32)
    tensors = [torch.as_tensor(x.transpose(2, 0, 1)[None]) for x in (image, truth)]
    expected = float(library.ms_ssim(*tensors, data_range=1.0))
    whole = np.ones(truth.shape[:2], bool)
    assert ms_ssim(image, truth, whole) == pytest.approx(expected, abs=1e-5)
    part = whole.copy()
    part[:, :90] = False
    assert ms_ssim(np.where(part[..., None], truth, image), truth, part) == pytest.approx(1)
    assert ms_ssim(image, truth, part) == pytest.approx(expected, abs=0.02)


def test_ms_ssim_needs_room_for_five_scales(truth: np.ndarray, region: np.ndarray) -> None:
    assert ms_ssim(truth, truth, region) is None


def test_figures_are_means_over_frames() -> None:
    rows = [{"psnr": 20.0, "ssim": 0.5, "l1": 0.1}, {"psnr": 30.0, "ssim": 1.0, "l1": 0.3}]
    assert mean_metrics(rows) == pytest.approx({"psnr": 25.0, "ssim": 0.75, "l1": 0.2})
