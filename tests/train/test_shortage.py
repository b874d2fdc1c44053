"""A GPU whose memory runs out in training: one more try gives the same bits, and then an error says what to lower."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from avatar.errors import MemoryLimitError
from avatar.heads import Head
from avatar.io.take import Take
from avatar.render import Rendering
from avatar.train import fitting
from avatar.train.config import TrainConfig
from avatar.train.fitting import fit_avatar
from avatar.train.shortage import too_little_memory

STEPS, AT = 6, 4
MESSAGE = "CUDA out of memory. Tried to allocate 2.00 GiB."


@pytest.fixture
def settings(tiny_config: TrainConfig) -> TrainConfig:
    return replace(
        tiny_config,
        gaussians=300,
        torso_gaussians=60,
        steps=STEPS,
        residual_start=2,
        focus_weight=0.0,
        checkpoint_every=2,
    )


def runs_out(monkeypatch: pytest.MonkeyPatch, when: Callable[[int], bool]) -> list[int]:
    """Lets the backward pass of some renders run out of memory; returns the list of all renders."""
    drawn: list[int] = []
    plain = fitting.rasterize_rigged

    def fail(_: torch.Tensor) -> None:
        raise torch.OutOfMemoryError(MESSAGE)

    def draw(*arguments: Any, **settings: Any) -> Rendering:
        picture = plain(*arguments, **settings)
        drawn.append(len(drawn) + 1)
        if when(drawn[-1]):
            picture.image.register_hook(fail)
        return picture

    monkeypatch.setattr(fitting, "rasterize_rigged", draw)
    return drawn


def test_a_step_that_fits_the_second_time_changes_nothing(
    tiny_take: Take, open_head: Head, settings: TrainConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    undisturbed = fit_avatar(tiny_take, open_head, settings, threads=1).state_dict()
    drawn = runs_out(monkeypatch, lambda count: count in (1, AT))
    found = fit_avatar(tiny_take, open_head, settings, threads=1).state_dict()
    assert len(drawn) == STEPS + 2
    assert all(torch.equal(value, found[name]) for name, value in undisturbed.items())


def test_a_step_that_does_not_fit_ends_with_what_to_lower(
    tiny_take: Take, open_head: Head, settings: TrainConfig, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path, steps = tmp_path / "checkpoint.safetensors", []
    with monkeypatch.context() as patched:
        drawn = runs_out(patched, lambda count: count >= AT)
        with pytest.raises(MemoryLimitError, match=rf"ran out at step {AT}") as raised:
            fit_avatar(tiny_take, open_head, settings, checkpoint=path, threads=1)
    assert len(drawn) == AT + 1
    assert raised.value.found == MESSAGE and "--preset fast or a smaller --size" in raised.value.fix
    resumed = fit_avatar(
        tiny_take, open_head, settings, checkpoint=path, progress=lambda done, _: steps.append(done), threads=1
    )
    assert steps == [3, 4, 5, 6]
    undisturbed = fit_avatar(tiny_take, open_head, settings, threads=1).state_dict()
    assert all(torch.equal(value, undisturbed[name]) for name, value in resumed.state_dict().items())


def test_on_a_gpu_the_error_names_the_way_out_of_it() -> None:
    told = torch.OutOfMemoryError(f"{MESSAGE} GPU 0 has a total capacity of 8.00 GiB of which 1.00 GiB is free.")
    error = too_little_memory(told, torch.device("cuda"), step=9, side=512)
    assert str(error) == (
        "There is not enough memory on the GPU to train: it ran out at step 10.\n"
        "  Expected: room for one picture of 512 pixels with its gradients.\n"
        f"  Found: {MESSAGE}\n"
        "  To do: close other programs that use the GPU and run the same command again, which goes on from the last "
        "checkpoint; or use --preset fast, --device cpu or a smaller --size."
    )


def test_other_errors_stay_what_they_are(
    tiny_take: Take, open_head: Head, settings: TrainConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> Rendering:
        raise RuntimeError("the power went out")

    monkeypatch.setattr(fitting, "rasterize_rigged", fail)
    with pytest.raises(RuntimeError, match="the power went out"):
        fit_avatar(tiny_take, open_head, settings, threads=1)
