"""Health of a training: what is not finite stops it, is named, and never gets into a checkpoint."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from avatar.errors import InputError, TrainingError
from avatar.fields.gaussian_head import GaussianHead
from avatar.fields.regularizers import Regularizer
from avatar.heads import Head
from avatar.io.take import Take
from avatar.train.checkpoint import save_checkpoint
from avatar.train.config import TrainConfig
from avatar.train.fitting import fit_avatar, make_optimizer
from avatar.train.health import is_sound, require_finite

BROKEN_AT = 7
Terms = Callable[[Regularizer, GaussianHead, torch.Tensor], dict[str, torch.Tensor]]


@pytest.fixture
def config(tiny_config: TrainConfig) -> TrainConfig:
    return replace(tiny_config, gaussians=300, torso_gaussians=60, steps=9, residual_start=3, checkpoint_every=5)


@pytest.fixture
def break_term(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[GaussianHead], torch.Tensor]], None]:
    """Replaces the regulariser's term `scale` from the seventh step on."""

    def install(value: Callable[[GaussianHead], torch.Tensor]) -> None:
        whole: Terms = Regularizer.terms
        calls = 0

        def terms(self: Regularizer, head: GaussianHead, residual: torch.Tensor) -> dict[str, torch.Tensor]:
            nonlocal calls
            calls += 1
            found = whole(self, head, residual)
            return found | ({"scale": value(head)} if calls >= BROKEN_AT else {})

        monkeypatch.setattr(Regularizer, "terms", terms)

    return install


def stopped(take: Take, head: Head, config: TrainConfig, path: Path) -> str:
    with pytest.raises(TrainingError) as error:
        fit_avatar(take, head, config, checkpoint=path, threads=1)
    return str(error.value)


def test_a_term_that_is_nan_stops_training_by_name(
    break_term: Callable, tiny_take: Take, open_head: Head, config: TrainConfig, tmp_path: Path
) -> None:
    break_term(lambda head: head.log_scales.sum() * float("nan"))
    path = tmp_path / "checkpoint.safetensors"
    said = stopped(tiny_take, open_head, config, path)
    assert f"Training stopped at step {BROKEN_AT}, frame " in said
    assert "Found: the term regulariser scale is nan." in said
    # The last good checkpoint is whole, and training goes on from it once the cause is gone.
    assert all(value.isfinite().all() for value in load_file(path).values())
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


def test_training_goes_on_from_the_last_good_checkpoint(
    break_term: Callable,
    tiny_take: Take,
    open_head: Head,
    config: TrainConfig,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path = tmp_path / "checkpoint.safetensors"
    with monkeypatch.context():
        break_term(lambda head: head.log_scales.sum() * float("inf"))
        assert "the term regulariser scale is " in stopped(tiny_take, open_head, config, path)
    monkeypatch.undo()
    steps: list[int] = []
    resumed = fit_avatar(
        tiny_take, open_head, config, checkpoint=path, progress=lambda n, _: steps.append(n), threads=1
    )
    whole = fit_avatar(tiny_take, open_head, config, threads=1)
    assert steps[0] == 6
    assert all(torch.equal(value, resumed.state_dict()[name]) for name, value in whole.state_dict().items())


def test_a_gradient_that_is_nan_is_named_with_its_term_and_parameter(
    break_term: Callable, tiny_take: Take, open_head: Head, config: TrainConfig, tmp_path: Path
) -> None:
    # The root of zero is zero, and its slope infinite.
    break_term(lambda head: (head.quats * 0).sum().sqrt())
    said = stopped(tiny_take, open_head, config, tmp_path / "c")
    assert "the gradient of the term regulariser scale by quats is not finite" in said


def test_a_checkpoint_never_holds_what_is_not_finite(
    tiny_take: Take, open_head: Head, config: TrainConfig, tmp_path: Path
) -> None:
    path = tmp_path / "c"
    gaussians = fit_avatar(tiny_take, open_head, config, checkpoint=path, threads=1)
    before = path.read_bytes()
    gaussians.color_logits[0, 0] = float("nan")
    with pytest.raises(TrainingError, match=r"after step 3.*\n.*\n.*color_logits"):
        save_checkpoint(path, gaussians, make_optimizer(gaussians, config), 3, "clip", config)
    assert path.read_bytes() == before


def test_finite_is_sound_whatever_the_size() -> None:
    loss, large = torch.tensor(1.0), torch.full((1000, 10), 1e30)
    assert is_sound(loss, [large, None])
    for bad in (float("nan"), float("inf"), -float("inf")):
        assert not is_sound(torch.tensor(bad), [large])
        assert not is_sound(loss, [large, torch.tensor([0.0, bad])])
    require_finite(1, {"means": large})


def test_a_checkpoint_on_a_full_disk_leaves_the_one_before(
    small_files: Callable, tiny_take: Take, open_head: Head, config: TrainConfig, tmp_path: Path
) -> None:
    path = tmp_path / "c"
    gaussians = fit_avatar(tiny_take, open_head, config, checkpoint=path, threads=1)
    before = path.read_bytes()
    with small_files(1000), pytest.raises(InputError, match="make room on the disk"):
        save_checkpoint(path, gaussians, make_optimizer(gaussians, config), 3, "clip", config)
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == [path.name]
