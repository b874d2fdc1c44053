"""Held-out evaluation: how well the avatar, driven by the tracker, shows frames it was never trained on."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from avatar.errors import InputError
from avatar.fields.survey import take_camera
from avatar.io._files import write_png, writing
from avatar.io.parts import HEAD
from avatar.render.playback import render_over
from avatar.train.baseline import NearestFrames, warped
from avatar.train.metrics import mean_metrics, region_metrics

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from jaxtyping import Bool, Int, UInt8

    from avatar.fields.gaussian_head import GaussianHead
    from avatar.io.take import Take


class HeldOutFrame(NamedTuple):
    """A held-out frame beside its render.

    Attributes:
        index: Row of the take.
        truth: (H, W, 3) the untouched frame.
        render: (H, W, 3) the avatar over the clip's own background plate.
        region: (H, W) the head above the collar, where the two are compared.
    """

    index: int
    truth: UInt8[np.ndarray, "H W 3"]
    render: UInt8[np.ndarray, "H W 3"]
    region: Bool[np.ndarray, "H W"]


def head_region(take: Take, index: int) -> Bool[np.ndarray, "H W"]:
    """Pixels that are the person rather than not, and labelled head: hair, face, ears, neck above the collar."""
    return (take.parts(index) == HEAD) & (np.asarray(take.mask(index)) > 0.5)


def held_out_frames(
    take: Take, gaussians: GaussianHead, *, indices: Int[np.ndarray, " n"] | None = None
) -> Iterator[HeldOutFrame]:
    """Renders held-out frames; their motion is the tracker's.

    Args:
        take: The take, tracked.
        gaussians: The avatar's Gaussians.
        indices: Rows of the take to render, increasing; every held-out frame when None.
    """
    camera, plate = take_camera(take), take.background().astype(np.float32) / 255
    indices = take.split()["test"] if indices is None else indices
    poses = gaussians.poses(take.motion()[indices])
    for index, pose in zip(indices, poses, strict=True):
        picture = render_over(gaussians, pose, camera, background=plate)
        yield HeldOutFrame(int(index), take.image(int(index)), picture, head_region(take, int(index)))


def require_held_out(take: Take) -> None:
    """Raises InputError for a take too short to hold a tenth of it out."""
    split = take.split()
    if not len(split["test"]):
        raise InputError(
            f"The take {take.path} has too few frames",
            expected="at least 10 that show a face",
            found=str(len(split["train"])),
            fix="record a longer clip",
        )


def no_head_shown(take: Take, frames: int) -> InputError:
    """The error to raise where none of so many held-out frames shows a head."""
    return InputError(
        f"No held-out frame of the take {take.path} shows a head",
        expected="pixels labelled head inside the person's mask in the last tenth of the frames",
        found=f"none in {frames} frames",
        fix="cut the end of the clip off where the face is out of sight, and make the take again",
    )


@dataclass(frozen=True)
class FrameFigures:
    """The avatar's figures of every held-out frame that shows a head, as lists of one length.

    Attributes:
        index: Rows of the take.
        time: Seconds.
        psnr: Peak signal-to-noise ratio within the head, dB.
        ssim: Structural similarity within the head.
    """

    index: list[int] = field(default_factory=list)
    time: list[float] = field(default_factory=list)
    psnr: list[float] = field(default_factory=list)
    ssim: list[float] = field(default_factory=list)


def evaluate_held_out(
    take: Take,
    gaussians: GaussianHead,
    *,
    frames_folder: Path | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, dict[str, float]]:
    """The summary that `evaluate_frames` gives, alone; takes and raises what it does."""
    return evaluate_frames(take, gaussians, frames_folder=frames_folder, progress=progress)[0]


def evaluate_frames(
    take: Take,
    gaussians: GaussianHead,
    *,
    frames_folder: Path | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[dict[str, dict[str, float]], FrameFigures]:
    """Metrics of the avatar and of the nearest-frame baseline on the held-out frames that show a head.

    Args:
        take: The take, tracked.
        gaussians: The avatar's Gaussians.
        frames_folder: Where to write ``NNNNN_{truth,render,mask}.png`` for each frame, if anywhere.
        progress: Called with the frames done and the frames in all.

    Returns:
        ``video_driven``, ``nearest_frame`` (after a similarity alignment) and ``nearest_frame_raw``, each with
        ``psnr``, ``ssim`` and ``l1``, and ``frames`` with the ``count`` of frames compared and of those ``skipped``
        because nothing of them is labelled head; and the avatar's figures frame by frame.

    Raises:
        InputError: The take has no held-out frames, none of them shows a head, or the folder cannot be written to.
    """
    require_held_out(take)
    split = take.split()
    nearest_frames = NearestFrames(take.perception()["landmarks"], split["train"])
    times, frames = take.times, FrameFigures()
    rows: dict[str, list[dict[str, float]]] = {"video_driven": [], "nearest_frame": [], "nearest_frame_raw": []}
    for done, frame in enumerate(held_out_frames(take, gaussians), start=1):
        if progress:
            progress(done, len(split["test"]))
        if not frame.region.any():
            continue
        truth = frame.truth / 255.0
        own = region_metrics(frame.render / 255.0, truth, frame.region)
        rows["video_driven"].append(own)
        frames.index.append(frame.index)
        frames.time.append(round(float(times[frame.index]), 4))
        frames.psnr.append(round(own["psnr"], 3))
        frames.ssim.append(round(own["ssim"], 5))
        nearest, similarity = nearest_frames.to(frame.index)
        other = take.image(nearest).astype(np.float32) / 255
        aligned = warped(other, similarity).clip(0, 1)
        rows["nearest_frame"].append(region_metrics(aligned, truth, frame.region))
        rows["nearest_frame_raw"].append(region_metrics(other, truth, frame.region))
        if frames_folder:
            write_frame(frames_folder, frame)
    count = len(rows["video_driven"])
    if not count:
        raise no_head_shown(take, len(split["test"]))
    summary = {name: mean_metrics(values) for name, values in rows.items()}
    return summary | {"frames": {"count": float(count), "skipped": float(len(split["test"]) - count)}}, frames


def write_frame(folder: Path, frame: HeldOutFrame) -> None:
    """Writes a frame's truth, render and mask as PNG, so that anyone can compute the figures again.

    Raises:
        InputError: The folder cannot be written to.
    """
    writing(folder, lambda path: path.mkdir(parents=True, exist_ok=True))
    mask = frame.region.astype(np.uint8) * 255
    for name, image in (("truth", frame.truth), ("render", frame.render), ("mask", mask)):
        write_png(folder / f"{frame.index:05d}_{name}.png", image)
