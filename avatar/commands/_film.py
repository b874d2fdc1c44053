"""From a motion to its film: the pictures of a shot in a video or a folder, with depth and normals beside them."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

import numpy as np

from avatar.commands._console import progress_bar, say
from avatar.io.picture_folder import PictureFolder
from avatar.io.sound import SoundFile
from avatar.io.video import VideoWriter, probe
from avatar.render.camera_files import write_camera_file
from avatar.render.layers import (
    DEPTH_UNIT,
    RANGE_SAMPLES,
    depth_picture,
    depth_range,
    depth_steps,
    normal_picture,
    normal_steps,
)
from avatar.render.moving_background import MovingBackground, background_file
from avatar.render.shots import Shot, Staged, film, head_centers, stage
from avatar.view_cone import said_angles

if TYPE_CHECKING:
    from fractions import Fraction
    from pathlib import Path

    from avatar.io.avatar import StoredAvatar
    from avatar.motion import Motion
    from avatar.render.shots import Picture
    from avatar.view_cone import ViewCone

# Degrees beyond the safe view cone that nobody sees.
WORTH_SAYING = 2.0
Sound = tuple[np.ndarray | SoundFile, int]
Writer = VideoWriter | PictureFolder


def render_video(
    stored: StoredAvatar, motion: Motion, output: Path, *, fps: Fraction, sound: Sound | None, camera: str = "front"
) -> dict[str, float | int | str]:
    """Writes the video of a motion at the recording's size; returns its figures."""
    return render_shot(stored, motion, output, fps=fps, sound=sound, shot=Shot(camera=camera))


def render_shot(
    stored: StoredAvatar,
    motion: Motion,
    output: Path,
    *,
    fps: Fraction,
    sound: Sound | None,
    shot: Shot,
    layers: tuple[str, ...] = (),
    camera_out: Path | None = None,
) -> dict[str, float | int | str]:
    """Writes a film of a motion; returns its figures.

    Args:
        stored: The avatar.
        motion: What it does, one moment a picture.
        output: The video, or a folder for pictures where the name has no suffix.
        fps: Frames a second.
        sound: Samples and their rate.
        shot: How it is filmed.
        layers: ``depth`` and ``normals``, written beside the output as NAME_depth and NAME_normals.
        camera_out: Where to write the cameras.

    Raises:
        InputError: The shot cannot be taken, or an output cannot be written.
    """
    staged = stage(stored, motion, shot)
    beyond = warn_of_views(stored.info.view_cone, staged)
    footage = say_how_footage_goes_on(staged)
    depth, normal = "depth" in layers, "normals" in layers
    few = slice(None, None, max(1, len(motion) // RANGE_SAMPLES))
    near, far = (
        depth_range(stored.gaussians, stored.gaussians.poses(motion[few]), staged.cameras[few]) if depth else (0.0, 0.0)
    )
    first = staged.cameras[0]
    columns, rows = (1, 1) if shot.stereo is None else shot.stereo.grid
    size = {"width": columns * first.width, "height": rows * first.height}
    pictures = film(stored.gaussians, motion, staged, stereo=shot.stereo, depth=depth, normal=normal)
    outputs = {"": output} | {name: beside(output, name) for name in layers}
    label = f"render {output.name}"
    with ExitStack() as stack, progress_bar(label) as progress:
        writers = {
            name: stack.enter_context(_writer(path, name, fps=fps, sound=sound, shot=shot, staged=staged, size=size))
            for name, path in outputs.items()
        }
        if camera_out is not None:
            write_camera_file(camera_out, staged.cameras, fps=float(fps))
        for done, picture in enumerate(pictures, start=1):
            for name, writer in writers.items():
                writer.write(_shown(picture, name, plain=isinstance(writer, PictureFolder), near=near, far=far))
            progress(done, len(motion))
    figures = {"output": str(output), "frames": len(motion), "seconds": len(motion) / float(fps)} | size
    figures |= {name: str(path) for name, path in outputs.items() if name}
    if depth and output.suffix:
        figures |= {"depth_near": near, "depth_far": far}
    if beyond is not None:
        figures["degrees_beyond_view_cone"] = round(beyond, 1)
    if footage is not None:
        figures["background_seconds"] = footage
    if camera_out is not None:
        figures["cameras"] = str(camera_out)
    return figures


def warn_of_views(cone: ViewCone | None, staged: Staged) -> float | None:
    """Says where a shot leaves the avatar's safe view cone; returns by how many degrees, None where none is known."""
    if cone is None:
        return None
    beyond = cone.beyond(staged.angles)
    worst = int(beyond.argmax())
    if beyond[worst] > WORTH_SAYING:
        say(
            f"The camera goes to {said_angles(*staged.angles[worst])} of the face, {beyond[worst]:.0f}° beyond what "
            f"the recording shows well ({cone}): parts of the picture there are guessed."
        )
    return float(beyond[worst])


def footage_notes(background: str) -> list[str]:
    """What is to be known of a background that is a file; nothing of any other.

    Raises:
        InputError: The file is missing or unreadable.
        FormatError: It has no pictures.
    """
    video = background_file(background)
    if video is None or not probe(video).has_audio:
        return []
    return [f"The sound of {video.name} is not heard: --background takes pictures only."]


def say_how_footage_goes_on(staged: Staged) -> float | None:
    """Says what footage behind the avatar does where it ends before the film; returns its length in seconds then."""
    behind = staged.background
    if not isinstance(behind, MovingBackground) or behind.seconds is None:
        return None
    becomes = "its last picture is held" if behind.hold else "it goes back and forth"
    short = float(behind.moments[-1]) - behind.seconds
    say(f"{behind.video.name} is {short:.1f} s shorter than the film: {becomes}.")
    return behind.seconds


def beside(output: Path, layer: str) -> Path:
    """Where a layer of an output goes: NAME_depth.mp4 beside a video, the folder NAME_depth beside a folder."""
    return output.with_name(f"{output.stem}_{layer}{'.mp4' if output.suffix else ''}")


def _writer(
    path: Path,
    layer: str,
    *,
    fps: Fraction,
    sound: Sound | None,
    shot: Shot,
    staged: Staged,
    size: dict[str, int],
) -> Writer:
    """What one layer of a film is written with; the picture itself is the layer without a name."""
    if not path.suffix:
        facts: dict[str, float | str] = {}
        if layer == "depth":
            facts = {"depth_unit_scale_factor": DEPTH_UNIT}
        elif layer == "normals":
            facts = {"axes": "+x right, +y up, +z to the camera; 0 to 65535 is -1 to 1"}
        return PictureFolder(path, fps=fps, audio=None if layer else sound, facts=facts)
    alpha = staged.background is None and not layer
    stereo = shot.stereo.layout if shot.stereo else None
    sound = None if layer else sound
    width, height = size["width"], size["height"]
    return VideoWriter(path, fps=fps, width=width, height=height, audio=sound, alpha=alpha, stereo=stereo)


def _shown(picture: Picture, layer: str, *, plain: bool, near: float, far: float) -> np.ndarray:
    """A layer of a picture as its writer takes it; `plain` for 16 bits."""
    rendering, viewmat = picture.rendering, picture.camera.viewmat
    if layer == "depth":
        return depth_steps(rendering) if plain else depth_picture(rendering, near, far)
    if layer == "normals":
        return normal_steps(rendering, viewmat) if plain else normal_picture(rendering, viewmat)
    return picture.image


def head_center(stored: StoredAvatar, motion: Motion) -> np.ndarray:
    """The middle of the head at the first moment, metres."""
    return head_centers(stored.gaussians, stored.gaussians.poses(motion[:1]))[0]
