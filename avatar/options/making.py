"""The commands that make an avatar, and judge it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from avatar.options.shared import (
    AllShots,
    Consent,
    Device,
    Force,
    HeadName,
    MaxMemory,
    OpenReport,
    Output,
    Positional,
    Preset,
    Settings,
    Size,
    SpeechFeatures,
)


@dataclass(frozen=True, kw_only=True)
class _Making:
    """What every long job takes. `--help` shows the options of the bases, the last base first, then a command's own."""

    output: Output = Path("me")


@dataclass(frozen=True, kw_only=True)
class _Training(_Making):
    """How a take becomes an avatar."""

    preset: Preset = "standard"
    set: Settings = ()


@dataclass(frozen=True, kw_only=True)
class _Tracking(_Making):
    """How a clip becomes a take."""

    size: Size = 512
    all_shots: AllShots = False
    head: HeadName = "open"
    speech_features: SpeechFeatures = None


@dataclass(frozen=True, kw_only=True)
class _Provenance:
    """What an avatar keeps of who is shown."""

    consent: Consent = None


@dataclass(frozen=True, kw_only=True)
class _Limits:
    """What the job may use, and whether it goes on with a poor recording."""

    max_memory: MaxMemory = None
    force: Force = False
    device: Device = "cpu"


@dataclass(frozen=True, kw_only=True)
class Create(_Limits, _Provenance, _Tracking, _Training):
    """Make an avatar from a video of one person talking; continues where an earlier run stopped.

    Attributes:
        video: The clip: any container, size, rotation and frame rate.
        output: Folder for the avatar, its take and its report.
        json: Print the report as JSON.
    """

    video: Positional[Path]
    open: OpenReport = False
    json: bool = False


@dataclass(frozen=True, kw_only=True)
class Preprocess(_Limits, _Tracking):
    """Turn a video into a tracked take: crop, landmarks, masks, speech features, motion.

    Attributes:
        video: The clip.
        output: Folder for the take.
        json: Print the stages' figures as JSON.
    """

    video: Positional[Path]
    output: Output = Path("take")
    json: bool = False


@dataclass(frozen=True)
class Takes:
    """Bring in what another tool has made of a recording, or hand a take to one.

    Attributes:
        action: `import` a folder of VHAP, AD-NeRF or metrical-tracker, or a Live Link Face CSV with its video; `export`
            a take.
        path: What to import, recognised by its content; or the take to export.
        output: Folder for the take (`take` where it is left out), or for the export, which must be new (the take's name
            and the format's).
        format: Layout to export to.
        camera: Which camera of a folder with several.
        fps: Pictures a second of a folder that does not say.
        json: Print what was done as JSON.
    """

    action: Positional[Literal["import", "export"]]
    path: Positional[Path]
    output: Annotated[Path | None, tyro.conf.arg(aliases=["-o"])] = None
    format: Literal["vhap"] = "vhap"
    camera: int | None = None
    fps: float = 25.0
    size: Size = 512
    head: HeadName = "open"
    force: Force = False
    device: Device = "cpu"
    json: bool = False


@dataclass(frozen=True, kw_only=True)
class Train(_Limits, _Provenance, _Training):
    """Train an avatar on a take that was preprocessed before.

    Attributes:
        take: The take's folder.
        output: Folder for the avatar and its report.
        json: Print the report as JSON.
    """

    take: Positional[Path]
    open: OpenReport = False
    json: bool = False


@dataclass(frozen=True)
class Eval:
    """Judge an avatar on frames it was not trained on, beside what it has to beat, and draw a page about it.

    Attributes:
        avatar: The avatar's folder.
        take: The take; the one inside the avatar's folder where it is left out.
        cross_validate_speech: Judge speech on all of the take, by five models of which each is fitted without a fifth
            of it, in place of the last tenth alone. Takes a minute or two.
        brief: Only the held-out figures that `avatar create` states (PSNR, SSIM, L1).
        frames: Folder for NNNNN_truth.png, NNNNN_render.png and NNNNN_mask.png of every held-out frame.
        report: Where to write the page; `evaluation.html` in the avatar's folder where it is left out. With --json a
            page is written only where this or --open is given.
        open: Open the page in the browser at the end.
        json: Print the figures as JSON.
    """

    avatar: Positional[Path]
    take: Path | None = None
    cross_validate_speech: tyro.conf.FlagCreatePairsOff[bool] = False
    brief: tyro.conf.FlagCreatePairsOff[bool] = False
    frames: Path | None = None
    report: Path | None = None
    device: Device = "cpu"
    open: bool = False
    json: bool = False


@dataclass(frozen=True)
class Demo:
    """Run the whole pipeline on the embedded clip.

    Attributes:
        output: Folder for the avatar, talk.mp4, orbit.mp4 and the report.
        json: Print the report as JSON.
    """

    output: Output = Path("demo")
    max_memory: MaxMemory = None
    device: Device = "cpu"
    open: OpenReport = False
    json: bool = False
