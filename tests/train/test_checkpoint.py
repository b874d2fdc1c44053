"""Checkpoints: a run that was stopped goes on as if it had not been, and a bad file costs time and nothing else."""

import logging
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from avatar.fields.gaussian_head import GaussianHead
from avatar.fields.sampling import initial_head
from avatar.heads import Head
from avatar.io.take import Take
from avatar.train.checkpoint import load_checkpoint, save_checkpoint
from avatar.train.config import TrainConfig
from avatar.train.fitting import fit_avatar, make_optimizer

STEPS, STOP = 9, 5


@pytest.fixture
def config(tiny_config: TrainConfig) -> TrainConfig:
    return replace(tiny_config, gaussians=300, torso_gaussians=60, steps=STEPS, residual_start=3, checkpoint_every=100)


@pytest.fixture
def interrupted(tiny_take: Take, open_head: Head, config: TrainConfig, tmp_path: Path) -> Path:
    """The checkpoint of a run that somebody stopped with Ctrl-C after five steps."""

    def stop(done: int, total: int) -> None:
        if done == STOP:
            raise KeyboardInterrupt

    path = tmp_path / "checkpoint.safetensors"
    with pytest.raises(KeyboardInterrupt):
        fit_avatar(tiny_take, open_head, config, checkpoint=path, progress=stop, threads=1)
    return path


def fit(take: Take, head: Head, config: TrainConfig, path: Path | None) -> tuple[GaussianHead, int]:
    """The result, and the first step that was taken."""
    steps: list[int] = []
    result = fit_avatar(take, head, config, checkpoint=path, progress=lambda n, _: steps.append(n), threads=1)
    return result, steps[0] if steps else 0


def same(one: GaussianHead, other: GaussianHead) -> bool:
    return all(torch.equal(value, other.state_dict()[name]) for name, value in one.state_dict().items())


def test_a_stopped_run_goes_on_to_the_same_bits(
    interrupted: Path, tiny_take: Take, open_head: Head, config: TrainConfig
) -> None:
    assert [path.name for path in interrupted.parent.iterdir()] == [interrupted.name]
    whole, first = fit(tiny_take, open_head, config, None)
    resumed, continued = fit(tiny_take, open_head, config, interrupted)
    assert (first, continued) == (1, STOP + 1)
    assert same(whole, resumed)


def test_checkpoints_are_written_as_often_as_asked(
    tiny_take: Take, open_head: Head, config: TrainConfig, tmp_path: Path
) -> None:
    path = tmp_path / "checkpoint.safetensors"
    often = replace(config, checkpoint_every=4)

    def die(done: int, total: int) -> None:
        if done == 6:
            raise RuntimeError("the power went out")

    with pytest.raises(RuntimeError):
        fit_avatar(tiny_take, open_head, often, checkpoint=path, progress=die, threads=1)
    resumed, first = fit(tiny_take, open_head, often, path)
    assert first == 5
    assert same(resumed, fit(tiny_take, open_head, often, None)[0])


def test_a_finished_run_is_not_trained_again(
    tiny_take: Take, open_head: Head, config: TrainConfig, tmp_path: Path
) -> None:
    path = tmp_path / "checkpoint.safetensors"
    whole, _ = fit(tiny_take, open_head, config, path)
    again, first = fit(tiny_take, open_head, config, path)
    assert first == 0
    assert same(whole, again)


def test_state_comes_back_whole(tiny_take: Take, open_head: Head, config: TrainConfig, tmp_path: Path) -> None:
    indices = tiny_take.split()["train"]
    one, other = (initial_head(tiny_take, open_head, tiny_take.motion(), indices, config) for _ in range(2))
    used, fresh = make_optimizer(one, config), make_optimizer(other, config)
    for parameter in one.parameters():
        if parameter.requires_grad:
            parameter.grad = torch.ones_like(parameter)
    used.step()
    save_checkpoint(tmp_path / "c", one, used, 17, "clip", config)
    assert load_checkpoint(tmp_path / "c", other, fresh, "clip", config) == 17
    assert same(one, other)
    for first, second in zip(used.state.values(), fresh.state.values(), strict=True):
        assert first.keys() == second.keys()
        assert all(torch.equal(first[name], second[name]) for name in first)


def test_without_a_checkpoint_a_run_begins_at_zero(
    tiny_take: Take, open_head: Head, config: TrainConfig, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    head = initial_head(tiny_take, open_head, tiny_take.motion(), tiny_take.split()["train"], config)
    assert load_checkpoint(tmp_path / "none", head, make_optimizer(head, config), "clip", config) == 0
    assert not caplog.records


@pytest.mark.parametrize("damage", ["empty", "text", "cut", "bits"])
def test_a_damaged_checkpoint_is_left_aside_with_a_warning(
    damage: str,
    interrupted: Path,
    tiny_take: Take,
    open_head: Head,
    config: TrainConfig,
    caplog: pytest.LogCaptureFixture,
) -> None:
    whole = interrupted.read_bytes()
    content = {"empty": b"", "text": b"hello", "cut": whole[: len(whole) // 2], "bits": b"\xff" * 64 + whole[64:]}
    interrupted.write_bytes(content[damage])
    with caplog.at_level(logging.WARNING):
        resumed, first = fit(tiny_take, open_head, config, interrupted)
    assert first == 1
    assert "cannot be read" in caplog.text and "training begins anew" in caplog.text
    assert same(resumed, fit(tiny_take, open_head, config, None)[0])


def test_other_settings_begin_anew(
    interrupted: Path, tiny_take: Take, open_head: Head, config: TrainConfig, caplog: pytest.LogCaptureFixture
) -> None:
    for other in (replace(config, lr_colors=0.1), replace(config, gaussians=200)):
        caplog.clear()
        assert fit(tiny_take, open_head, other, interrupted)[1] == 1
        assert "belongs to other settings or another clip: training begins anew" in caplog.text


def test_another_clip_begins_anew(
    interrupted: Path, take_copy: Take, open_head: Head, config: TrainConfig, caplog: pytest.LogCaptureFixture
) -> None:
    take_copy.update(source_sha256="cd" * 32)
    assert fit(take_copy, open_head, config, interrupted)[1] == 1
    assert "belongs to other settings or another clip" in caplog.text
