"""``avatar render``: motion in, video out."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch

from avatar.cameras import Camera
from avatar.commands._console import progress_bar, say, show
from avatar.errors import InputError
from avatar.io.audio import read_audio
from avatar.io.avatar import load_avatar
from avatar.io.video import VideoWriter, frame_count
from avatar.motion import Motion
from avatar.render.playback import background_image, render_motion
from avatar.render.trajectories import from_file, orbit, resized

if TYPE_CHECKING:
    from avatar.cli import Render
    from avatar.io.avatar import StoredAvatar

SPEECH_RATE = 16000
SOUND_RATE = 48000
TRANSPARENT = (".mov", ".webm")


def run(options: Render) -> None:
    """Renders what the options ask for and says what was written."""
    check_options(options)
    stored = load_avatar(options.avatar)
    fps = Fraction(options.fps).limit_denominator(1001) if options.fps else Fraction(*stored.info.fps)
    if options.motion:
        motion, sound = filed_motion(options.motion, fps=fps), None
    else:
        assert options.audio
        motion, sound = spoken_motion(stored, options.audio, fps=fps, seed=options.seed, pose=options.pose)
    written = render_video(
        stored,
        motion,
        options.output,
        fps=fps,
        sound=sound,
        camera=options.camera,
        background=options.background,
        size=options.size,
    )
    say(f"[bold]{options.output}[/bold] is ready.")
    show(written, as_json=options.json)


def check_options(options: Render) -> None:
    """Raises InputError for options that no avatar can meet, before anything is read."""
    if (options.audio is None) == (options.motion is None):
        raise InputError(
            "What drives the avatar is not clear",
            expected="one of --audio FILE and --motion FILE",
            found="both" if options.audio else "neither",
            fix="give one of the two",
        )
    for name, value, low, high in (("fps", options.fps, 1, 240), ("size", options.size, 16, 8192)):
        if value is not None and not low <= value <= high:
            raise InputError(
                f"The option --{name} cannot be used",
                expected=f"{low} to {high}",
                found=str(value),
                fix="leave it out for the recording's own",
            )
    if options.background == "transparent" and options.output.suffix not in TRANSPARENT:
        raise InputError(
            "Only a .mov or .webm can be transparent",
            expected=f"--output with {' or '.join(TRANSPARENT)}",
            found=options.output.suffix or "no suffix",
            fix="choose another --output or another --background",
        )


def spoken_motion(
    stored: StoredAvatar, audio: Path, *, fps: Fraction, seed: int, pose: Literal["natural", "still"]
) -> tuple[Motion, tuple[np.ndarray, int]]:
    """The motion of an avatar that speaks an audio file, and the sound to go with it.

    Raises:
        InputError: The file has no sound, or the avatar was made without speech.
    """
    from avatar.speech.drive import motion_from_audio
    from avatar.speech.life import LifeModel
    from avatar.speech.model import SpeechModel

    samples = read_audio(audio, rate=SPEECH_RATE)
    if samples is None or not len(samples):
        raise InputError(
            f"{audio} has no sound",
            expected="an audio or video file with speech",
            found="no sound track",
            fix="choose another --audio",
        )
    if stored.info.speech is None:
        raise InputError(
            "This avatar cannot speak",
            expected="an avatar made from a clip with sound",
            found="an avatar made from a silent clip",
            fix="drive it with --motion, or make it again from a clip with sound",
        )
    speech = SpeechModel.from_tensors(stored.speech, stored.info.speech)
    life = LifeModel.from_tensors(stored.life)
    motion = motion_from_audio(speech, life, samples=samples, fps=float(fps), seed=seed, pose=pose)
    sound = read_audio(audio, rate=SOUND_RATE)
    assert sound is not None
    return motion, (sound, SOUND_RATE)


def filed_motion(path: Path, *, fps: Fraction) -> Motion:
    """A motion file's motion at the video's frame rate, from its first moment on."""
    try:
        motion = Motion.load(path)
    except FileNotFoundError as error:
        raise InputError(
            f"There is no motion file {path}", expected="an npz of a motion", found="nothing", fix="check the path"
        ) from error
    if not len(motion):
        raise InputError(
            f"{path} is empty", expected="at least one moment", found="none", fix="choose another --motion"
        )
    length = float(motion.time[-1] - motion.time[0])
    times = motion.time[0] + np.arange(max(1, frame_count(length, fps))) / float(fps)
    return motion.resample(times)


def render_video(
    stored: StoredAvatar,
    motion: Motion,
    output: Path,
    *,
    fps: Fraction,
    sound: tuple[np.ndarray, int] | None,
    camera: str = "front",
    background: str = "plate",
    size: int | None = None,
) -> dict[str, float | int | str]:
    """Writes the video of a motion; returns its figures.

    Raises:
        InputError: A camera or background that cannot be used.
    """
    info, gaussians = stored.info, stored.gaussians
    view = Camera.front(info.focal, info.width, info.height)
    view = resized(view, size) if size else view
    cameras = camera_path(camera, view, motion, stored)
    # From another side the recording's background would stand still behind a moving head: a plain colour does not lie.
    background = "gray" if background == "plate" and camera != "front" else background
    behind = background_image(background, stored.plate, view)
    label = f"render {output.name}"
    with (
        VideoWriter(output, fps=fps, width=view.width, height=view.height, audio=sound, alpha=behind is None) as video,
        progress_bar(label) as progress,
    ):
        for done, picture in enumerate(render_motion(gaussians, motion, cameras, background=behind), start=1):
            video.write(picture)
            progress(done, len(motion))
    size_written = {"width": view.width, "height": view.height}
    return {"output": str(output), "frames": len(motion), "seconds": len(motion) / float(fps), **size_written}


def camera_path(camera: str, view: Camera, motion: Motion, stored: StoredAvatar) -> list[Camera]:
    """A camera for every moment: ``front``, ``orbit``, or the keys of a JSON file."""
    if camera == "front":
        return [view] * len(motion)
    times = motion.time - motion.time[0]
    center = head_center(stored, motion)
    return orbit(view, center, times) if camera == "orbit" else from_file(Path(camera), view, center, times)


def head_center(stored: StoredAvatar, motion: Motion) -> np.ndarray:
    """The middle of the head at the first moment, metres."""
    pose = stored.gaussians.poses(motion[:1])[0]
    head = stored.gaussians.head
    vertices = stored.gaussians.vertices(pose).numpy()
    balls = [vertices[slice(*head.parts[name])] for name in ("eye_l", "eye_r") if name in head.parts]
    # A head model without eyeballs has its irises as landmarks all the same.
    shown = torch.as_tensor(vertices[None, : len(head.v_template)])
    eyes = np.concatenate(balls).mean(0) if balls else head.landmark_positions(shown)[0, 468:].numpy().mean(0)
    return eyes + np.array([0.0, -0.03, -0.06])
