"""Checkpoints of a training run: safetensors, replaced in one move, so that a kill at any moment leaves a whole one."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import msgspec
import torch
from safetensors import SafetensorError, safe_open

from avatar.io._files import write_tensors
from avatar.io.aligned import tracked_motion
from avatar.train.health import require_finite

if TYPE_CHECKING:
    from pathlib import Path

    from avatar.fields.gaussian_head import GaussianHead
    from avatar.io.take import Take
    from avatar.train.config import TrainConfig
    from avatar.train.nuisance import Exposure

log = logging.getLogger(__name__)
HEAD, OPTIMIZER, EXPOSURE = "head.", "optimizer.", "exposure."
# Where the Gaussians sit, which training may change.
PLACES = ("triangles", "barycentric", "regions")


def take_key(take: Take) -> str:
    """What training depends on in its take: the clip, the tracked motion, the size and the camera."""
    info = take.info
    motion = tracked_motion(take)
    return f"{info.source_sha256} {motion} {info.width}x{info.height} {info.focal:.3f}"


def save_checkpoint(
    path: Path,
    head: GaussianHead,
    optimizer: torch.optim.Optimizer,
    step: int,
    key: str,
    config: TrainConfig,
    exposure: Exposure | None = None,
) -> None:
    """Writes the trained parameters, where they sit, the optimiser's moments and the step.

    Args:
        path: The file to replace.
        head: The Gaussians under training.
        optimizer: Their optimiser.
        step: Steps done so far.
        key: Identifies the take; a checkpoint of another take is not resumed.
        config: The configuration; a checkpoint of another configuration is not resumed either.
        exposure: What is known of the frames' exposure, where that is looked for.

    Raises:
        TrainingError: A parameter is not finite; the checkpoint before stays.
        InputError: The file cannot be written; likewise.
    """
    require_finite(step, dict(head.named_parameters()))
    tensors = {HEAD + name: value.detach().contiguous() for name, value in head.named_parameters()}
    tensors |= {HEAD + name: getattr(head, name) for name in PLACES}
    if exposure is not None:
        tensors |= {EXPOSURE + name: value for name, value in exposure.state_dict().items()}
    for index, state in optimizer.state_dict()["state"].items():
        for name, value in state.items():
            tensors[f"{OPTIMIZER}{index}.{name}"] = torch.as_tensor(value).detach().clone().contiguous()
    settings = msgspec.json.encode(config).decode()
    write_tensors(path, tensors, metadata={"step": str(step), "take": key, "config": settings})


def load_checkpoint(
    path: Path,
    head: GaussianHead,
    optimizer: torch.optim.Optimizer,
    key: str,
    config: TrainConfig,
    exposure: Exposure | None = None,
) -> int:
    """Restores a run; returns its step, or 0 where there is nothing to resume.

    A checkpoint that cannot be read, or is of another take or configuration, is left aside with a warning, and training
    begins anew: nothing but time is lost.
    """
    if not path.is_file():
        return 0
    try:
        with safe_open(path, framework="pt") as stored:
            metadata = stored.metadata() or {}
            tensors = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118
        step = int(metadata["step"])
        same = metadata["take"] == key and metadata["config"] == msgspec.json.encode(config).decode()
        parameters = dict(head.named_parameters())
        wanted = {HEAD + name: value for name, value in parameters.items()}
        if exposure is not None:
            wanted |= {EXPOSURE + name: value for name, value in exposure.state_dict().items()}
        expected = wanted | {HEAD + name: getattr(head, name) for name in PLACES}
        shapes_fit = all(n in tensors and tensors[n].shape == value.shape for n, value in expected.items())
    except (SafetensorError, OSError, KeyError, ValueError) as error:
        log.warning("The checkpoint %s cannot be read (%s): training begins anew.", path, error)
        return 0
    if not (same and shapes_fit):
        log.warning("The checkpoint %s belongs to other settings or another clip: training begins anew.", path)
        return 0
    with torch.no_grad():
        for name, value in wanted.items():
            value.copy_(tensors[name])
        head.rebind(*(tensors[HEAD + name] for name in PLACES))
    state: dict[int, dict[str, torch.Tensor]] = {}
    for name, value in tensors.items():
        if name.startswith(OPTIMIZER):
            index, entry = name.removeprefix(OPTIMIZER).split(".", 1)
            state.setdefault(int(index), {})[entry] = value
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
    return step
