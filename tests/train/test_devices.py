"""Training and evaluation on another device: what is fitted there is what is fitted on the CPU."""

from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from avatar.errors import PartError
from avatar.fields.gaussian_head import GaussianHead
from avatar.fields.rig import RiggedGaussians, place_gaussians
from avatar.fields.survey import take_camera
from avatar.heads import Head
from avatar.io.avatar import TRAINED, load_avatar
from avatar.io.take import Take
from avatar.render import Rendering, losses, optim, rasterize
from avatar.render.flaws import view_flaws
from avatar.render.head_alone import head_alone
from avatar.train import fitting, relocation, rows, side_views
from avatar.train.config import TrainConfig
from avatar.train.evaluation import evaluate_held_out
from avatar.train.fitting import fit_avatar
from avatar.train.perceptual import load_st_lpips
from avatar.train.rows import evaluate_rows
from avatar.train.tally import VIDEO
from avatar.train.view_cone import clearest_views, guessed_share

STEPS = 4


@pytest.fixture
def settings(tiny_config: TrainConfig, device: torch.device, monkeypatch: pytest.MonkeyPatch) -> TrainConfig:
    """All that training has: relocation, exposure, learned conditions and their projection.

    Which Gaussians are moved hangs on the last bit, so that a GPU's choice may be another.
    """
    monkeypatch.setattr(relocation, "MEASURED", 3)
    return replace(
        tiny_config,
        gaussians=300,
        torso_gaussians=60,
        steps=STEPS,
        residual_start=1,
        relocations=0 if device.type == "cuda" else 1,
        even_exposure=0.0,
        exposure_start=1,
        lr_condition=1e-3,
        trained_components=6,
        hidden=8,
        checkpoint_every=2,
    )


@pytest.fixture
def unfused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets the CPU take the way of any other device: the rig, the loss and the optimiser's step in torch."""

    def in_two_steps(
        rigged: RiggedGaussians,
        vertices: Tensor,
        viewmats: Tensor,
        Ks: Tensor,
        *,
        width: int,
        height: int,
        residual: Tensor | None = None,
        **settings: Any,
    ) -> Rendering:
        world = place_gaussians(rigged, vertices, residual)
        scene = (world.means, world.quats, world.scales, world.opacities, world.colors)
        return rasterize(*scene, viewmats, Ks, width, height, **settings)

    for module in (fitting, relocation, side_views):
        monkeypatch.setattr(module, "rasterize_rigged", in_two_steps)
    for module in (losses, optim):
        monkeypatch.setattr(module, "_native", SimpleNamespace(is_installed=lambda: False))


def assert_near(ours: GaussianHead, theirs: GaussianHead) -> None:
    """Adam divides by the gradient's size, so that a GPU's rounding turns some steps around: near on the whole."""
    most = 0.3 if theirs.offsets.is_cuda or ours.offsets.is_cuda else 1e-5
    for name in TRAINED:
        one, other = (getattr(gaussians, name).detach().cpu() for gaussians in (ours, theirs))
        apart = float((one - other).norm() / one.norm().clamp_min(1e-9))
        assert apart < most, f"{name}: {apart:.1e}"
    assert torch.equal(ours.triangles.cpu(), theirs.triangles.cpu())


@pytest.mark.usefixtures("unfused")
def test_fits_what_the_cpu_fits(tiny_take: Take, open_head: Head, settings: TrainConfig, device: torch.device) -> None:
    ours = fit_avatar(tiny_take, open_head, settings, threads=1)
    theirs = fit_avatar(tiny_take, open_head.on(device), settings, threads=1)
    everything = {**dict(theirs.named_parameters()), **dict(theirs.named_buffers())}
    assert {value.device.type for value in everything.values()} == {device.type}
    assert_near(ours, theirs)


@pytest.mark.usefixtures("unfused")
@pytest.mark.parametrize("there_first", [True, False])
def test_a_run_goes_on_on_another_device(
    tiny_take: Take,
    open_head: Head,
    settings: TrainConfig,
    device: torch.device,
    tmp_path: Path,
    there_first: bool,
) -> None:
    def stop(done: int, total: int) -> None:
        if done == 2:
            raise KeyboardInterrupt

    path, steps = tmp_path / "checkpoint.safetensors", []
    heads = [open_head, open_head.on(device)]
    first, then = heads[::-1] if there_first else heads
    with pytest.raises(KeyboardInterrupt):
        fit_avatar(tiny_take, first, settings, checkpoint=path, progress=stop, threads=1)
    resumed = fit_avatar(
        tiny_take, then, settings, checkpoint=path, progress=lambda done, _: steps.append(done), threads=1
    )
    assert steps == [3, 4] and resumed.offsets.device.type == then.device.type
    whole = fit_avatar(tiny_take, open_head, settings, threads=1)
    assert_near(whole, resumed) if not there_first else assert_near(resumed, whole)


def test_deep_features_follow_the_pictures(device: torch.device) -> None:
    try:
        ours, theirs = load_st_lpips(), load_st_lpips()
    except PartError as error:
        pytest.skip(str(error))
    image, target = torch.rand(2, 70, 66, 3, generator=torch.Generator().manual_seed(0))
    here, there = image.clone().requires_grad_(), image.to(device).requires_grad_()
    ours.difference(here, target).backward()
    theirs.difference(there, target.to(device)).backward()
    assert here.grad is not None and there.grad is not None
    torch.testing.assert_close(there.grad.cpu(), here.grad, rtol=1e-2, atol=1e-3 * float(here.grad.abs().max()))


def moved(gaussians: GaussianHead, device: torch.device) -> GaussianHead:
    """A copy, since a module is moved in place."""
    return deepcopy(gaussians).to(device)


def test_held_out_frames_are_judged_alike(
    tiny_take: Take, tiny_gaussians: GaussianHead, device: torch.device, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The judges that networks make look at pictures on the CPU.
    monkeypatch.setattr(rows, "_optional", lambda *_: [])
    there = moved(tiny_gaussians, device)
    ours, theirs = (evaluate_held_out(tiny_take, gaussians) for gaussians in (tiny_gaussians, there))
    # The truth itself: what differs is rounding to bytes.
    assert theirs["video_driven"]["psnr"] == pytest.approx(ours["video_driven"]["psnr"], abs=2)
    assert theirs["video_driven"]["ssim"] == pytest.approx(ours["video_driven"]["ssim"], abs=1e-4)
    assert theirs["nearest_frame"] == ours["nearest_frame"]
    ours, theirs = (evaluate_rows(tiny_take, gaussians, sampled=1) for gaussians in (tiny_gaussians, there))
    for metric in ("psnr", "ssim", "edge_alpha"):
        expected = ours.rows[VIDEO]["head"][metric]
        assert theirs.rows[VIDEO]["head"][metric] == pytest.approx(expected, rel=0.03), metric


def test_the_view_cone_is_measured_where_the_avatar_lies(
    tiny_take: Take, tiny_gaussians: GaussianHead, device: torch.device
) -> None:
    camera, found = take_camera(tiny_take), []
    for gaussians in (tiny_gaussians, moved(tiny_gaussians, device)):
        clearest = clearest_views(tiny_take, gaussians)
        pose = gaussians.poses(tiny_take.motion()[:1])[0]
        guessed = guessed_share(head_alone(gaussians), pose, camera, clearest)
        found.append([guessed, *view_flaws(gaussians, pose, camera)])
    assert found[1] == pytest.approx(found[0], abs=1e-3)


def test_an_avatar_is_stored_without_its_device(
    write_avatar: Callable[[Path, GaussianHead], Path],
    tiny_gaussians: GaussianHead,
    device: torch.device,
    tmp_path: Path,
) -> None:
    folders = [
        write_avatar(tmp_path / name, gaussians)
        for name, gaussians in (("here", tiny_gaussians), ("there", moved(tiny_gaussians, device)))
    ]
    ours, theirs = ((folder / "weights.safetensors").read_bytes() for folder in folders)
    assert ours == theirs
    stored = load_avatar(folders[1])
    assert stored.gaussians.offsets.device.type == "cpu"
    assert stored.on(device).gaussians.offsets.device.type == device.type
    assert stored.head.device.type == "cpu"
